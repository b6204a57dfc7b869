#include "core/record.h"
#include "core/array.h"
#include "core/job.h"
#include "qcore/ops.h"
#include <math.h>

enum {
    PIECE_COLUMNS = 128, /* of a row that one worker adds up */
    GRAM_TOKENS = 4096 /* summed in float32; such sums are added in double */
};

/* One matrix of an input while its block runs. Made when the first row comes. */
typedef struct running {
    double *squares; /* [cols] */
    double *gram; /* [cols][cols], upper triangle */
    float *gram_piece; /* the tokens since the last GRAM_TOKENS */
    size_t piece_tokens;
    uint64_t count, stride; /* rows seen; every stride-th is kept as a sample */
    size_t n_samples;
} running;

typedef struct open_input {
    size_t record;
    const char *name; /* of a tensor that reads it */
    running *matrices;
    uint64_t bytes;
} open_input;

struct recorder {
    statistics *statistics;
    uint32_t wanted;
    const qc_ops_matrix *ops;
    open_input *inputs; /* of the block that runs */
    size_t n_inputs, capacity;
};

/* ---- memory ---- */

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return qc_mul_size(a, b, &product) ? product : UINT64_MAX;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Numbers of one matrix: `square` of cols^2, `column` of cols. */
static uint64_t matrix_bytes(uint64_t cols, uint64_t square, uint64_t column)
{
    return plus(times(times(cols, cols), square), times(cols, column));
}

uint64_t record_bytes(uint32_t wanted, uint64_t cols, uint64_t n_matrices)
{
    uint64_t columns = 2;
    columns += wanted & QC_STAT_ABSMAX ? 1 : 0;
    columns += wanted & QC_STAT_SAMPLES ? MOST_SAMPLES : 0;
    uint64_t each = matrix_bytes(cols, wanted & QC_STAT_GRAM ? sizeof(float) : 0, columns * sizeof(float));
    return times(plus(each, sizeof(qc_input) + 2 * sizeof(float)), n_matrices);
}

uint64_t recording_bytes(uint32_t wanted, uint64_t cols, uint64_t n_matrices)
{
    uint64_t square = wanted & QC_STAT_GRAM ? sizeof(double) + sizeof(float) : 0;
    return times(plus(matrix_bytes(cols, square, sizeof(double)), sizeof(running)), n_matrices);
}

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for statistics");
}

/* ---- an input ---- */

static qc_status make_record(const recorder *r, qc_job *job, const model_tensor *t, size_t *index)
{
    statistics *s = r->statistics;
    uint64_t cols = t->dims[0], n = t->dims[2] * t->dims[3];
    qc_status status = statistics_add_record(s, job, t->name, cols, n, index);
    if (status != QC_OK)
        return status;
    input_record *record = &s->records[*index];
    if (r->wanted & QC_STAT_ABSMAX)
        status = statistics_numbers(s, job, t->name, (const uint64_t[]){n, cols, 1}, &record->absmax);
    if (status == QC_OK && (r->wanted & QC_STAT_GRAM))
        status = statistics_numbers(s, job, t->name, (const uint64_t[]){n, cols, cols}, &record->gram);
    if (status != QC_OK || !(r->wanted & QC_STAT_SAMPLES))
        return status;
    record->room = MOST_SAMPLES;
    status = statistics_numbers(s, job, t->name, (const uint64_t[]){n, cols, MOST_SAMPLES}, &record->samples);
    return status == QC_OK ? statistics_numbers(s, job, t->name, (const uint64_t[]){n, 1, 1}, &record->n_samples)
                           : status;
}

static qc_status open_new(recorder *r, qc_job *job, size_t n, const model_tensor *const *weights)
{
    const model_tensor *t = weights[0];
    uint64_t n_matrices = t->dims[2] * t->dims[3], bytes = recording_bytes(r->wanted, t->dims[0], n_matrices);
    size_t record = 0;
    if (!array_reserve(&r->inputs, &r->capacity, r->n_inputs, sizeof *r->inputs))
        return no_memory(job);
    qc_status status = make_record(r, job, t, &record);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = statistics_add_name(r->statistics, job, weights[i]->name, record);
    if (status == QC_OK)
        status = statistics_hold(r->statistics, job, t->name, bytes);
    if (status != QC_OK)
        return status;
    open_input *input = &r->inputs[r->n_inputs++];
    *input = (open_input){.record = record, .name = t->name, .bytes = bytes};
    input->matrices = calloc((size_t)n_matrices, sizeof *input->matrices);
    return input->matrices ? QC_OK : no_memory(job);
}

