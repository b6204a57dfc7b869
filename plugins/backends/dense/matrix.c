/* Matrix ops as updates in tiles: the same sums as the scalar backend's. */
#include "dense.h"
#include "kernels.h"
#include "tiles.h"
#include <math.h>

static qc_status gemm(qc_job *job, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                      int b_transposed, float *c, size_t ldc)
{
    const update u = {
        .m = m, .n = n, .k = k, .a = {a, lda, 0}, .b = {b, ldb, !b_transposed}, .c = c, .ldc = ldc, .fresh = 1};
    return dense_update(job, &u);
}

static qc_status gram(qc_job *job, size_t n, size_t tokens, const float *x, size_t ldx, float *h)
{
    const update u = {.m = n, .n = n, .k = tokens, .a = {x, ldx, 1}, .b = {x, ldx, 1}, .c = h, .ldc = n, .upper = 1};
    return dense_update(job, &u);
}

/* ---- Cholesky: a few rows at a time are made final, then subtracted from the rest of their block; a block that is
 * final is subtracted from all below it ---- */

enum { BLOCK = 128, FEW = 16, STRIP = 256 }; /* rows; columns that one worker makes final */

typedef struct factor {
    size_t n;
    float *a;
    size_t lda;
    size_t first, last; /* rows that are made final */
} factor;

/* Columns [begin, end) of row i, less the terms of rows [first, i). */
static void subtract_earlier(const factor *f, size_t i, size_t begin, size_t end)
{
    for (size_t k = f->first; k < i; k++)
        dense_subtract(f->a + i * f->lda + begin, f->a[k * f->lda + i], f->a + k * f->lda + begin, end - begin);
}

static qc_status factor_diagonal(const factor *f, qc_job *job)
{
    for (size_t i = f->first; i < f->last; i++) {
        float *row = f->a + i * f->lda;
        subtract_earlier(f, i, i, f->last);
        if (!(row[i] > 0.0f))
            return qc_fail(job, QC_E_NUMERIC, "the matrix is not positive definite: pivot %zu of %zu is %g", i + 1,
                           f->n, (double)row[i]);
        row[i] = sqrtf(row[i]);
        for (size_t j = i + 1; j < f->last; j++)
            row[j] /= row[i];
    }
    return QC_OK;
}

/* Columns [begin, end), counted from where the diagonal's end. */
static qc_status factor_strip(void *arg, qc_job *job, size_t begin, size_t end)
{
    const factor *f = arg;
    (void)job;
    for (size_t i = f->first; i < f->last; i++) {
        float *row = f->a + i * f->lda;
        const float pivot = row[i];
        subtract_earlier(f, i, f->last + begin, f->last + end);
        for (size_t j = f->last + begin; j < f->last + end; j++)
            row[j] /= pivot;
    }
    return QC_OK;
}

/* The terms of rows [first, last) from rows [last, end). */
static qc_status subtract_final(qc_job *job, const factor *f, size_t first, size_t last, size_t end)
{
    const operand u = {f->a + first * f->lda + last, f->lda, 1};
    const update rest = {.m = end - last,
                         .n = f->n - last,
                         .k = last - first,
                         .a = u,
                         .b = u,
                         .c = f->a + last * f->lda + last,
                         .ldc = f->lda,
                         .negate = 1,
                         .upper = 1};
    return dense_update(job, &rest);
}

/* Rows [first, last) of u, those before being subtracted already. */
static qc_status factor_block(qc_job *job, factor *f, size_t first, size_t last)
{
    qc_status status = QC_OK;
    for (f->first = first; status == QC_OK && f->first < last; f->first = f->last) {
        f->last = last - f->first < FEW ? last : f->first + FEW;
        status = factor_diagonal(f, job);
        if (status == QC_OK)
            status = job->parallel_for(job, f->n - f->last, STRIP, factor_strip, f);
        if (status == QC_OK)
            status = subtract_final(job, f, f->first, f->last, last);
    }
    return status;
}

static qc_status cholesky(qc_job *job, size_t n, float *a, size_t lda)
{
    qc_status status = QC_OK;
    factor f = {.n = n, .a = a, .lda = lda};
    for (size_t first = 0; status == QC_OK && first < n; first += BLOCK) {
        size_t last = n - first < BLOCK ? n : first + BLOCK;
        status = factor_block(job, &f, first, last);
        if (status == QC_OK)
            status = subtract_final(job, &f, first, last, n);
    }
    return status;
}

const qc_ops_matrix dense_matrix = {
    .size = sizeof(qc_ops_matrix),
    .gemm = gemm,
    .gram = gram,
    .cholesky = cholesky,
};
