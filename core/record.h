/* Recording what the linears of a model see while it runs. */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include "core/forward.h"
#include "core/statistics_impl.h"

/* Rows that are kept of an input as samples: every 2^k-th row that it saw, from its first on, k the least by which they
 * are at most so many. */
enum { MOST_SAMPLES = 128 };

typedef struct recorder recorder;

/* What of an input that `weights` read is to be recorded: QC_STAT_*, of which mean squares come with any; 0: nothing. Of
 * the answer for one block's first batch the others follow; is_last: no later input of this block is wanted, so the rest
 * of the batch can be left out. */
typedef uint32_t (*record_choice)(void *arg, size_t n, const model_tensor *const *weights, int *is_last);

/* Instead of `wanted` for all: asked once for each input of a block. choose NULL: `wanted` again. */
void recorder_choose(recorder *r, record_choice choose, void *arg);
/* What was recorded since the last such call is ready for use; for runs in steps, where no block_done is called. */
qc_status recorder_finish(recorder *r, qc_job *job);

/* Records `wanted` (QC_STAT_*) into s, beside column mean squares. */
qc_status recorder_new(qc_job *job, statistics *s, uint32_t wanted, recorder **out);
void recorder_free(recorder *r);
/* A watch for forward_run; output: record the output's input too. */
forward_watch recorder_watch(recorder *r, int output);
/* After the pass: statistics are then ready for use. */
qc_status recorder_end(recorder *r, qc_job *job);

/* Memory of one record, and what recording needs beside it until its block ends. UINT64_MAX: beyond all bounds. */
uint64_t record_bytes(uint32_t wanted, uint64_t cols, uint64_t n_matrices);
uint64_t recording_bytes(uint32_t wanted, uint64_t cols, uint64_t n_matrices);

#endif