/* The input that these weights read: it was opened by a call for the same weights, or is new. */
static qc_status find_input(recorder *r, qc_job *job, size_t n, const model_tensor *const *weights, open_input **out)
{
    const statistics *s = r->statistics;
    for (size_t i = 0; i < n; i++)
        if (weights[i]->dims[0] != weights[0]->dims[0] ||
            weights[i]->dims[2] * weights[i]->dims[3] != weights[0]->dims[2] * weights[0]->dims[3])
            return qc_fail(job, QC_E_CORRUPT, "%s and %s are said to read one input, but their sizes differ",
                           weights[i]->name, weights[0]->name);
    for (size_t i = s->n_names; i-- > 0;) {
        if (strcmp(s->names[i].tensor, weights[0]->name) != 0)
            continue;
        for (size_t k = 0; k < r->n_inputs; k++)
            if (r->inputs[k].record == s->names[i].record) {
                *out = &r->inputs[k];
                return QC_OK;
            }
        return qc_fail(job, QC_E_INTERNAL, "%s is read by two blocks", weights[0]->name);
    }
    qc_status status = open_new(r, job, n, weights);
    *out = status == QC_OK ? &r->inputs[r->n_inputs - 1] : NULL;
    return status;
}

static qc_status open_matrix(const recorder *r, qc_job *job, running *m, size_t cols)
{
    if (m->squares)
        return QC_OK;
    m->stride = 1;
    m->squares = calloc(cols, sizeof *m->squares);
    if (r->wanted & QC_STAT_GRAM) {
        m->gram = calloc(cols * cols, sizeof *m->gram);
        m->gram_piece = calloc(cols * cols, sizeof *m->gram_piece);
    }
    int there = m->squares && (!(r->wanted & QC_STAT_GRAM) || (m->gram && m->gram_piece));
    return there ? QC_OK : no_memory(job);
}

static void close_matrix(running *m)
{
    free(m->squares);
    free(m->gram);
    free(m->gram_piece);
    *m = (running){0};
}

/* ---- adding rows ---- */

typedef struct addition {
    const float *x;
    size_t n_tokens, cols;
    double *squares;
    float *absmax; /* or NULL */
} addition;

/* Columns [begin, end), tokens rising: no sum is ever split. */
static qc_status add_columns(void *arg, qc_job *job, size_t begin, size_t end)
{
    const addition *a = arg;
    (void)job;
    for (size_t t = 0; t < a->n_tokens; t++) {
        const float *x = a->x + t * a->cols;
        for (size_t i = begin; i < end; i++)
            a->squares[i] += (double)x[i] * (double)x[i];
        for (size_t i = begin; a->absmax && i < end; i++)
            a->absmax[i] = fabsf(x[i]) > a->absmax[i] ? fabsf(x[i]) : a->absmax[i];
    }
    return QC_OK;
}

static void add_piece(running *m, size_t cols)
{
    for (size_t i = 0; i < cols; i++)
        for (size_t k = i; k < cols; k++) {
            m->gram[i * cols + k] += (double)m->gram_piece[i * cols + k];
            m->gram_piece[i * cols + k] = 0;
        }
    m->piece_tokens = 0;
}

/* Pieces are cut where the input's own count of rows says, wherever batches begin and end. */
static qc_status add_gram(const recorder *r, qc_job *job, running *m, const float *x, size_t n_tokens, size_t cols)
{
    qc_status status = QC_OK;
    while (n_tokens > 0 && status == QC_OK) {
        size_t room = GRAM_TOKENS - m->piece_tokens, n = n_tokens < room ? n_tokens : room;
        status = r->ops->gram(job, cols, n, x, cols, m->gram_piece);
        m->piece_tokens += n;
        if (m->piece_tokens == GRAM_TOKENS)
            add_piece(m, cols);
        x += n * cols;
        n_tokens -= n;
    }
    return status;
}

/* When the room is full, every other one goes, and from then on every other one comes. */
static void add_samples(running *m, float *samples, const float *x, size_t n_tokens, size_t cols)
{
    for (size_t t = 0; t < n_tokens; t++) {
        if ((m->count + t) % m->stride != 0)
            continue;
        if (m->n_samples == MOST_SAMPLES) {
            for (size_t i = 1; i < MOST_SAMPLES / 2; i++)
                memcpy(samples + i * cols, samples + 2 * i * cols, cols * sizeof *samples);
            m->n_samples /= 2;
            m->stride *= 2;
        }
        if ((m->count + t) % m->stride == 0)
            memcpy(samples + m->n_samples++ * cols, x + t * cols, cols * sizeof *samples);
    }
}

