/* How text is cut before merging: llama.cpp knows a fixed set of ways, by name. */
#ifndef SUBWORD_PRETOKENIZER_H
#define SUBWORD_PRETOKENIZER_H

#include "files.h"

/* Does a pre-tokenizer (or any other part) map bytes to characters? */
int is_byte_level(const json_t *part);

/* The name of what tokenizer.json describes, in *name (static); QC_E_INVALID where it is none of those known. */
qc_status pretokenizer_name(qc_job *job, const json_t *tokenizer, const char **name);

#endif
