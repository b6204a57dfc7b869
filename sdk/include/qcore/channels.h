/* Channel factors: what methods that transform have in common. */
#ifndef QCORE_CHANNELS_H
#define QCORE_CHANNELS_H

#include "qcore/math.h"
#include "qcore/method.h"
#include <stdlib.h>

/* Of the median: what is smaller counts as so much. A norm weight of exactly 0 occurs, and its channel has no input. */
#define QC_CHANNEL_FLOOR 1e-3

/* Channel of a reader's column (a writer's row); UINT32_MAX: none. */
static inline uint32_t qc_channel_of(const qc_end *end, size_t i)
{
    return end->map ? end->map[i] : (uint32_t)i;
}

/* Will this matrix be rounded to a grid? Plain numbers gain nothing from a factor. */
static inline int qc_end_is_rounded(const qc_end *end)
{
    return end->linear->coder && end->linear->coder->block_cols != 1;
}

static inline int qc_axis_is_rounded(const qc_axis *axis)
{
    for (size_t i = 0; i < axis->n_readers; i++)
        if (qc_end_is_rounded(axis->readers[i]))
            return 1;
    return 0;
}

/* mean[channel] = mean of the values of the columns that read it; 0 where none does. */
static inline qc_status qc_channel_means(qc_job *job, const qc_end *end, size_t n_channels, const double *column,
                                         double *mean)
{
    uint32_t *count = (uint32_t *)job->scratch(job, n_channels * sizeof *count);
    if (!count)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu channels", n_channels);
    memset(count, 0, n_channels * sizeof *count);
    for (size_t i = 0; i < n_channels; i++)
        mean[i] = 0.0;
    for (size_t col = 0; col < end->linear->cols; col++) {
        uint32_t channel = qc_channel_of(end, col);
        if (channel >= n_channels)
            continue;
        mean[channel] += column[col];
        count[channel]++;
    }
    for (size_t i = 0; i < n_channels; i++)
        mean[i] = count[i] ? mean[i] / count[i] : 0.0;
    return QC_OK;
}

/* Mean square of each channel of the axis' input. QC_E_NUMERIC where statistics are no numbers. All 0 where nothing is
 * known. */
static inline qc_status qc_channel_input(qc_job *job, const qc_axis *axis, double *mean)
{
    const qc_input *input = axis->input;
    const qc_end *end = axis->readers[0];
    memset(mean, 0, axis->n_channels * sizeof *mean);
    if (!input || !input->mean_square)
        return QC_OK;
    if (input->cols != end->linear->cols)
        return qc_fail(job, QC_E_INVALID, "statistics are of %zu columns, %s has %zu", input->cols, end->linear->name,
                       end->linear->cols);
    double *column = (double *)job->scratch(job, input->cols * sizeof *column);
    if (!column)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu columns", input->cols);
    for (size_t col = 0; col < input->cols; col++) {
        column[col] = (double)input->mean_square[col];
        if (!(column[col] >= 0.0 && column[col] <= FLT_MAX))
            return qc_fail(job, QC_E_NUMERIC, "mean square of column %zu is negative, NaN or Inf", col);
    }
    return qc_channel_means(job, end, axis->n_channels, column, mean);
}

/* Adds a reader's sums of squares of columns, in units of the mean square of its output, to those of the channels. In such
 * units matrices that share an input are comparable, however their channels are scaled. */
static inline qc_status qc_channel_add_weights(qc_job *job, const qc_axis *axis, const qc_end *end,
                                               const double *column, double *weight)
{
    const float *x = axis->input ? axis->input->mean_square : NULL;
    double output = 0.0, *mean = (double *)job->scratch(job, axis->n_channels * sizeof *mean);
    if (!mean)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu channels", axis->n_channels);
    for (size_t col = 0; col < end->linear->cols; col++)
        output += column[col] * (x ? (double)x[col] : 1.0);
    qc_status status = qc_channel_means(job, end, axis->n_channels, column, mean);
    for (size_t i = 0; status == QC_OK && output > 0.0 && i < axis->n_channels; i++)
        weight[i] += mean[i] / output;
    return status;
}

static inline int qc_rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean squares to logarithms of their roots, none below the floor. Into all 0 where no mean square is positive; *known
 * says whether one is. */
static inline qc_status qc_channel_logs(qc_job *job, double *level, size_t n, int *known)
{
    size_t n_positive = 0;
    *known = 0;
    double *sorted = (double *)job->scratch(job, n * sizeof *sorted);
    if (!sorted)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu channels", n);
    for (size_t i = 0; i < n; i++)
        if (level[i] > 0.0)
            sorted[n_positive++] = level[i];
    *known = n_positive > 0;
    qsort(sorted, n_positive, sizeof *sorted, qc_rising);
    double least = n_positive ? sorted[n_positive / 2] * (QC_CHANNEL_FLOOR * QC_CHANNEL_FLOOR) : 1.0;
    for (size_t i = 0; i < n; i++)
        level[i] = *known ? 0.5 * qc_log(level[i] > least ? level[i] : least) : 0.0;
    return QC_OK;
}

/* Factors of geometric mean 1 from their logarithms. */
static inline void qc_channel_factors(const double *log_factor, size_t n, float *factor)
{
    double mean = 0.0;
    for (size_t i = 0; i < n; i++)
        mean += log_factor[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        factor[i] = (float)qc_exp(log_factor[i] - mean);
}

#endif
