/* The two kinds of tokenizers, as the library's descriptors call them. */
#ifndef SUBWORD_KINDS_H
#define SUBWORD_KINDS_H

#include "qcore/tokenizer.h"

qc_status import_bpe(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                     const qc_scan *out);
qc_status import_spm(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                     const qc_scan *out);

#endif
