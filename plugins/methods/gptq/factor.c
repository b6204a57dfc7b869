/* From the Gram matrix to U, in one array of its size:
 *
 *     R H R = C'C       Cholesky of H with its steps reversed (R), C upper triangular
 *     A = R C' R        upper triangular, H = A A': the array read backwards holds A' below its diagonal
 *     U = inverse of A  block row by block row, into the upper triangle
 */
#include "gptq.h"
#include "kernels.h"
#include "qcore/ops.h"

enum { PIECE = 64, BLOCK = 256, STRIP = 128 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- H, reversed, into the upper triangle ---- */

typedef struct reversed {
    const gptq_prepared *p;
    const float *gram;
} reversed;

static size_t input_col(const gptq_prepared *p, size_t stored)
{
    return p->input_col ? p->input_col[stored] : stored;
}

static float element(const reversed *r, size_t row, size_t col)
{
    const gptq_prepared *p = r->p;
    const size_t a = p->visit[p->n - 1 - row], b = p->visit[p->n - 1 - col];
    if (row == col)
        return p->diagonal[a];
    return p->keep * r->gram[input_col(p, a) * p->n + input_col(p, b)];
}

static qc_status fill_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const reversed *r = arg;
    const size_t n = r->p->n;
    uint32_t bad = 0;
    for (size_t row = begin; row < end; row++)
        for (size_t col = row; col < n; col++) {
            const float v = element(r, row, col);
            bad |= (uint32_t)!qc_is_finite(v);
            r->p->factor[row * n + col] = v;
        }
    return bad ? qc_fail(job, QC_E_NUMERIC, "the Gram matrix has elements that are NaN or Inf") : QC_OK;
}

static void damp_diagonal(gptq_prepared *p, const float *gram, double added)
{
    for (size_t c = 0; c < p->n; c++) {
        const size_t i = input_col(p, c);
        p->diagonal[c] = (float)((double)gram[i * p->n + i] + added);
    }
}

/* C into the upper triangle, with as little damping as does. */
static qc_status factor_damped(qc_job *job, const qc_ops_matrix *ops, const gptq_settings *s, const float *gram,
                               double mean, gptq_prepared *p, double *damp)
{
    reversed r = {p, gram};
    *damp = (double)s->damp;
    for (;;) {
        damp_diagonal(p, gram, *damp * mean);
        qc_status status = job->parallel_for(job, p->n, PIECE, fill_rows, &r);
        if (status != QC_OK)
            return status;
        status = ops->cholesky(job, p->n, p->factor, p->n);
        if (status != QC_E_NUMERIC)
            return status;
        qc_forget(job);
        if (*damp >= 1.0)
            return qc_fail(job, QC_E_NUMERIC,
                           "Gram matrix not positive definite after damping 1: calibrate again, with more text");
        *damp = *damp < 1e-4 ? 1e-3 : 10.0 * *damp;
        *damp = *damp < 1.0 ? *damp : 1.0;
    }
}

/* ---- read backwards ---- */

static qc_status reverse_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const gptq_prepared *p = arg;
    (void)job;
    for (size_t row = begin; row < end; row++) {
        const size_t twin = p->n - 1 - row;
        float *from = p->factor + row * p->n, *to = p->factor + twin * p->n;
        for (size_t i = 0; i < (row == twin ? p->n / 2 : p->n); i++) {
            const float kept = from[i];
            from[i] = to[p->n - 1 - i];
            to[p->n - 1 - i] = kept;
        }
    }
    return QC_OK;
}

/* ---- U ---- */

typedef struct inverse {
    const gptq_prepared *p;
    const gptq_kernels *kernels;
    const qc_ops_matrix *ops;
    float *diagonal; /* [n / BLOCK][BLOCK][BLOCK]: inverses of the blocks on A's diagonal, a smaller last one */
} inverse;

static float *diagonal_block(const inverse *v, size_t first)
{
    return v->diagonal + first * BLOCK;
}

static qc_status invert_block(void *arg, qc_job *job, size_t begin, size_t end)
{
    const inverse *v = arg;
    const size_t n = end - begin, ld = v->p->n;
    float *a = job->scratch(job, n * n * sizeof *a);
    if (!a)
        return job->fail(job, QC_E_NOMEM, "out of memory for a block of the factor");
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++)
            a[i * n + j] = v->p->factor[(begin + j) * ld + begin + i];
    v->kernels->invert(diagonal_block(v, begin), a, n);
    return QC_OK;
}

/* Rows [begin, end) of U, within one block of rows: for each later block j,
 *     U[rows, j] = -(U[rows, blocks before j] A[blocks before j, j]) inverse of A[j, j] */
