#include "kinds.h"

#define TOKENIZER(name)                                                                                    \
    static const qc_tokenizer_desc name = {{sizeof(qc_tokenizer_desc), 0, QC_KIND_TOKENIZER, #name, NULL}, \
                                           import_##name,                                                  \
                                           open_##name,                                                    \
                                           close_##name,                                                   \
                                           special_##name,                                                 \
                                           encode_##name,                                                  \
                                           piece_##name}

TOKENIZER(spm);
TOKENIZER(bpe);

QC_PLUGIN(&spm.base, &bpe.base);