static qc_status add_rows(const recorder *r, qc_job *job, const input_record *record, running *m, uint64_t matrix,
                          const float *x, size_t n_tokens)
{
    size_t cols = (size_t)record->cols;
    qc_status status = open_matrix(r, job, m, cols);
    if (status != QC_OK)
        return status;
    addition a = {x, n_tokens, cols, m->squares, record->absmax ? record->absmax + matrix * cols : NULL};
    status = job->parallel_for(job, cols, PIECE_COLUMNS, add_columns, &a);
    if (status == QC_OK && m->gram)
        status = add_gram(r, job, m, x, n_tokens, cols);
    if (status == QC_OK && record->samples)
        add_samples(m, record->samples + matrix * cols * record->room, x, n_tokens, cols);
    m->count += n_tokens;
    return status;
}

static qc_status see_linears(void *arg, qc_job *job, size_t n, const model_tensor *const *weights, int32_t expert,
                             const float *x, size_t n_tokens, const float *const *y)
{
    recorder *r = arg;
    open_input *input = NULL;
    (void)y;
    qc_status status = find_input(r, job, n, weights, &input);
    if (status != QC_OK || !input)
        return status;
    const input_record *record = &r->statistics->records[input->record];
    uint64_t matrix = expert > 0 ? (uint64_t)expert : 0;
    if (matrix >= record->n_matrices)
        return qc_fail(job, QC_E_INTERNAL, "%s has no expert %d", weights[0]->name, (int)expert);
    return add_rows(r, job, record, &input->matrices[matrix], matrix, x, n_tokens);
}

/* ---- the end of a block ---- */

/* Both triangles, so that others who read the file need not know which one counts. */
static void finish_gram(running *m, float *gram, size_t cols)
{
    add_piece(m, cols);
    for (size_t i = 0; i < cols; i++)
        for (size_t k = i; k < cols; k++)
            gram[i * cols + k] = gram[k * cols + i] = (float)(m->gram[i * cols + k] / (double)m->count);
}

static void finish_matrix(running *m, input_record *record, uint64_t matrix)
{
    size_t cols = (size_t)record->cols;
    if (m->count == 0)
        return;
    record->counts[matrix] = (float)m->count;
    for (size_t i = 0; i < cols; i++)
        record->sums[matrix * cols + i] = (float)m->squares[i];
    if (m->gram)
        finish_gram(m, record->gram + matrix * cols * cols, cols);
    if (record->n_samples)
        record->n_samples[matrix] = (float)m->n_samples;
}

static void close_input(recorder *r, open_input *input)
{
    uint64_t n = r->statistics->records[input->record].n_matrices;
    for (uint64_t i = 0; i < n; i++)
        close_matrix(&input->matrices[i]);
    free(input->matrices);
    r->statistics->bytes -= input->bytes;
}

static qc_status finish_inputs(recorder *r, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < r->n_inputs; i++) {
        open_input *input = &r->inputs[i];
        input_record *record = &r->statistics->records[input->record];
        for (uint64_t k = 0; k < record->n_matrices; k++)
            finish_matrix(&input->matrices[k], record, k);
        if (status == QC_OK)
            status = statistics_finish(job, input->name, record);
        close_input(r, input);
    }
    r->n_inputs = 0;
    return status;
}

static qc_status see_block_done(void *arg, qc_job *job, uint32_t block)
{
    (void)block;
    return finish_inputs(arg, job);
}

/* ---- the whole ---- */

qc_status recorder_new(qc_job *job, statistics *s, uint32_t wanted, recorder **out)
{
    recorder *r = *out = calloc(1, sizeof *r);
    if (!r)
        return no_memory(job);
    r->statistics = s;
    r->wanted = wanted;
    r->ops = job->host->find(job->host, QC_OPS_MATRIX);
    if (r->ops || !(wanted & QC_STAT_GRAM))
        return QC_OK;
    recorder_free(r);
    *out = NULL;
    return qc_fail(job, QC_E_INTERNAL, "no backend gives " QC_OPS_MATRIX);
}

void recorder_free(recorder *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_inputs; i++)
        if (r->inputs[i].matrices)
            close_input(r, &r->inputs[i]);
    free(r->inputs);
    free(r);
}

forward_watch recorder_watch(recorder *r, int output)
{
    return (forward_watch){.arg = r, .linears = see_linears, .block_done = see_block_done, .output = output};
}

qc_status recorder_end(recorder *r, qc_job *job)
{
    qc_status status = finish_inputs(r, job); /* the output's has no block */
    statistics_sort(r->statistics);
    return status;
}
