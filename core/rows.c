#include "core/rows.h"
#include "core/job.h"
#include "qcore/number.h"
#include <math.h>

double rows_energy(const qc_ops_row *ops, const float *x, size_t n, size_t cols)
{
    double sum = 0;
    for (size_t row = 0; row < n; row++)
        sum += ops->sum_squares(x + row * cols, NULL, cols);
    return sum;
}

double rows_error(const qc_ops_row *ops, const float *x, const float *y, size_t n, size_t cols)
{
    double sum = 0;
    for (size_t row = 0; row < n; row++)
        sum += ops->squared_error(x + row * cols, y + row * cols, NULL, cols);
    return sum;
}

/* The first weight that is no number, told with its row in the tensor. */
static qc_status refuse_weight(qc_job *job, uint64_t row, size_t n, size_t cols, const float *x)
{
    for (size_t i = 0; i < n * cols; i++)
        if (!qc_is_finite(x[i]))
            return qc_fail(job, QC_E_NUMERIC, "row %llu, column %zu is %s", (unsigned long long)row + i / cols,
                           i % cols, x[i] != x[i] ? "NaN" : "Inf");
    return QC_E_INTERNAL;
}

/* Families whose norms are stored less one, and the way back. */
static void shift_by_one(const model_tensor *t, float *x, size_t n)
{
    float one = t->flags & NAME_MINUS ? -1.0f : 1.0f;
    for (size_t i = 0; i < n; i++)
        x[i] += one;
}

qc_status rows_unpack(qc_job *job, const model_tensor *t, const qc_coder *stored, size_t n, const void *bytes, float *x)
{
    size_t mark = job_mark(job);
    qc_status status = qc_decode_rows(job, stored, x, bytes, n);
    job_release(job, mark);
    if (status == QC_OK && t->flags & QC_NAME_ADD_ONE)
        shift_by_one(t, x, n * stored->cols);
    return status;
}

/* Plain numbers are checked as weights; blocks before they are used. */
qc_status rows_decode(qc_job *job, const qc_ops_row *ops, const model_tensor *t, const qc_coder *stored, uint64_t row,
                      size_t n, const void *bytes, float *x, double *energy)
{
    qc_status status = QC_OK;
    if (stored->desc->validate && stored->block_cols != 1)
        status = stored->desc->validate(job, stored, bytes, n);
    if (status == QC_OK)
        status = rows_unpack(job, t, stored, n, bytes, x);
    if (status != QC_OK)
        return status;
    *energy = rows_energy(ops, x, n, stored->cols);
    return isfinite(*energy) ? QC_OK : refuse_weight(job, row, n, stored->cols, x);
}

qc_status rows_load(const model *m, qc_job *job, const qc_ops_row *ops, const model_tensor *t, const qc_coder *stored,
                    uint64_t row, size_t n, float *x)
{
    size_t mark = job_mark(job);
    void *bytes = job->scratch(job, n * stored->row_bytes);
    double energy;
    qc_status status = QC_OK;
    if (!bytes)
        status = qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %zu weights", n, stored->cols);
    if (status == QC_OK)
        status = model_load(m, job, t, stored, row, n, bytes);
    if (status == QC_OK)
        status = rows_decode(job, ops, t, stored, row, n, bytes, x, &energy);
    job_release(job, mark);
    return status;
}
