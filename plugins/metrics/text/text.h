/* Metrics of a text, scored in the windows that the host cuts. */
#ifndef TEXT_H
#define TEXT_H

#include "qcore/metric.h"
#include "qcore/ops.h"

extern const qc_metric_desc text_perplexity, text_kld, text_tokens;

/* What all of them look at. */
typedef struct loss_source {
    const qc_ops_math *math;
    int has_reference;
    float floor; /* qc_evaluation.reference_floor */
} loss_source;

qc_status loss_source_open(qc_job *job, const qc_evaluation *e, loss_source *out);

/* Logarithm of the sum of the row's (the reference's) exponentials: log p = logit - this. */
double loss_norm(const loss_source *s, const qc_scored *row);
double loss_reference_norm(const loss_source *s, const qc_scored *row); /* a file's rows are normed already */

/* -log p of the token that follows, and the reference's where there is one: values[0], values[1]. */
qc_status loss_score(const loss_source *s, qc_job *job, const qc_scored *row, double *values);

/* A mean and its standard error. */
typedef struct mean_error {
    double mean, error;
} mean_error;

/* Of values[0], values[step], ... n of them: the error is sqrt(variance / (n - 1)), the variance that of the n values;
 * negative, none, where there is but one. Both in one order, in double. */
mean_error mean_of(const double *values, size_t step, size_t n);
/* Of a * values[0] - b * values[1], a * values[step] - b * values[step + 1], ... */
mean_error mean_of_difference(const double *values, size_t step, size_t n, double a, double b);

#endif
