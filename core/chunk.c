#include "core/chunk.h"
#include "core/job.h"
#include "core/rows.h"
#include "core/transcode.h"
#include <math.h>

/* Buffers of one chunk, in scratch. */
typedef struct buffers {
    unsigned char *stored, *written;
    float *x, *w; /* weights as they are; the method's to overwrite, then weights as written */
} buffers;

static qc_status no_memory(qc_job *job, const chunk *c)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %zu weights", c->n_rows, c->work->from.cols);
}

int is_transcoded(const work *w)
{
    return has_grid(w) && !w->item->carried && !is_scaled(w) && w->from.desc && transcode_fits(&w->from, &w->to);
}

int is_rounded(const work *w)
{
    return has_grid(w) && (!w->item->carried || is_scaled(w)) && !is_transcoded(w);
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

/* The first of w that is no number, told with its row in the tensor and what it was made of. */
static qc_status refuse_written(qc_job *job, const chunk *c, const float *w, const float *before)
{
    size_t cols = c->work->from.cols;
    for (size_t i = 0; i < c->n_rows * cols; i++) {
        unsigned long long row = c->row + i / cols;
        if (!qc_is_finite(w[i]))
            return qc_fail(job, QC_E_NUMERIC, "row %llu, column %zu: %.9g does not fit into %s", row, i % cols,
                           (double)before[i], c->work->to.desc->base.id);
    }
    return QC_E_INTERNAL;
}

/* Rows as the transforms' factors make them; what was finite need not be so afterwards. */
static qc_status scale(const pipeline *p, qc_job *job, const chunk *c, float *x)
{
    if (!is_scaled(c->work))
        return QC_OK;
    scale_view_rows(c->work, c->row, c->n_rows, x);
    c->sums->energy = rows_energy(p->ops, x, c->n_rows, c->work->to.cols);
    return isfinite(c->sums->energy) ? QC_OK : refuse_written(job, c, x, x);
}

/* ---- rounding ---- */

static qc_status blame_method(const pipeline *p, qc_job *job, qc_status status)
{
    const plugin_use *use = p->rounder->use;
    if (status == QC_E_CANCELLED)
        return status;
    job_add_context(job, "method %s", use->id);
    job_add_place(job, use->at.file, use->at.line, use->at.column);
    return status;
}

/* Columns in the order in which the output keeps them, and back; row by row. */
static void permute(const work *w, size_t n_rows, float *to, const float *x)
{
    size_t cols = w->to.cols;
    for (size_t row = 0; row < n_rows; row++, to += cols, x += cols)
        for (size_t i = 0; i < cols; i++)
            to[i] = x[w->to.order[i]];
}

static qc_status permute_back(qc_job *job, const chunk *c, float *x)
{
    const qc_coder *to = &c->work->to;
    size_t cols = to->cols, mark = job_mark(job);
    float *row = to->order ? job->scratch(job, cols * sizeof *row) : x;
    if (!row)
        return no_memory(job, c);
    for (size_t k = 0; to->order && k < c->n_rows; k++, x += cols) {
        memcpy(row, x, cols * sizeof *row);
        for (size_t i = 0; i < cols; i++)
            x[to->order[i]] = row[i];
    }
    job_release(job, mark);
    return QC_OK;
}

static qc_status round_by_method(const pipeline *p, qc_job *job, const chunk *c, float *w, void *dst)
{
    const model_tensor *t = c->work->item->tensor;
    const portion *o = c->portion;
    const qc_linear linear = {.size = sizeof linear,
                              .name = t->name,
                              .role = t->role,
                              .layer = t->layer,
                              .expert = c->work->n_matrices > 1 ? (int32_t)o->matrix : -1,
                              .rows = (size_t)t->dims[1],
                              .cols = (size_t)t->dims[0],
                              .input = o->input,
                              .coder = &c->work->to};
    const void *prepared = o->prepared ? o->prepared->prepared : NULL;
    qc_status status = p->rounder->desc->round(job, p->rounder->state, prepared, &linear, w, c->n_rows, dst);
    return status == QC_OK ? QC_OK : blame_method(p, job, status);
}

/* The rows that the method gets: in the output's order, and a copy where it may write into them. */
static float *rows_to_round(const pipeline *p, const chunk *c, const buffers *b)
{
    const work *w = c->work;
    if (w->to.order)
        permute(w, c->n_rows, b->w, b->x);
    else if (p->rounder->desc->base.flags & QC_METHOD_KEEPS_WEIGHTS)
        return b->x;
    else
        memcpy(b->w, b->x, c->n_rows * w->to.cols * sizeof *b->w);
    return b->w;
}

static qc_status encode(const pipeline *p, qc_job *job, const chunk *c, const buffers *b)
{
    const work *w = c->work;
    size_t mark = job_mark(job);
    qc_status status;
    if (is_transcoded(w)) {
        status = transcode_rows(job, &w->from, &w->to, c->n_rows, b->stored, b->written);
    } else if (!has_grid(w)) {
        status = qc_encode_rows(job, &w->to, b->written, b->x, NULL, c->n_rows);
    } else {
        status = round_by_method(p, job, c, rows_to_round(p, c, b), b->written);
    }
    job_release(job, mark);
    return status;
}

/* Reads back what was written: it must be numbers, and says what was lost. */
static qc_status measure(const pipeline *p, qc_job *job, const chunk *c, const buffers *b)
{
    const qc_coder *to = &c->work->to;
    size_t mark = job_mark(job);
    qc_status status = qc_decode_rows(job, to, b->w, b->written, c->n_rows);
    job_release(job, mark);
    if (status == QC_OK)
        status = permute_back(job, c, b->w);
    if (status != QC_OK)
        return status;
    c->sums->error = rows_error(p->ops, b->x, b->w, c->n_rows, to->cols);
    if (!isfinite(c->sums->error))
        return refuse_written(job, c, b->w, b->x);
    sample_rows(c, b->x, b->w);
    return QC_OK;
}

/* ---- a chunk ---- */

static void tap_rows(const pipeline *p, const chunk *c, float *w)
{
    uint64_t rows = c->work->item->tensor->dims[1], first = c->row - c->portion->matrix * rows;
    if (!p->tap)
        return;
    canonical_values(c->work, c->n_rows, w);
    for (size_t i = 0; i < c->n_rows; i++, w += c->work->from.cols)
        p->tap->row(p->tap->arg, c->work->index, c->portion->matrix, canonical_row(c->work, first + i), w);
}

static qc_status convert(const pipeline *p, qc_job *job, const chunk *c, buffers *b)
{
    const qc_coder *to = &c->work->to;
    b->w = job->scratch(job, c->n_rows * to->cols * sizeof *b->w);
    b->written = job->scratch(job, c->n_rows * to->row_bytes);
    if (!b->w || !b->written)
        return no_memory(job, c);
    qc_status status = sample_rtn(job, c, b->x);
    if (status == QC_OK)
        status = scale(p, job, c, b->x);
    if (status == QC_OK)
        status = encode(p, job, c, b);
    if (status == QC_OK)
        status = measure(p, job, c, b);
    if (status == QC_OK)
        tap_rows(p, c, b->w);
    return status;
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
        status = b.x ? rows_decode(job, p->ops, w->view, &w->from, c->row, c->n_rows, b.stored, b.x, &c->sums->energy)
                     : no_memory(job, c);
    }
    int as_it_is = !b.x || (w->item->carried && !is_scaled(w) && !(w->view->flags & QC_NAME_ADD_ONE));
    if (status == QC_OK && !as_it_is)
        status = convert(p, job, c, &b);
    model_forget(p->plan->model, w->view, c->row, c->n_rows);
    return status == QC_OK ? output_store(p->output, job, w->index, c->row, c->n_rows, b.written) : status;
}
