/* equalize: channel factors in closed form.
 *
 *     factor = rms(input)^a * rms(weights)^-b        a = 1/4, b = 3/4, geometric mean 1
 *
 * A block of weights shares a step, so columns that are large beside their neighbours decide it: dividing by the
 * column's own rms evens them out, and the input's part of the exponent leaves finer steps where inputs are loud. As
 * a + b = 1, what comes out does not depend on how the checkpoint happened to scale its channels.
 *
 * Where several matrices read one input, rms(weights) is over all of them, each counted in units of the output that it
 * makes of this input: those, too, are the same however channels are scaled.
 */
#include "qcore/channels.h"

enum { PIECE_ROWS = 64 };

typedef struct state {
    double input, weight; /* exponents */
} state;

static qc_status equalize_create(qc_job *job, const qc_settings *settings, void **out)
{
    state *s = (state *)job->host->alloc(job->host, sizeof *s);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    s->input = job->host->number(settings, "input");
    s->weight = job->host->number(settings, "weight");
    *out = s;
    return QC_OK;
}

static void equalize_destroy(const qc_host *host, void *s)
{
    host->free(host, s);
}

static double *doubles(qc_job *job, size_t n)
{
    double *d = n <= SIZE_MAX / sizeof *d ? (double *)job->scratch(job, n * sizeof *d) : NULL;
    if (!d)
        qc_fail(job, QC_E_NOMEM, "out of memory for channel factors");
    return d;
}

/* ---- sums of squares of columns ---- */

typedef struct column_sums {
    const qc_end *end;
    size_t cols;
    double *piece; /* [pieces of PIECE_ROWS rows][cols] */
} column_sums;

static qc_status sum_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    const column_sums *s = (const column_sums *)arg;
    size_t n = end - begin;
    double *sum = s->piece + begin / PIECE_ROWS * s->cols;
    float *w = (float *)job->scratch(job, n * s->cols * sizeof *w);
    if (!w)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %s", n, s->end->linear->name);
    qc_status status = s->end->rows(s->end, job, begin, n, w);
    if (status != QC_OK)
        return status;
    memset(sum, 0, s->cols * sizeof *sum);
    for (size_t row = 0; row < n; row++, w += s->cols)
        for (size_t col = 0; col < s->cols; col++)
            sum[col] += (double)w[col] * (double)w[col];
    return QC_OK;
}

/* Of all rows, pieces added up in rising order. */
static qc_status sum_columns(qc_job *job, const qc_end *end, double *sum)
{
    size_t rows = end->linear->rows, cols = end->linear->cols, n_pieces = (rows + PIECE_ROWS - 1) / PIECE_ROWS;
    column_sums s = {end, cols, n_pieces <= SIZE_MAX / cols ? doubles(job, n_pieces * cols) : NULL};
    if (!s.piece)
        return qc_fail(job, QC_E_NOMEM, "out of memory for sums of %s", end->linear->name);
    qc_status status = job->parallel_for(job, rows, PIECE_ROWS, sum_piece, &s);
    if (status != QC_OK)
        return status;
    for (size_t col = 0; col < cols; col++) {
        sum[col] = 0.0;
        for (size_t i = 0; i < n_pieces; i++)
            sum[col] += s.piece[i * cols + col];
        if (!(sum[col] <= DBL_MAX))
            return qc_fail(job, QC_E_NUMERIC, "%s: a weight of column %zu is NaN or Inf", end->linear->name, col);
    }
    return QC_OK;
}

/* ---- factors ---- */

static qc_status add_reader(qc_job *job, const qc_axis *axis, const qc_end *end, double *weight)
{
    double *column = doubles(job, end->linear->cols);
    qc_status status = column ? sum_columns(job, end, column) : QC_E_NOMEM;
    return status == QC_OK ? qc_channel_add_weights(job, axis, end, column, weight) : status;
}

static qc_status equalize_transform(qc_job *job, const void *state_, const qc_axis *axis, float *factor)
{
    const state *s = (const state *)state_;
    size_t n = axis->n_channels;
    int has_input = 0, has_weight = 0;
    if (!qc_axis_is_rounded(axis))
        return QC_OK;
    double *input = doubles(job, n), *weight = doubles(job, n);
    if (!input || !weight)
        return QC_E_NOMEM;
    memset(weight, 0, n * sizeof *weight);
    qc_status status = qc_channel_input(job, axis, input);
    for (size_t i = 0; i < axis->n_readers && status == QC_OK; i++)
        if (qc_end_is_rounded(axis->readers[i]))
            status = add_reader(job, axis, axis->readers[i], weight);
    if (status == QC_OK)
        status = qc_channel_logs(job, input, n, &has_input);
    if (status == QC_OK)
        status = qc_channel_logs(job, weight, n, &has_weight);
    if (status != QC_OK || !has_weight)
        return status;
    /* Of an input that nothing is known of, its part goes to the weights. */
    const double a = has_input ? s->input : 0.0, b = has_input ? s->weight : s->input + s->weight;
    for (size_t i = 0; i < n; i++)
        weight[i] = a * input[i] - b * weight[i];
    qc_channel_factors(weight, n, factor);
    return QC_OK;
}

static const qc_method_desc equalize = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "equalize"},
    .statistics = QC_STAT_MEAN_SQUARE,
    .create = equalize_create,
    .destroy = equalize_destroy,
    .transform = equalize_transform,
};

QC_PLUGIN(&equalize.base);
