/* Hidden states of all tokens of a run: in memory, or in a temporary file that nobody sees. */
#ifndef CORE_HIDDEN_H
#define CORE_HIDDEN_H

#include "core/forward.h"

/* float32 [n_tokens][width]. More than `room` bytes go to a file in `folder`. hidden_free frees. */
qc_status hidden_new(qc_job *job, size_t n_tokens, size_t width, uint64_t room, const char *folder,
                     hidden_states **out);
size_t hidden_tokens(const hidden_states *h);
uint64_t hidden_memory(const hidden_states *h); /* bytes held; 0: in a file */

/* Rows [first, first + n). */
qc_status hidden_read(const hidden_states *h, qc_job *job, size_t first, size_t n, float *x);
qc_status hidden_write(hidden_states *h, qc_job *job, size_t first, size_t n, const float *x);

#endif
