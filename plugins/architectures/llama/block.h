/* The forward pass of one block, and of what comes after the last one. */
#ifndef LLAMA_BLOCK_H
#define LLAMA_BLOCK_H

#include "hyperparameters.h"

/* As qc_architecture_desc has them; state: hyperparameters. */
qc_status run_block(qc_job *job, const void *state, const qc_pass *pass, float *x);
qc_status run_finish(qc_job *job, const void *state, const qc_pass *pass, float *x);

#endif
