#include "core/chunk.h"
#include "core/job.h"

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

/* ---- reading ---- */

/* The first weight that is no number, told with its row in the tensor. `before`: what it was, where it was finite. */
static qc_status refuse_weight(qc_job *job, const chunk *c, const float *w, const float *before, const char *encoding)
{
    size_t cols = c->work->from.cols;
    for (size_t i = 0; i < c->n_rows * cols; i++) {
        unsigned long long row = c->row + i / cols;
        if (qc_is_finite(w[i]))
            continue;
        if (before)
            return qc_fail(job, QC_E_NUMERIC, "row %llu, column %zu: %.9g does not fit into %s", row, i % cols,
                           (double)before[i], encoding);
        return qc_fail(job, QC_E_NUMERIC, "row %llu, column %zu is %s", row, i % cols, w[i] != w[i] ? "NaN" : "Inf");
    }
    return QC_E_INTERNAL;
}

static int all_finite(const pipeline *p, const chunk *c, const float *w)
{
    size_t cols = c->work->from.cols;
    for (size_t row = 0; row < c->n_rows; row++)
        if (!p->ops->all_finite(w + row * cols, cols))
            return 0;
    return 1;
}

static void shift_by_one(const chunk *c, float *x)
{
    float one = c->work->view->flags & NAME_MINUS ? -1.0f : 1.0f;
    for (size_t i = 0; i < c->n_rows * c->work->from.cols; i++)
        x[i] += one;
}

/* Stored rows to finite weights. Plain numbers are checked as weights; blocks of a hostile file before they are used. */
static qc_status decode(const pipeline *p, qc_job *job, const chunk *c, const unsigned char *stored, float *x)
{
    const qc_coder *from = &c->work->from;
    size_t mark = job_mark(job);
    qc_status status = QC_OK;
    if (from->desc->validate && from->block_cols != 1)
        status = from->desc->validate(job, from, stored, c->n_rows);
    if (status == QC_OK)
        status = qc_decode_rows(job, from, x, stored, c->n_rows);
    job_release(job, mark);
    if (status != QC_OK)
        return status;
    if (c->work->view->flags & QC_NAME_ADD_ONE)
        shift_by_one(c, x);
    return all_finite(p, c, x) ? QC_OK : refuse_weight(job, c, x, NULL, NULL);
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
    if (!all_finite(p, c, b->w))
        return refuse_weight(job, c, b->w, b->x, to->desc->base.id);
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
        status = b.x ? decode(p, job, c, b.stored, b.x) : no_memory(job, c);
    }
    int as_it_is = !b.x || (w->item->carried && !(w->view->flags & QC_NAME_ADD_ONE));
    if (status == QC_OK && !as_it_is)
        status = convert(p, job, c, &b);
    else if (status == QC_OK && b.x)
        c->sums->energy = energy(p, c, b.x);
    return status == QC_OK ? output_store(p->output, job, w->index, c->row, c->n_rows, b.written) : status;
}
