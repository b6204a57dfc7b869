/* The two kinds of tokenizers, as the library's descriptors call them. */
#ifndef SUBWORD_KINDS_H
#define SUBWORD_KINDS_H

#include "qcore/tokenizer.h"

qc_status import_bpe(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                     const qc_scan *out);
qc_status open_bpe(qc_job *job, const qc_metadata *metadata, void **state);
void close_bpe(const qc_host *host, void *state);
void special_bpe(const void *state, qc_special_tokens *out);
qc_status encode_bpe(qc_job *job, const void *state, const char *text, size_t n, uint32_t flags, const qc_tokens *out);
const char *piece_bpe(const void *state, uint32_t id, size_t *n);

qc_status import_spm(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                     const qc_scan *out);
qc_status open_spm(qc_job *job, const qc_metadata *metadata, void **state);
void close_spm(const qc_host *host, void *state);
void special_spm(const void *state, qc_special_tokens *out);
qc_status encode_spm(qc_job *job, const void *state, const char *text, size_t n, uint32_t flags, const qc_tokens *out);
const char *piece_spm(const void *state, uint32_t id, size_t *n);

#endif
