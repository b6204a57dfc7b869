#include "core/chunk.h"
#include "core/job.h"
#include "core/rows.h"

/* Buffers of one chunk, in scratch. */
typedef struct buffers {
    unsigned char *stored, *written;
    float *x, *w; /* weights as they are; the method's to overwrite, then weights as written */
} buffers;

static qc_status no_memory(qc_job *job, const chunk *c)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %zu weights", c->n_rows, c->work->from.cols);
}

/* FNV-1a over the tensor's name, then the first row: the same for any thread and any order. */
static uint64_t seed_of(const pipeline *p, const chunk *c)
{
    uint64_t hash = 0xcbf29ce484222325u ^ p->plan->recipe->run.seed;
    for (const char *s = c->work->item->tensor->name; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
    for (unsigned shift = 0; shift < 64; shift += 8)
        hash = (hash ^ (c->row >> shift & 0xff)) * 0x100000001b3u;
    return hash;
}

/* The first weight that its new encoding made no number, told with its row in the tensor and what it was. */
static qc_status refuse_written(qc_job *job, const chunk *c, const float *w, const float *before)
{
    size_t cols = c->work->from.cols;
    for (size_t i = 0; i < c->n_rows * cols; i++) {
        unsigned long long row = c->row + i / cols;
        if (!qc_is_finite(w[i]))
            return qc_fail(job, QC_E_NUMERIC, "row %llu, column %zu: %.9g does not fit into %s", row, i % cols,
                           (double)before[i], c->work->item->to.desc->base.id);
    }
    return QC_E_INTERNAL;
}

static double energy(const pipeline *p, const chunk *c, const float *x)
{
    size_t cols = c->work->from.cols;
    double sum = 0;
    for (size_t row = 0; row < c->n_rows; row++)
        sum += p->ops->sum_squares(x + row * cols, NULL, cols);
    return sum;
}

/* ---- rounding ---- */

static qc_status blame_method(const pipeline *p, qc_job *job, qc_status status)
{
    const plugin_use *use = p->method_use;
    if (status == QC_E_CANCELLED)
        return status;
    job_add_context(job, "method %s", use->id);
    job_add_place(job, use->at.file, use->at.line, use->at.column);
    return status;
}

static qc_status round_by_method(const pipeline *p, qc_job *job, const chunk *c, float *w, void *dst)
{
    const model_tensor *t = c->work->item->tensor;
    const qc_linear linear = {.size = sizeof linear,
                              .name = t->name,
                              .role = t->role,
                              .layer = t->layer,
                              .expert = c->work->n_matrices > 1 ? (int32_t)c->matrix : -1,
                              .rows = (size_t)t->dims[1],
                              .cols = (size_t)t->dims[0],
                              .input = statistics_input(p->statistics, t->name, c->matrix),
                              .coder = &c->work->item->to};
    const void *prepared = NULL;
    qc_status status = preparation_take(p, job, c, linear.input, &prepared);
    if (status == QC_OK) {
        status = p->method->round(job, p->state, prepared, &linear, w, c->n_rows, dst);
        preparation_done(p, c);
    }
    return status == QC_OK ? QC_OK : blame_method(p, job, status);
}

static qc_status encode(const pipeline *p, qc_job *job, const chunk *c, const buffers *b)
{
    const qc_coder *to = &c->work->item->to;
    size_t mark = job_mark(job);
    qc_status status;
    if (to->block_cols == 1) {
        status = qc_encode_rows(job, to, b->written, b->x, NULL, c->n_rows);
    } else {
        memcpy(b->w, b->x, c->n_rows * to->cols * sizeof *b->w);
        status = round_by_method(p, job, c, b->w, b->written);
    }
    job_release(job, mark);
    return status;
}

/* Reads back what was written: it must be numbers, and says what was lost. */
static qc_status measure(const pipeline *p, qc_job *job, const chunk *c, const buffers *b)
{
    const qc_coder *to = &c->work->item->to;
    size_t mark = job_mark(job);
    qc_status status = qc_decode_rows(job, to, b->w, b->written, c->n_rows);
    job_release(job, mark);
    if (status != QC_OK)
        return status;
    if (!rows_finite(p->ops, b->w, c->n_rows, to->cols))
        return refuse_written(job, c, b->w, b->x);
    c->sums->energy = energy(p, c, b->x);
    for (size_t row = 0; row < c->n_rows; row++)
        c->sums->error += p->ops->squared_error(b->x + row * to->cols, b->w + row * to->cols, NULL, to->cols);
    return QC_OK;
}

/* ---- a chunk ---- */

static qc_status convert(const pipeline *p, qc_job *job, const chunk *c, buffers *b)
{
    const qc_coder *to = &c->work->item->to;
    b->w = job->scratch(job, c->n_rows * to->cols * sizeof *b->w);
    b->written = job->scratch(job, c->n_rows * to->row_bytes);
    if (!b->w || !b->written)
        return no_memory(job, c);
    qc_status status = encode(p, job, c, b);
    return status == QC_OK ? measure(p, job, c, b) : status;
}

qc_status chunk_run(const pipeline *p, qc_job *job, const chunk *c)
{
    const work *w = c->work;
    buffers b = {.stored = job->scratch(job, c->n_rows * w->from.row_bytes)};
    job->seed = seed_of(p, c);
    if (!b.stored)
        return no_memory(job, c);
    qc_status status = model_load(p->plan->model, job, w->view, &w->from, c->row, c->n_rows, b.stored);
    b.written = b.stored;
    if (status == QC_OK && w->from.desc) {
        b.x = job->scratch(job, c->n_rows * w->from.cols * sizeof *b.x);
        status = b.x ? rows_decode(job, p->ops, w->view, &w->from, c->row, c->n_rows, b.stored, b.x)
                     : no_memory(job, c);
    }
    int as_it_is = !b.x || (w->item->carried && !(w->view->flags & QC_NAME_ADD_ONE));
    if (status == QC_OK && !as_it_is)
        status = convert(p, job, c, &b);
    else if (status == QC_OK && b.x)
        c->sums->energy = energy(p, c, b.x);
    return status == QC_OK ? output_store(p->output, job, w->index, c->row, c->n_rows, b.written) : status;
}
