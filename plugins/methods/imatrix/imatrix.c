/* imatrix: round to nearest with the error of each column weighted by the mean square of its input. That is the layer's
 * output error with the Gram matrix replaced by its diagonal. A linear of whose input nothing is known is rounded plainly.
 */
#include "qcore/method.h"

static qc_status check_importance(qc_job *job, const qc_linear *linear, const float *importance)
{
    if (linear->input->cols != linear->cols)
        return qc_fail(job, QC_E_INVALID, "importance is for %zu columns, the weight has %zu", linear->input->cols,
                       linear->cols);
    for (size_t col = 0; col < linear->cols; col++)
        if (!qc_is_finite(importance[col]) || importance[col] < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "importance of column %zu is negative, NaN or Inf", col);
    return QC_OK;
}

static qc_status imatrix_round(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                               size_t n_rows, void *dst)
{
    (void)state, (void)prepared;
    const float *importance = linear->input ? linear->input->mean_square : NULL;
    qc_status status = importance ? check_importance(job, linear, importance) : QC_OK;
    if (status == QC_OK)
        status = qc_check_weights(job, w, n_rows, linear->cols);
    return status == QC_OK ? qc_encode_rows(job, linear->coder, dst, w, importance, n_rows) : status;
}

static const qc_method_desc imatrix = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "imatrix"},
    .statistics = QC_STAT_MEAN_SQUARE,
    .round = imatrix_round,
};

QC_PLUGIN(&imatrix.base);
