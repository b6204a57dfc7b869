/* Rows of logits, in slabs, shown to metrics: memory does not grow with the text. */
#ifndef CORE_SCORE_H
#define CORE_SCORE_H

#include "core/asked.h"
#include "core/base_file.h"
#include "core/forward.h"

/* Where rows of logits come from: a model's hidden states, or a file. */
typedef struct logits_source {
    forward *forward;
    const hidden_states *hidden;
    const base_file *file; /* not NULL: this, and not the others */
} logits_source;

/* A metric and the numbers that it keeps. */
typedef struct scorer {
    const qc_metric_desc *desc;
    const void *state;
    double *values; /* [n_rows][desc->n_values] */
    int sees_reference;
} scorer;

/* Rows of a slab: few where there is little of run.memory. No figure depends on it. */
size_t score_slab(size_t n_vocab, uint64_t memory);

/* All rows, in order; reference: NULL: none. shown: a step a row; may be NULL. */
qc_status score_rows(const asked *a, qc_job *job, size_t n_vocab, const logits_source *own,
                     const logits_source *reference, const scorer *scorers, size_t n_scorers, size_t n_slab,
                     progress *shown);

#endif
