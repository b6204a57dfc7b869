/* Recording what the linears of a model see while it runs. */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include "core/forward.h"
#include "core/statistics_impl.h"

/* Rows that are kept of an input as samples: every 3^k-th row that it saw, from its first on, k the least by which they
 * are at most so many. Of 3, for windows are often 2^n tokens long: every 2^k-th would be each window's first. */
enum { MOST_SAMPLES = 512 };

typedef struct recorder recorder;

/* What of an input that `weights` read is to be recorded: QC_STAT_*, of which mean squares come with any; 0: nothing.
 * Asked when an input's first batch comes, and holds for all; is_last, preset to 0: no later input of this block is
 * wanted, so the rest of the batch is left out (FORWARD_ENOUGH; not where experts read it, who come one by one). */
typedef uint32_t (*record_choice)(void *arg, size_t n, const model_tensor *const *weights, int *is_last);

/* Records `wanted` (QC_STAT_*) into s, beside column mean squares. */
qc_status recorder_new(qc_job *job, statistics *s, uint32_t wanted, recorder **out);
void recorder_free(recorder *r);
/* Instead of `wanted` for all, for those who run in steps. choose NULL: `wanted` again. */
void recorder_choose(recorder *r, record_choice choose, void *arg);
/* A watch for forward_run and forward_step; output: record the output's input too. */
forward_watch recorder_watch(recorder *r, int output);
/* After the pass, or after one or more steps over one block (block_done does it too): what was recorded since the last
 * such call is ready for use, and the same inputs are new ones from then on. */
qc_status recorder_finish(recorder *r, qc_job *job);

/* Memory of one record, and what recording needs beside it until it is finished: an input's peak is their sum.
 * UINT64_MAX: beyond all bounds. */
uint64_t record_bytes(uint32_t wanted, uint64_t cols, uint64_t n_matrices);
uint64_t recording_bytes(uint32_t wanted, uint64_t cols, uint64_t n_matrices);

#endif
