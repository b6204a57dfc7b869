/* The weights: two passes over every tensor in chunks of fixed size, whose sums are put together in their order, so that
 * no figure depends on threads. */
#include "core/inspect_impl.h"
#include "core/job.h"
#include "core/rows.h"
#include "qcore/number.h"
#include <math.h>
#include <stdlib.h>

enum { CHUNK_NUMBERS = 1 << 17 };

/* What one chunk of finite numbers adds up to. Moments are about the mean: of the chunk in the first pass, of the tensor
 * in the second. */
typedef struct moments {
    uint64_t n, n_nan, n_infinite, n_beyond;
    float minimum, maximum;
    double mean, second, fourth;
} moments;

/* One pass over one tensor. */
typedef struct tensor_pass {
    const inspection *inspection;
    const model_tensor *tensor;
    const qc_coder *coder;
    uint64_t rows; /* of a chunk */
    const weight_view *known; /* NULL: the first pass */
    moments *chunks;
    progress *shown;
} tensor_pass;

/* ---- one chunk ---- */

/* Moves what is finite to the front; returns how many there are. */
static size_t keep_finite(float *x, size_t n, moments *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (qc_is_finite(x[i]))
            x[kept++] = x[i];
        else if (x[i] != x[i])
            m->n_nan++;
        else
            m->n_infinite++;
    }
    return kept;
}

