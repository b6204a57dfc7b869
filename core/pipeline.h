/* Runs a plan: chunks of rows of all tensors, in any order on any thread, each from its place in the source to its place
 * in the output. Chunks are fixed by the plan alone, so neither threads nor memory have a say in any byte or figure. */
#ifndef CORE_PIPELINE_H
#define CORE_PIPELINE_H

#include "core/output.h"
#include "core/progress.h"
#include "core/statistics.h"

typedef struct pipeline pipeline;

/* What an item came to: sums over its weights of w^2 and of (w - written w)^2. energy 0: it was not decoded, or zero. */
typedef struct item_result {
    double energy, error;
} item_result;

/* Opens the methods and cuts the plan into chunks. All arguments live as long as the pipeline. */
qc_status pipeline_new(qc_job *job, registry *r, const plan *plan, const statistics *statistics, const output *out,
                       pipeline **result);
void pipeline_free(pipeline *p);

/* How many of `wanted` threads (0: one a CPU) fit into run.memory; fails where not even one does. */
qc_status pipeline_threads(const pipeline *p, qc_job *job, unsigned wanted, unsigned *n);

qc_status pipeline_run(pipeline *p, qc_job *job, progress *progress);
uint64_t pipeline_bytes(const pipeline *p); /* to be read from the source */
const item_result *pipeline_results(const pipeline *p); /* as plan.items */

#endif
