/* Metrics that ask a model and look at what it answers. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include "qcore/metric.h"

extern const qc_metric_desc answers_tasks, answers_retrieval;

/* What is kept of every row: log p of the token that follows (0 after the last), and the token that is likeliest. */
enum { VALUE_LOG_P, VALUE_TOP, N_ROW_VALUES };
qc_status answers_score(qc_job *job, const void *state, const qc_scored *row, double *values);

/* right of n; sqrt(p (1 - p) / n) */
typedef struct share {
    size_t right, n;
} share;
qc_status share_put(const qc_figures *out, qc_job *job, const char *name, share s, uint32_t flags);

#endif