/* Sums go by lanes, as in qcore/ops.h. */
static double fold(double lane[QC_LANES])
{
    for (size_t half = QC_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static double sum(const float *x, size_t n)
{
    double lane[QC_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % QC_LANES] += (double)x[i];
    return fold(lane);
}

static double sum_squares_about(const float *x, size_t n, double mean)
{
    double lane[QC_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - mean;
        lane[i % QC_LANES] += d * d;
    }
    return fold(lane);
}

static void first_look(const float *x, size_t n, moments *m)
{
    m->n = n;
    m->mean = n ? sum(x, n) / (double)n : 0;
    m->second = sum_squares_about(x, n, m->mean);
    m->minimum = m->maximum = n ? x[0] : 0;
    for (size_t i = 1; i < n; i++) {
        m->minimum = x[i] < m->minimum ? x[i] : m->minimum;
        m->maximum = x[i] > m->maximum ? x[i] : m->maximum;
    }
}

static void second_look(const float *x, size_t n, const weight_view *known, moments *m)
{
    double lane[QC_LANES] = {0}, far = INSPECT_SIGMAS * known->deviation, far_squared = far * far;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - known->mean, square = d * d;
        lane[i % QC_LANES] += square * square;
        m->n_beyond += square > far_squared;
    }
    m->fourth = fold(lane);
}

/* Blocks that decode to NaN or Inf are to be seen, not refused; other damage is refused. */
static qc_status check_blocks(qc_job *job, const qc_coder *coder, const void *bytes, size_t n)
{
    if (!coder->desc->validate || coder->block_cols == 1)
        return QC_OK;
    qc_status status = coder->desc->validate(job, coder, bytes, n);
    if (status != QC_E_NUMERIC)
        return status;
    job_forgive(job);
    return QC_OK;
}

static qc_status look_at(const tensor_pass *p, qc_job *job, uint64_t row, size_t n_rows, moments *m)
{
    size_t n = n_rows * p->coder->cols;
    void *bytes = job->scratch(job, n_rows * p->coder->row_bytes);
    float *x = job->scratch(job, n * sizeof *x);
    if (!bytes || !x)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows", n_rows);
    qc_status status = model_load(p->inspection->model, job, p->tensor, p->coder, row, n_rows, bytes);
    if (status == QC_OK)
        status = check_blocks(job, p->coder, bytes, n_rows);
    if (status == QC_OK)
        status = rows_unpack(job, p->tensor, p->coder, n_rows, bytes, x);
    if (status != QC_OK)
        return status;
    n = keep_finite(x, n, m);
    if (p->known)
        second_look(x, n, p->known, m);
    else
        first_look(x, n, m);
    progress_step(p->shown, p->tensor->name, n_rows * p->coder->row_bytes);
    return QC_OK;
}

static qc_status look_at_chunks(void *arg, qc_job *job, size_t begin, size_t end)
{
    const tensor_pass *p = arg;
    qc_status status = QC_OK;
    for (size_t i = begin; i < end && status == QC_OK; i++) {
        size_t mark = job_mark(job);
        uint64_t row = i * p->rows, left = p->tensor->n_rows - row;
        p->chunks[i] = (moments){0};
        status = look_at(p, job, row, (size_t)(left < p->rows ? left : p->rows), &p->chunks[i]);
        job_release(job, mark);
    }
    if (status != QC_OK)
        job_add_context(job, "%s", p->tensor->name);
    return status;
}

/* ---- one tensor ---- */

/* Of two sets of numbers the mean and the sum of squares about it (Chan, Golub, LeVeque 1979). */
static void merge(moments *into, const moments *m)
{
    uint64_t n = into->n + m->n;
    into->n_nan += m->n_nan;
    into->n_infinite += m->n_infinite;
    if (m->n == 0)
        return;
    double share = (double)m->n / (double)n, apart = m->mean - into->mean;
    into->minimum = into->n == 0 || m->minimum < into->minimum ? m->minimum : into->minimum;
    into->maximum = into->n == 0 || m->maximum > into->maximum ? m->maximum : into->maximum;
    into->mean += apart * share;
    into->second += m->second + apart * apart * (double)into->n * share;
    into->n = n;
}

static void take_first(weight_view *w, const moments *chunks, uint64_t n_chunks)
{
    moments all = {0};
    for (uint64_t i = 0; i < n_chunks; i++)
        merge(&all, &chunks[i]);
    double variance = all.n ? all.second / (double)all.n : 0;
    w->n = all.n;
    w->n_nan = all.n_nan;
    w->n_infinite = all.n_infinite;
    w->minimum = all.minimum;
    w->maximum = all.maximum;
    w->mean = all.mean;
    w->deviation = sqrt(variance);
    w->mean_square = variance + all.mean * all.mean;
}

static void take_second(weight_view *w, const moments *chunks, uint64_t n_chunks)
{
    double fourth = 0, variance = w->deviation * w->deviation;
    for (uint64_t i = 0; i < n_chunks; i++) {
        fourth += chunks[i].fourth;
        w->n_beyond += chunks[i].n_beyond;
    }
    w->kurtosis = variance > 0 ? fourth / (double)w->n / (variance * variance) : 0;
}

/* About CHUNK_NUMBERS, in whole tiles where that leaves any. */
static uint64_t chunk_rows(const model_tensor *t)
{
    uint64_t rows = CHUNK_NUMBERS / t->dims[0];
    rows -= rows > QC_LANES ? rows % QC_LANES : 0;
    rows = rows ? rows : 1;
    return rows < t->n_rows ? rows : t->n_rows;
}

static qc_status look_at_tensor(inspection *in, qc_job *job, size_t index, progress *shown)
{
    weight_view *w = &in->weights[index];
    tensor_pass p = {.inspection = in, .tensor = w->tensor, .coder = &in->coders[index], .shown = shown};
    if (!w->decoded || w->tensor->n_rows == 0)
        return QC_OK;
    p.rows = chunk_rows(w->tensor);
    size_t n = (size_t)((w->tensor->n_rows + p.rows - 1) / p.rows);
    p.chunks = malloc(n * sizeof *p.chunks);
    if (!p.chunks)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the sums of %s", w->tensor->name);
    qc_status status = job->parallel_for(job, n, 1, look_at_chunks, &p);
    if (status == QC_OK) {
        take_first(w, p.chunks, n);
        p.known = w;
        status = job->parallel_for(job, n, 1, look_at_chunks, &p);
    }
    if (status == QC_OK)
        take_second(w, p.chunks, n);
    free(p.chunks);
    return status;
}

qc_status inspection_weights(inspection *in, qc_job *job, progress *shown)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < in->model->n_tensors && status == QC_OK; i++)
        status = look_at_tensor(in, job, i, shown);
    return status;
}