static qc_status invert_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const inverse *v = arg;
    const size_t n = v->p->n, rows = end - begin, first = begin / BLOCK * BLOCK, width = n - first;
    float *u = job->scratch(job, rows * width * sizeof *u);
    float *product = job->scratch(job, rows * BLOCK * sizeof *product);
    if (!u || !product)
        return job->fail(job, QC_E_NOMEM, "out of memory for rows of the factor");
    const size_t own = least(BLOCK, width);
    for (size_t i = 0; i < rows; i++)
        memcpy(u + i * width, diagonal_block(v, first) + (begin - first + i) * own, own * sizeof *u);
    for (size_t j = first + own; j < n; j += BLOCK) {
        const size_t cols = least(BLOCK, n - j);
        qc_status status = v->ops->gemm(job, rows, cols, j - first, u, width, v->p->factor + j * n + first, n, 1,
                                        product, BLOCK);
        for (size_t i = 0; i < rows * BLOCK; i++)
            product[i] = -product[i];
        if (status == QC_OK)
            status = v->ops->gemm(job, rows, cols, cols, product, BLOCK, diagonal_block(v, j), cols, 0, u + (j - first),
                                  width);
        if (status != QC_OK)
            return status;
    }
    for (size_t i = 0; i < rows; i++) {
        const size_t skip = begin + i - first;
        memcpy(v->p->factor + (begin + i) * n + begin + i, u + i * width + skip, (width - skip) * sizeof *u);
    }
    return QC_OK;
}

static qc_status invert_factor(qc_job *job, const qc_ops_matrix *ops, const gptq_prepared *p)
{
    inverse v = {p, gptq_kernels_for(job->host), ops, NULL};
    v.diagonal = job->host->alloc(job->host, (p->n + BLOCK) * BLOCK * sizeof *v.diagonal);
    if (!v.diagonal)
        return job->fail(job, QC_E_NOMEM, "out of memory for blocks of the factor");
    qc_status status = job->parallel_for(job, p->n, BLOCK, invert_block, &v);
    if (status == QC_OK)
        status = job->parallel_for(job, p->n, STRIP, invert_rows, &v);
    job->host->free(job->host, v.diagonal);
    return status;
}

/* ---- */

/* 1 / U_jj^2: what an error at this step costs once the later ones have made it good. */
static void weigh_columns(gptq_prepared *p)
{
    double mean = 0.0;
    for (size_t i = 0; i < p->n; i++) {
        const double u = (double)p->factor[i * p->n + i];
        mean += 1.0 / (u * u) / (double)p->n;
    }
    for (size_t i = 0; i < p->n; i++) {
        const double u = (double)p->factor[i * p->n + i], f = 1.0 / (u * u) / mean;
        p->importance[p->visit[i]] = (float)(f > 1e-7 ? f : 1e-7);
    }
}

static double mean_of_diagonal(const float *gram, size_t n, size_t *dead)
{
    double mean = 0.0;
    *dead = 0;
    for (size_t i = 0; i < n; i++) {
        mean += (double)gram[i * n + i] / (double)n;
        *dead += gram[i * n + i] == 0.0f;
    }
    return mean;
}

static void tell(qc_job *job, const gptq_settings *s, const qc_input *input, double damp, size_t dead)
{
    qc_tell_figure(job, "damping", damp);
    qc_tell_figure(job, "tokens", (double)input->n_tokens);
    if (dead)
        qc_tell_figure(job, "dead columns", (double)dead);
    if (damp == (double)s->damp)
        return;
    char text[160];
    snprintf(text, sizeof text, "gptq: the Gram matrix needed a damping of %g, not %g, to be positive definite", damp,
             (double)s->damp);
    job->host->log(job->host, QC_LOG_WARNING, text);
}

qc_status gptq_factor(qc_job *job, const gptq_settings *s, const qc_input *input, gptq_prepared *p)
{
    const qc_ops_matrix *ops = job->host->find(job->host, QC_OPS_MATRIX);
    size_t dead;
    double damp, mean = mean_of_diagonal(input->gram, p->n, &dead);
    if (!ops)
        return job->fail(job, QC_E_UNSUPPORTED, "no backend with matrix ops");
    p->keep = 1.0f - s->shrink;
    qc_status status = factor_damped(job, ops, s, input->gram, mean, p, &damp);
    if (status == QC_OK)
        status = job->parallel_for(job, (p->n + 1) / 2, PIECE, reverse_rows, p);
    if (status == QC_OK)
        status = invert_factor(job, ops, p);
    if (status != QC_OK)
        return status;
    weigh_columns(p);
    tell(job, s, input, damp, dead);
    return QC_OK;
}
