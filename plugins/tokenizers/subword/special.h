/* Which tokens have a duty, and which of them a text is framed with. */
#ifndef SUBWORD_SPECIAL_H
#define SUBWORD_SPECIAL_H

#include "files.h"

enum {
    SPECIAL_BOS,
    SPECIAL_EOS,
    SPECIAL_UNKNOWN,
    SPECIAL_SEPARATOR,
    SPECIAL_PADDING,
    SPECIAL_MASK,
    SPECIAL_EOT,
    N_SPECIAL
};

/* What holds where no file says otherwise. */
typedef struct special_defaults {
    int32_t ids[N_SPECIAL]; /* -1: none */
    int add_bos, add_eos;
} special_defaults;

/* tokenizer.ggml.*_token_id, .add_bos_token and .add_eos_token. */
qc_status special_report(const files *f, const vocabulary *v, const special_defaults *defaults, const qc_scan *out);

#endif