/* ---- all of them ---- */

/* Do its rows in the file add up to what its encoding makes of them? Generated ones have none. */
static int is_as_long_as_said(const inspection *in, const model_tensor *t, const qc_coder *c)
{
    uint64_t stored = 0;
    for (size_t i = 0; i < t->n_runs; i++)
        stored += in->model->sources[t->runs[i].source]->row_bytes * t->runs[i].n;
    return model_in_parts(in->model, t) || !t->n_runs || stored == c->row_bytes * t->n_rows;
}

static qc_status add_tensor(inspection *in, qc_job *job, registry *r, size_t index)
{
    const model_tensor *t = &in->model->tensors[index];
    weight_view *w = &in->weights[index];
    qc_coder *c = &in->coders[index];
    w->tensor = t;
    if (!registry_entry(r, "encoding", t->encoding) || t->dims[0] == 0)
        return QC_OK;
    qc_status status = registry_coder(r, job, t->encoding, t->dims[0], c);
    if (status != QC_OK) {
        job_add_context(job, "%s", t->name);
        return status;
    }
    if (!is_as_long_as_said(in, t, c))
        return qc_fail(job, QC_E_CORRUPT, "%s: its rows are not as long as %s makes them", t->name, t->encoding);
    uint64_t row = c->row_bytes + sizeof(float) * (uint64_t)c->cols, bytes = chunk_rows(t) * row;
    if (bytes > in->memory)
        return qc_fail(job, QC_E_LIMIT, "%s needs %llu MiB of memory, run.memory allows %llu MiB", t->name,
                       (unsigned long long)(bytes >> 20) + 1, (unsigned long long)(in->memory >> 20));
    in->worker_bytes = bytes > in->worker_bytes ? bytes : in->worker_bytes;
    w->decoded = 1;
    return QC_OK;
}

qc_status inspection_new(qc_job *job, registry *r, const model *m, uint64_t memory, inspection **out)
{
    inspection *in = *out = calloc(1, sizeof *in);
    if (!in)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    in->model = m;
    in->memory = memory;
    in->coders = calloc(m->n_tensors + 1, sizeof *in->coders);
    in->weights = calloc(m->n_tensors + 1, sizeof *in->weights);
    if (!in->coders || !in->weights)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu tensors", m->n_tensors);
    qc_status status = QC_OK;
    for (size_t i = 0; i < m->n_tensors && status == QC_OK; i++)
        status = add_tensor(in, job, r, i);
    return status;
}

void inspection_free(inspection *in)
{
    if (!in)
        return;
    for (size_t i = 0; i < in->n_inputs; i++)
        free(in->inputs[i].tensors);
    free(in->inputs);
    free(in->coders);
    free(in->weights);
    free(in);
}

unsigned inspection_threads(const inspection *in)
{
    uint64_t n = in->worker_bytes ? in->memory / in->worker_bytes : 1;
    return n < RUN_MAX_THREADS ? (unsigned)n : RUN_MAX_THREADS;
}

uint64_t inspection_bytes(const inspection *in)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < in->model->n_tensors; i++)
        bytes += in->weights[i].decoded ? 2 * in->coders[i].row_bytes * in->weights[i].tensor->n_rows : 0;
    return bytes;
}

const weight_view *inspection_views(const inspection *in, size_t *n)
{
    *n = in->model->n_tensors;
    return in->weights;
}

const input_view *inspection_input_views(const inspection *in, size_t *n)
{
    *n = in->n_inputs;
    return in->inputs;
}
