/* imatrix: round to nearest with the error of each column weighted by how large its input is.
 *
 * The layer's output error, with the Gram matrix replaced by its diagonal, would weight column j by its mean square m_j.
 * That holds where rounding errors are independent; taken in full it lets a few loud columns decide every scale. A power
 * of it, m_j^power, keeps models closer to their originals: the README has figures. A linear of whose input nothing is
 * known is rounded plainly.
 */
#include "qcore/math.h"
#include "qcore/method.h"

typedef struct state {
    double power;
} state;

static qc_status imatrix_create(qc_job *job, const qc_settings *settings, void **out)
{
    state *s = (state *)job->host->alloc(job->host, sizeof *s);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    s->power = job->host->number(settings, "power");
    *out = s;
    return QC_OK;
}

static void imatrix_destroy(const qc_host *host, void *s)
{
    host->free(host, s);
}

static float weight_of(double mean_square, double power)
{
    if (power == 1.0 || mean_square == 0.0)
        return (float)mean_square;
    return (float)(power == 0.5 ? sqrt(mean_square) : qc_pow(mean_square, power));
}

/* Weights of the columns; NULL where nothing is known of the input. */
static qc_status imatrix_prepare(qc_job *job, const void *s, const qc_input *input, const qc_encoding_desc *shape,
                                 uint32_t *order, void **prepared)
{
    (void)shape, (void)order;
    *prepared = NULL;
    if (!input || !input->mean_square)
        return QC_OK;
    for (size_t col = 0; col < input->cols; col++)
        if (!qc_is_finite(input->mean_square[col]) || input->mean_square[col] < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "importance of column %zu is negative, NaN or Inf", col);
    float *weights = (float *)job->host->alloc(job->host, input->cols * sizeof *weights);
    if (!weights)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the importance of %zu columns", input->cols);
    for (size_t col = 0; col < input->cols; col++)
        weights[col] = weight_of((double)input->mean_square[col], ((const state *)s)->power);
    *prepared = weights;
    return QC_OK;
}

static qc_status imatrix_round(qc_job *job, const void *s, const void *prepared, const qc_linear *linear, float *w,
                               size_t n_rows, void *dst)
{
    (void)s;
    if (prepared && linear->input->cols != linear->cols)
        return qc_fail(job, QC_E_INVALID, "importance is for %zu columns, the weight has %zu", linear->input->cols,
                       linear->cols);
    return qc_encode_rows(job, linear->coder, dst, w, (const float *)prepared, n_rows);
}

static uint64_t imatrix_memory(const void *s, size_t cols)
{
    (void)s;
    return cols * sizeof(float);
}

static const qc_method_desc imatrix = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "imatrix", .flags = QC_METHOD_KEEPS_WEIGHTS},
    .statistics = QC_STAT_MEAN_SQUARE,
    .create = imatrix_create,
    .destroy = imatrix_destroy,
    .prepare = imatrix_prepare,
    .release = imatrix_destroy,
    .round = imatrix_round,
    .memory = imatrix_memory,
};

QC_PLUGIN(&imatrix.base);
