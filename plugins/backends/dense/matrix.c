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

/* ---- Cholesky: a block of rows at a time is made final, then subtracted from all below it ---- */

enum { BLOCK = 128, STRIP = 64 }; /* rows; columns that one worker makes final */

typedef struct factor {
    size_t n, first, last; /* rows of the block: [first, last) */
    float *a;
    size_t lda;
} factor;

/* Columns [begin, end) of row i, less the terms of the rows [first, i) of its block. */
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

/* Columns right of the diagonal block, [begin, end) counted from there. */
static qc_status factor_strip(void *arg, qc_job *job, size_t begin, size_t end)
{
    const factor *f = arg;
    (void)job;
    for (size_t i = f->first; i < f->last; i++) {
        float *row = f->a + i * f->lda;
        subtract_earlier(f, i, f->last + begin, f->last + end);
        for (size_t j = f->last + begin; j < f->last + end; j++)
            row[j] /= row[i];
    }
    return QC_OK;
}

static qc_status subtract_block(qc_job *job, const factor *f)
{
    const operand u = {f->a + f->first * f->lda + f->last, f->lda, 1};
    const update rest = {.m = f->n - f->last,
                         .n = f->n - f->last,
                         .k = f->last - f->first,
                         .a = u,
                         .b = u,
                         .c = f->a + f->last * f->lda + f->last,
                         .ldc = f->lda,
                         .negate = 1,
                         .upper = 1};
    return dense_update(job, &rest);
}

static qc_status cholesky(qc_job *job, size_t n, float *a, size_t lda)
{
    qc_status status = QC_OK;
    for (size_t first = 0; status == QC_OK && first < n; first += BLOCK) {
        factor f = {.n = n, .first = first, .last = n - first < BLOCK ? n : first + BLOCK, .a = a, .lda = lda};
        status = factor_diagonal(&f, job);
        if (status == QC_OK)
            status = job->parallel_for(job, n - f.last, STRIP, factor_strip, &f);
        if (status == QC_OK)
            status = subtract_block(job, &f);
    }
    return status;
}

const qc_ops_matrix dense_matrix = {
    .size = sizeof(qc_ops_matrix),
    .gemm = gemm,
    .gram = gram,
    .cholesky = cholesky,
};
