#include "core/layers.h"
#include "core/array.h"
#include "core/forward_impl.h"
#include "core/units.h"
#include <stdlib.h>

/* Pieces of fixed size: what is summed in them does not depend on batches or threads. */
enum {
    TOKENS = 256, /* whose outputs are held against each other at once */
    PIECE_NUMBERS = 1 << 22, /* of an output.weight decoded at once, in whole rows */
    LEAST_ROWS = 64,
    MOST_ROWS = 1 << 12,
    ROW_PIECE = 16 /* a worker's share of rows */
};

typedef struct comparing {
    forward *original, *written;
    const qc_ops_row *rows;
    const qc_ops_matrix *matrices;
    layer_view *view;
} comparing;

static qc_status no_memory(qc_job *job)
{
    job->fail(job, QC_E_NOMEM, "out of memory for the layer view");
    return QC_E_NOMEM;
}

/* ---- sums over rows ---- */

/* Of each of n rows: the sum of its squares, and of those of its difference from the other's. */
typedef struct row_sums {
    const qc_ops_row *ops;
    const float *x, *other;
    size_t cols;
    double *energy, *error; /* [n], added to */
} row_sums;

static qc_status sum_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const row_sums *s = arg;
    (void)job;
    for (size_t i = begin; i < end; i++) {
        const float *x = s->x + i * s->cols;
        s->energy[i] += s->ops->sum_squares(x, NULL, s->cols);
        s->error[i] += s->ops->squared_error(x, s->other + i * s->cols, NULL, s->cols);
    }
    return QC_OK;
}

static void add_up(const double *values, size_t n, double *sum)
{
    for (size_t i = 0; i < n; i++)
        *sum += values[i];
}

/* Two arrays of n zeros in scratch; NULL: out of memory. */
static double *zeros(qc_job *job, size_t n)
{
    double *values = job->scratch(job, 2 * n * sizeof *values);
    if (values)
        memset(values, 0, 2 * n * sizeof *values);
    return values;
}

/* ---- weights ---- */

/* Rows of a weight and of its written counterpart. */
typedef struct weight_pair {
    const float *original, *written; /* [rows][cols] */
    size_t rows, cols;
} weight_pair;

static qc_status compare_weights(const comparing *c, qc_job *job, const weight_pair *w, layer_loss *loss)
{
    size_t mark = job_mark(job);
    double *energy = zeros(job, w->rows);
    if (!energy)
        return no_memory(job);
    row_sums s = {c->rows, w->original, w->written, w->cols, energy, energy + w->rows};
    qc_status status = job->parallel_for(job, w->rows, ROW_PIECE, sum_rows, &s);
    add_up(s.energy, w->rows, &loss->weight_energy);
    add_up(s.error, w->rows, &loss->weight_error);
    job_release(job, mark);
    return status;
}

/* ---- outputs ---- */

/* The first TOKENS rows of x or fewer: energies and errors of the outputs that these rows of weights make. y: what the
 * original's came to, or NULL. */
static qc_status compare_outputs(const comparing *c, qc_job *job, const weight_pair *w, const float *x, size_t n,
                                 const float *y, double *energy, double *error)
{
    size_t mark = job_mark(job);
    float *written = job->scratch(job, n * w->rows * sizeof *written);
    float *own = y ? NULL : job->scratch(job, n * w->rows * sizeof *own);
    if (!written || (!y && !own))
        return no_memory(job);
    qc_status status = c->matrices->gemm(job, n, w->rows, w->cols, x, w->cols, w->written, w->cols, 1, written,
                                         w->rows);
    if (status == QC_OK && !y)
        status = c->matrices->gemm(job, n, w->rows, w->cols, x, w->cols, w->original, w->cols, 1, own, w->rows);
    row_sums s = {c->rows, y ? y : own, written, w->rows, energy, error};
    if (status == QC_OK)
        status = job->parallel_for(job, n, ROW_PIECE, sum_rows, &s);
    job_release(job, mark);
    return status;
}

