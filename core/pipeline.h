/* Runs a plan: chunks of rows of its items, in any order on any thread, each from its place in the source to its place
 * in the output. Chunks are fixed by the plan alone, so neither threads nor memory have a say in any byte or figure. */
#ifndef CORE_PIPELINE_H
#define CORE_PIPELINE_H

#include "core/job.h"
#include "core/output.h"
#include "core/progress.h"
#include "core/statistics.h"

typedef struct pipeline pipeline;

/* What an item came to: sums over its weights of w^2 and of (w - written w)^2. energy 0: it was not decoded, or zero. */
typedef struct item_result {
    double energy, error;
} item_result;

/* What rounding one matrix came to, where the Gram matrix H of its input is known, or samples that stand for it: sums
 * over about MEASURED_ROWS of its rows, evenly spaced, of w H w' for w, for w less what rounding to the nearest makes of
 * it, and for w less what was written. */
enum { MEASURED_ROWS = 128, MAX_LINEAR_FIGURES = 8 };

typedef struct linear_result {
    const plan_item *item;
    int32_t expert; /* -1: all of it */
    double energy, rtn_error, error; /* energy 0: not measured */
    job_figure figures[MAX_LINEAR_FIGURES]; /* told by methods: damping, alpha */
    size_t n_figures;
} linear_result;

/* Where the weights that were written go as well: canonical row `row` of a matrix. [any-thread] */
typedef struct pipeline_tap {
    void *arg;
    void (*row)(void *arg, size_t item, uint64_t matrix, uint64_t row, const float *w);
} pipeline_tap;

/* Opens the methods and cuts the plan into chunks. All arguments live as long as the pipeline. */
qc_status pipeline_new(qc_job *job, registry *r, const plan *plan, const output *out, pipeline **result);
void pipeline_free(pipeline *p);
void pipeline_set_tap(pipeline *p, const pipeline_tap *tap); /* borrowed; NULL: none */

/* How many of `wanted` threads (0: one a CPU) fit into run.memory beside `fixed` bytes; fails where not even one does. */
qc_status pipeline_threads(const pipeline *p, qc_job *job, unsigned wanted, uint64_t fixed, unsigned *n);
uint64_t pipeline_worker_bytes(const pipeline *p); /* what a thread has in hand */
uint64_t pipeline_prepared_bytes(const pipeline *p); /* what methods prepare and measuring holds, at most */

/* The items named (NULL: all n of the plan), with what is known of their inputs now; each once. */
qc_status pipeline_run(pipeline *p, qc_job *job, const size_t *items, size_t n, const statistics *s, progress *shown);
uint64_t pipeline_bytes(const pipeline *p); /* to be read from the source */
/* Progress steps of one byte read; 1 unless set. A ratio, so that rounding can stand beside other work. */
void pipeline_set_pace(pipeline *p, uint64_t steps, uint64_t bytes);

const item_result *pipeline_results(const pipeline *p); /* as plan.items */
const linear_result *pipeline_linears(const pipeline *p, size_t *n); /* in the order of the plan; those rounded alone */

/* ---- transform.c ---- */

int pipeline_transforms(const pipeline *p); /* does a method of the recipe? */
uint32_t pipeline_statistics(const pipeline *p, int transforms); /* QC_STAT_* that transforms, or the rounder, want */

/* Asks the methods for factors on every axis of a block, in order; s is scaled as the readers' weights are. Once a
 * block, before any of its items runs. */
qc_status pipeline_transform(pipeline *p, qc_job *job, statistics *s, uint32_t block);
/* What reads the embedding tells its method what a Gram matrix tells others; added to s. */
qc_status pipeline_know_embedding(const pipeline *p, qc_job *job, statistics *s);
/* Divides what was recorded of the input that item reads by its factors: for statistics of the model without them. */
qc_status pipeline_scale_input(const pipeline *p, qc_job *job, statistics *s, size_t item);
int pipeline_is_scaled(const pipeline *p, size_t item); /* does an item have factors? */
/* Canonical rows of an item as factors have made them; *changed 0 (and w untouched) where there are none. */
qc_status pipeline_folded(const pipeline *p, qc_job *job, size_t item, uint64_t row, size_t n, float *w, int *changed);

#endif
