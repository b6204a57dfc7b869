/* blas: matrix products by OpenBLAS, whose sums come in another order on another CPU. One thread of its own: the host's
 * workers share the rows, so run.threads holds. */
#include "qcore/ops.h"
#include <cblas.h>
#include <limits.h>
#include <string.h>

enum { PIECE = 256 }; /* rows that one worker takes */

static int fits(size_t n)
{
    return n <= INT_MAX;
}

/* BLAS wants a distance between rows even where there are none. */
static blasint distance(size_t ld)
{
    return ld ? (blasint)ld : 1;
}

static qc_status too_large(qc_job *job)
{
    return job->fail(job, QC_E_LIMIT,
                     "a matrix with more than 2147483647 rows or columns is more than OpenBLAS can do");
}

typedef struct product {
    size_t n, k;
    const float *a, *b;
    size_t lda, ldb, ldc;
    int b_transposed;
    float *c;
} product;

static qc_status multiply_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const product *p = arg;
    (void)job;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, p->b_transposed ? CblasTrans : CblasNoTrans, (blasint)(end - begin),
                (blasint)p->n, (blasint)p->k, 1.0f, p->a + begin * p->lda, distance(p->lda), p->b, distance(p->ldb),
                0.0f, p->c + begin * p->ldc, distance(p->ldc));
    return QC_OK;
}

static qc_status gemm(qc_job *job, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                      int b_transposed, float *c, size_t ldc)
{
    product p = {n, k, a, b, lda, ldb, ldc, b_transposed, c};
    if (!fits(m) || !fits(n) || !fits(k) || !fits(lda) || !fits(ldb) || !fits(ldc))
        return too_large(job);
    return job->parallel_for(job, m, PIECE, multiply_rows, &p);
}

typedef struct square {
    size_t n, tokens, ldx;
    const float *x;
    float *h;
} square;

/* Rows [begin, end): their triangle at the diagonal, and the rectangle to its right. */
static qc_status gram_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const square *s = arg;
    const float *x = s->x + begin;
    float *h = s->h + begin * s->n + begin;
    const blasint rows = (blasint)(end - begin), right = (blasint)(s->n - end), tokens = (blasint)s->tokens;
    (void)job;
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, rows, tokens, 1.0f, x, distance(s->ldx), 1.0f, h,
                distance(s->n));
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, rows, right, tokens, 1.0f, x, distance(s->ldx), x + rows,
                distance(s->ldx), 1.0f, h + rows, distance(s->n));
    return QC_OK;
}

static qc_status gram(qc_job *job, size_t n, size_t tokens, const float *x, size_t ldx, float *h)
{
    square s = {n, tokens, ldx, x, h};
    if (!fits(n) || !fits(tokens) || !fits(ldx))
        return too_large(job);
    return job->parallel_for(job, n, PIECE, gram_rows, &s);
}

static void overlay(const char *cpu, const char *table_id, void *table, size_t size)
{
    qc_ops_matrix *matrix = table;
    (void)cpu;
    if (strcmp(table_id, QC_OPS_MATRIX) != 0 || size < offsetof(qc_ops_matrix, cholesky))
        return;
    openblas_set_num_threads(1);
    matrix->gemm = gemm;
    matrix->gram = gram;
}

static const qc_backend_desc blas = {
    .base = {.size = sizeof(qc_backend_desc), .flags = QC_DESC_INEXACT, .kind = QC_KIND_BACKEND, .id = "blas"},
    .rank = 100,
    .overlay = overlay,
};

QC_PLUGIN(&blas.base);