static qc_status compare_pieces(const comparing *c, qc_job *job, const weight_pair *w, const float *x, size_t n,
                                const float *y, double *sums)
{
    qc_status status = QC_OK;
    for (size_t t = 0; t < n && status == QC_OK; t += TOKENS)
        status = compare_outputs(c, job, w, x + t * w->cols, n - t < TOKENS ? n - t : TOKENS,
                                 y ? y + t * w->rows : NULL, sums + t, sums + n + t);
    return status;
}

/* ---- one linear ---- */

static qc_status find_loss(const comparing *c, qc_job *job, const model_tensor *t, int32_t expert, layer_loss **loss,
                           int *is_new)
{
    layer_view *v = c->view;
    *is_new = 0;
    for (size_t i = v->n; i-- > 0;)
        if (v->losses[i].tensor == t && v->losses[i].expert == expert) {
            *loss = &v->losses[i];
            return QC_OK;
        }
    if (!array_reserve(&v->losses, &v->capacity, v->n, sizeof *v->losses))
        return no_memory(job);
    *loss = &v->losses[v->n++];
    **loss = (layer_loss){.tensor = t, .expert = expert};
    *is_new = 1;
    return QC_OK;
}

static qc_status check_shape(const comparing *c, qc_job *job, const model_tensor *t, const model_tensor **written)
{
    const model_tensor *w = *written = forward_tensor(c->written, t->name);
    if (!w)
        return qc_fail(job, QC_E_INVALID, "%s has no tensor %s, so its layers cannot be compared",
                       c->written->model->path, t->name);
    if (!memcmp(w->dims, t->dims, sizeof t->dims))
        return QC_OK;
    return qc_fail(job, QC_E_INVALID, "%s of %s has other sizes than that of %s, so they cannot be compared", t->name,
                   c->written->model->path, c->original->model->path);
}

static qc_status take_pair(const comparing *c, qc_job *job, const model_tensor *t, int32_t expert, weight_pair *w)
{
    const model_tensor *written;
    uint64_t matrix = expert < 0 ? 0 : (uint64_t)expert;
    qc_status status = check_shape(c, job, t, &written);
    if (status == QC_OK)
        status = forward_take(c->original, job, t, matrix, &w->original);
    if (status == QC_OK)
        status = forward_take(c->written, job, written, matrix, &w->written);
    w->rows = (size_t)t->dims[1];
    w->cols = (size_t)t->dims[0];
    return status;
}

static qc_status compare_linear(const comparing *c, qc_job *job, const model_tensor *t, int32_t expert, const float *x,
                                size_t n, const float *y)
{
    layer_loss *loss;
    weight_pair w;
    int is_new;
    double *sums = zeros(job, n);
    qc_status status = sums ? take_pair(c, job, t, expert, &w) : no_memory(job);
    if (status == QC_OK)
        status = find_loss(c, job, t, expert, &loss, &is_new);
    if (status == QC_OK && is_new)
        status = compare_weights(c, job, &w, loss);
    if (status == QC_OK)
        status = compare_pieces(c, job, &w, x, n, y, sums);
    if (status != QC_OK)
        return status;
    add_up(sums, n, &loss->output_energy);
    add_up(sums + n, n, &loss->output_error);
    return QC_OK;
}

/* ---- the output ---- */

static size_t piece_rows(size_t rows, size_t cols)
{
    size_t n = PIECE_NUMBERS / cols;
    n = n < LEAST_ROWS ? LEAST_ROWS : n > MOST_ROWS ? MOST_ROWS : n;
    return rows < n ? rows : n;
}

