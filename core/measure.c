/* What rounding cost in outputs: tr(E H E') over some rows of a matrix, for rtn and for the method. */
#include "core/chunk.h"
#include "core/job.h"
#include <stdlib.h>

static size_t sampled_rows(uint64_t rows, size_t *stride)
{
    *stride = (size_t)(rows / MEASURED_ROWS ? rows / MEASURED_ROWS : 1);
    return (size_t)((rows + *stride - 1) / *stride);
}

static int is_measured(const pipeline *p, const portion *o)
{
    const qc_input *input = o->input;
    return p->matrices && is_rounded(o->work) && input && (input->gram || (input->samples && input->n_samples));
}

uint64_t sample_bytes(const pipeline *p, const portion *o)
{
    size_t stride;
    uint64_t rows = sampled_rows(o->work->item->tensor->dims[1], &stride);
    return is_measured(p, o) ? 3 * sizeof(float) * rows * o->work->from.cols : 0;
}

qc_status sample_begin(const pipeline *p, qc_job *job, portion *o)
{
    sampled *s = &o->sampled;
    size_t cols = o->work->from.cols;
    if (!is_measured(p, o))
        return QC_OK;
    s->n = sampled_rows(o->work->item->tensor->dims[1], &s->stride);
    s->weights = malloc(3 * s->n * cols * sizeof *s->weights);
    if (!s->weights)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the rows that are measured");
    s->error = s->weights + s->n * cols;
    s->rtn_error = s->error + s->n * cols;
    return QC_OK;
}

void sample_free(const pipeline *p, portion *o)
{
    (void)p;
    free(o->sampled.weights);
    o->sampled = (sampled){0};
}

/* The first sampled row of a chunk, counted from the chunk's first; rows of the matrix before the chunk in *skipped. */
static size_t first_sampled(const chunk *c, uint64_t *row)
{
    const sampled *s = &c->portion->sampled;
    *row = c->row - c->portion->matrix * c->work->item->tensor->dims[1];
    return (size_t)((s->stride - *row % s->stride) % s->stride);
}

static void copy_sampled(const chunk *c, const float *x, float *to)
{
    uint64_t row;
    size_t cols = c->work->from.cols;
    for (size_t i = first_sampled(c, &row); i < c->n_rows; i += c->portion->sampled.stride, to += cols)
        memcpy(to, x + i * cols, cols * sizeof *to);
}

/* Rounded each block on its own, in the columns' own order, as rtn does, from weights without factors; the error is
 * then scaled as the weights are, so that both errors speak of the same outputs. */
qc_status sample_rtn(qc_job *job, const chunk *c, const float *x)
{
    const work *w = c->work;
    const sampled *s = &c->portion->sampled;
    size_t cols = w->from.cols, n = 0, mark = job_mark(job);
    uint64_t row;
    qc_coder plain = w->to;
    if (!s->weights)
        return QC_OK;
    for (size_t i = first_sampled(c, &row); i < c->n_rows; i += s->stride)
        n++;
    size_t first = (size_t)((row + s->stride - 1) / s->stride);
    plain.order = NULL;
    float *rows = job->scratch(job, 2 * (n ? n : 1) * cols * sizeof *rows);
    void *bytes = job->scratch(job, (n ? n : 1) * w->to.row_bytes);
    if (!rows || !bytes)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the rows that are measured");
    copy_sampled(c, x, rows);
    qc_status status = n ? qc_encode_rows(job, &plain, bytes, rows, NULL, n) : QC_OK;
    if (status == QC_OK && n)
        status = qc_decode_rows(job, &plain, rows + n * cols, bytes, n);
    size_t at = first_sampled(c, &row);
    for (size_t k = 0; k < n && status == QC_OK; k++, at += s->stride) {
        float *before = rows + k * cols, *after = rows + (n + k) * cols;
        scale_view_rows(w, c->row + at, 1, before);
        scale_view_rows(w, c->row + at, 1, after);
        for (size_t i = 0; i < cols; i++)
            s->rtn_error[(first + k) * cols + i] = before[i] - after[i];
    }
    job_release(job, mark);
    return status;
}

void sample_rows(const chunk *c, const float *x, const float *w)
{
    const sampled *s = &c->portion->sampled;
    size_t cols = c->work->from.cols;
    uint64_t row;
    if (!s->weights)
        return;
    size_t at = first_sampled(c, &row), k = (size_t)((row + s->stride - 1) / s->stride);
    copy_sampled(c, x, s->weights + k * cols);
    for (; at < c->n_rows; at += s->stride, k++)
        for (size_t i = 0; i < cols; i++)
            s->error[k * cols + i] = x[at * cols + i] - w[at * cols + i];
}

/* Sum over rows of e H e' from the products e H; or over rows and samples x of (e x)^2, from the products e x. */
static double add_up(const float *e, const float *product, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)(e ? e[i] : product[i]) * (double)product[i];
    return sum > 0 ? sum : 0;
}

/* By the Gram matrix, or where there is none by some of the inputs themselves. */
qc_status sample_finish(const pipeline *p, qc_job *job, const portion *o)
{
    const sampled *s = &o->sampled;
    const qc_input *input = o->input;
    linear_result *result = &p->linears[o->work->first_matrix + o->matrix];
    size_t cols = o->work->from.cols, mark = job_mark(job), n = input && input->gram ? cols : 0;
    if (!s->weights || !input)
        return QC_OK;
    const float *right = n ? input->gram : input->samples;
    n = n ? n : input->n_samples;
    float *product = job->scratch(job, 3 * s->n * n * sizeof *product);
    if (!product)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the rows that are measured");
    const int by_samples = right == input->samples;
    qc_status status = p->matrices->gemm(job, 3 * s->n, n, cols, s->weights, cols, right, cols, by_samples, product, n);
    if (status == QC_OK) {
        result->energy = add_up(by_samples ? NULL : s->weights, product, s->n * n);
        result->error = add_up(by_samples ? NULL : s->error, product + s->n * n, s->n * n);
        result->rtn_error = add_up(by_samples ? NULL : s->rtn_error, product + 2 * s->n * n, s->n * n);
    }
    job_release(job, mark);
    return status;
}
