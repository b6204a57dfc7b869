/* How text is cut before merging: llama.cpp knows a fixed set of ways, by name. */
#ifndef SUBWORD_PRETOKENIZER_H
#define SUBWORD_PRETOKENIZER_H

#include "files.h"

/* Does a pre-tokenizer (or any other part) map bytes to characters? */
int is_byte_level(const json_t *part);

/* The name of what tokenizer.json describes, in *name (static); QC_E_INVALID where it is none of those known. */
qc_status pretokenizer_name(qc_job *job, const json_t *tokenizer, const char **name);

/* GGUF has no key for how text is normalized: it hangs on `pre`. Where tokenizer.json says otherwise than the family
 * that `pre` is named after, this is kept under NORMALIZER_KEY ("nfc" or "none"), which others skip. */
#define NORMALIZER_KEY "tokenizer.qcore.normalizer"
qc_status normalizer_report(qc_job *job, const json_t *tokenizer, const char *pre, const qc_scan *out);

#endif