/* The matrix that may be larger than a block: a piece of its rows at a time, sums of a token over the pieces in order. */
static qc_status compare_output(const comparing *c, qc_job *job, const model_tensor *t, const float *x, size_t n)
{
    layer_loss *loss;
    const model_tensor *written;
    size_t rows = (size_t)t->dims[1], cols = (size_t)t->dims[0], most = piece_rows(rows, cols);
    int is_new = 0;
    double *sums = zeros(job, n);
    float *pair = job->scratch(job, 2 * most * cols * sizeof *pair);
    qc_status status = sums && pair ? check_shape(c, job, t, &written) : no_memory(job);
    if (status == QC_OK)
        status = find_loss(c, job, t, -1, &loss, &is_new);
    for (size_t row = 0; row < rows && status == QC_OK; row += most) {
        weight_pair w = {pair, pair + most * cols, rows - row < most ? rows - row : most, cols};
        status = forward_decode(c->original, job, t, row, w.rows, pair);
        if (status == QC_OK)
            status = forward_decode(c->written, job, written, row, w.rows, pair + most * cols);
        if (status == QC_OK && is_new)
            status = compare_weights(c, job, &w, loss);
        if (status == QC_OK)
            status = compare_pieces(c, job, &w, x, n, NULL, sums);
    }
    if (status != QC_OK)
        return status;
    add_up(sums, n, &loss->output_energy);
    add_up(sums + n, n, &loss->output_error);
    return QC_OK;
}

/* ---- the pass ---- */

static qc_status see_linears(void *arg, qc_job *job, size_t n, const model_tensor *const *weights, int32_t expert,
                             const float *x, size_t n_tokens, const float *const *y)
{
    const comparing *c = arg;
    qc_status status = QC_OK;
    for (size_t i = 0; i < n && status == QC_OK; i++) {
        size_t mark = job_mark(job);
        status = y ? compare_linear(c, job, weights[i], expert, x, n_tokens, y[i])
                   : compare_output(c, job, weights[i], x, n_tokens);
        job_release(job, mark);
    }
    return status;
}

static qc_status forget_block(void *arg, qc_job *job, uint32_t block)
{
    const comparing *c = arg;
    (void)job, (void)block;
    forward_forget(c->written);
    return QC_OK;
}

/* Both models' blocks must find room: the original gets what the other leaves. */
static qc_status open_both(comparing *c, qc_job *job, registry *r, const recipe *rec, const model *original,
                           const model *written)
{
    char needed[BYTES_TEXT], allowed[BYTES_TEXT];
    uint64_t limit = rec->run.memory;
    qc_status status = forward_open(job, r, written, limit, NULL, &c->written);
    if (status == QC_OK)
        status = forward_open(job, r, original, limit, NULL, &c->original);
    if (status != QC_OK)
        return status;
    uint64_t other = forward_least_memory(c->written), both = other + forward_least_memory(c->original);
    if (both > limit)
        return qc_fail(job, QC_E_LIMIT,
                       "comparing the layers of %s and %s needs %s of memory, run.memory allows %s: allow more, or "
                       "leave it out with evaluate: {layers: false}",
                       original->path, written->path, bytes_text(both, needed), bytes_text(limit, allowed));
    forward_free(c->original);
    c->original = NULL;
    return forward_open(job, r, original, limit - other, NULL, &c->original);
}

qc_status layers_compare(qc_job *job, registry *r, const recipe *rec, const model *original, const model *written,
                         const sequences *s, progress *shown, layer_view *out)
{
    comparing c = {.view = out};
    hidden_states *hidden = NULL;
    *out = (layer_view){.n_tokens = s->starts[s->n]};
    qc_status status = open_both(&c, job, r, rec, original, written);
    if (status == QC_OK) {
        c.rows = c.original->rows;
        c.matrices = c.original->matrices;
        const forward_watch watch = {.arg = &c, .linears = see_linears, .block_done = forget_block, .output = 1};
        status = forward_run(c.original, job, s, &watch, shown, &hidden);
    }
    hidden_free(hidden);
    forward_free(c.original);
    forward_free(c.written);
    if (status != QC_OK)
        layers_free(out);
    return status;
}

void layers_free(layer_view *v)
{
    free(v->losses);
    *v = (layer_view){0};
}
