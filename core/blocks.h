/* A calibrated quantization, block by block: statistics of one block at a time are in memory, and what comes after it
 * may see it quantized already. */
#ifndef CORE_BLOCKS_H
#define CORE_BLOCKS_H

#include "core/pipeline.h"
#include "core/session.h"

typedef struct block_run block_run;

/* Does this recipe run so? Where methods want more of a calibration text than column sums, which all fit in memory, or
 * scale channels, or where calibration.sequential says so. */
qc_status blocks_wanted(qc_job *job, registry *r, const recipe *rec, int *wanted);

/* Reads the text and opens the model's forward pass; p and its plan live as long. Fails where run.memory is too small,
 * naming what is needed. */
qc_status blocks_open(qc_job *job, registry *r, pipeline *p, const plan *plan, block_run **out);
void blocks_free(block_run *b);

/* What recording one block after another takes of memory, beside what the method makes of it, and tokens times blocks. */
qc_status blocks_forecast(qc_job *job, registry *r, const recipe *rec, const model *m, uint32_t wanted, uint64_t *bytes,
                          uint64_t *steps);

/* Threads that fit beside what the run holds anyway. */
qc_status blocks_threads(const block_run *b, qc_job *job, unsigned wanted, unsigned *n);
uint64_t blocks_steps(const block_run *b); /* of progress */
uint64_t blocks_block_steps(const block_run *b); /* of one block */

qc_status blocks_run(block_run *b, qc_job *job, progress *shown);

#endif
