/* The definition of the matrix ops: one fused multiply-add a term, k rising. */
#include "dense.h"
#include <math.h>

enum { PIECE = 16 }; /* rows that one worker takes */

typedef struct product {
    size_t n, k;
    const float *a, *b;
    size_t lda, ldb, ldc;
    int b_transposed;
    float *c;
} product;

static void multiply_row(const product *p, const float *a, float *c)
{
    for (size_t j = 0; j < p->n; j++)
        c[j] = 0.0f;
    if (p->b_transposed)
        for (size_t j = 0; j < p->n; j++)
            for (size_t k = 0; k < p->k; k++)
                c[j] = fmaf(a[k], p->b[j * p->ldb + k], c[j]);
    else
        for (size_t k = 0; k < p->k; k++)
            for (size_t j = 0; j < p->n; j++)
                c[j] = fmaf(a[k], p->b[k * p->ldb + j], c[j]);
}

static qc_status multiply_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const product *p = arg;
    (void)job;
    for (size_t i = begin; i < end; i++)
        multiply_row(p, p->a + i * p->lda, p->c + i * p->ldc);
    return QC_OK;
}

static qc_status gemm(qc_job *job, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                      int b_transposed, float *c, size_t ldc)
{
    product p = {n, k, a, b, lda, ldb, ldc, b_transposed, c};
    return job->parallel_for(job, m, PIECE, multiply_rows, &p);
}

typedef struct square {
    size_t n, tokens, ldx;
    const float *x;
    float *h;
} square;

static qc_status gram_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const square *s = arg;
    (void)job;
    for (size_t t = 0; t < s->tokens; t++) {
        const float *x = s->x + t * s->ldx;
        for (size_t i = begin; i < end; i++)
            for (size_t j = i; j < s->n; j++)
                s->h[i * s->n + j] = fmaf(x[i], x[j], s->h[i * s->n + j]);
    }
    return QC_OK;
}

static qc_status gram(qc_job *job, size_t n, size_t tokens, const float *x, size_t ldx, float *h)
{
    square s = {n, tokens, ldx, x, h};
    return job->parallel_for(job, n, PIECE, gram_rows, &s);
}

/* Row by row: the terms of earlier rows are subtracted, then the row is divided by the root of its first element. */
static qc_status cholesky(qc_job *job, size_t n, float *a, size_t lda)
{
    for (size_t i = 0; i < n; i++) {
        float *row = a + i * lda;
        for (size_t k = 0; k < i; k++) {
            const float *u = a + k * lda;
            for (size_t j = i; j < n; j++)
                row[j] = fmaf(-u[i], u[j], row[j]);
        }
        if (!(row[i] > 0.0f))
            return qc_fail(job, QC_E_NUMERIC, "the matrix is not positive definite: pivot %zu of %zu is %g", i + 1, n,
                           (double)row[i]);
        float root = sqrtf(row[i]);
        row[i] = root;
        for (size_t j = i + 1; j < n; j++)
            row[j] /= root;
    }
    return QC_OK;
}

const qc_ops_matrix dense_matrix = {
    .size = sizeof(qc_ops_matrix),
    .gemm = gemm,
    .gram = gram,
    .cholesky = cholesky,
};
