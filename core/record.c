#include "core/record.h"
#include "core/array.h"
#include "core/job.h"
#include "qcore/ops.h"
#include <math.h>

enum {
    PIECE_COLUMNS = 128, /* of a row that one worker adds up */
    PIECE_ROWS = 64, /* of a Gram matrix that one worker adds up; and a square of it that is mirrored at once */
    GRAM_TOKENS = 4096 /* summed in float32; such sums are added in double */
};

/* One matrix of an input while its block runs. Made when the first row comes. The record's Gram matrix has the sum of the
 * tokens since the last GRAM_TOKENS until the end comes. */
typedef struct running {
    double *squares; /* [cols] */
    double *gram; /* upper triangle, row after row: cols numbers, cols - 1, … */
    size_t piece_tokens;
    uint64_t count, stride; /* rows seen; every stride-th is kept as a sample */
    size_t n_samples;
} running;

/* matrices NULL: nothing of it is recorded. */
typedef struct open_input {
    size_t record;
    const char *name; /* of a tensor that reads it */
    running *matrices;
    uint64_t n_matrices, bytes;
    int is_last;
} open_input;

typedef struct reader {
    const char *tensor;
    size_t input;
} reader;

struct recorder {
    statistics *statistics;
    uint32_t wanted;
    record_choice choose; /* or NULL */
    void *choose_arg;
    const qc_ops_matrix *ops;
    open_input *inputs; /* of the block that runs */
    reader *readers; /* of those inputs */
    size_t n_inputs, capacity, n_readers, reader_capacity;
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

/* Bytes of one matrix: `square` of each of cols^2 numbers, `column` of each of cols. */
static uint64_t matrix_bytes(uint64_t cols, uint64_t square, uint64_t column)
{
    return plus(times(times(cols, cols), square), times(cols, column));
}

/* Numbers of a triangle that lie before its row i. */
static size_t triangle(size_t cols, size_t i)
{
    return i * cols - i * (i - 1) / 2;
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
    uint64_t half = wanted & QC_STAT_GRAM ? sizeof(double) / 2 : 0; /* of a square: cols (cols + 1) / 2 doubles */
    return times(plus(matrix_bytes(cols, half, half + sizeof(double)), sizeof(running)), n_matrices);
}

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for statistics");
}

/* ---- an input ---- */

static qc_status make_record(const recorder *r, qc_job *job, const model_tensor *t, uint32_t wanted, size_t *index)
{
    statistics *s = r->statistics;
    uint64_t cols = t->dims[0], n = t->dims[2] * t->dims[3];
    qc_status status = statistics_add_record(s, job, t->name, cols, n, index);
    if (status != QC_OK)
        return status;
    input_record *record = &s->records[*index];
    if (wanted & QC_STAT_ABSMAX)
        status = statistics_numbers(s, job, t->name, (const uint64_t[]){n, cols, 1}, &record->absmax);
    if (status == QC_OK && (wanted & QC_STAT_GRAM))
        status = statistics_numbers(s, job, t->name, (const uint64_t[]){n, cols, cols}, &record->gram);
    if (status != QC_OK || !(wanted & QC_STAT_SAMPLES))
        return status;
    record->room = MOST_SAMPLES;
    status = statistics_numbers(s, job, t->name, (const uint64_t[]){n, cols, MOST_SAMPLES}, &record->samples);
    return status == QC_OK ? statistics_numbers(s, job, t->name, (const uint64_t[]){n, 1, 1}, &record->n_samples)
                           : status;
}

static int is_recorded(const statistics *s, const char *tensor)
{
    for (size_t i = s->n_names; i-- > 0;)
        if (!strcmp(s->names[i].tensor, tensor))
            return 1;
    return 0;
}

static qc_status start_recording(recorder *r, qc_job *job, size_t n, const model_tensor *const *weights,
                                 uint32_t wanted, open_input *input)
{
    const model_tensor *t = weights[0];
    uint64_t n_matrices = t->dims[2] * t->dims[3], bytes = recording_bytes(wanted, t->dims[0], n_matrices);
    if (is_recorded(r->statistics, t->name))
        return qc_fail(job, QC_E_INTERNAL, "%s is recorded a second time", t->name);
    qc_status status = make_record(r, job, t, wanted, &input->record);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = statistics_add_name(r->statistics, job, weights[i]->name, input->record);
    if (status == QC_OK)
        status = statistics_hold(r->statistics, job, t->name, bytes);
    if (status != QC_OK)
        return status;
    input->bytes = bytes;
    input->n_matrices = n_matrices;
    input->matrices = calloc((size_t)n_matrices, sizeof *input->matrices);
    if (input->matrices)
        return QC_OK;
    r->statistics->bytes -= bytes;
    return no_memory(job);
}

static qc_status add_readers(recorder *r, qc_job *job, size_t n, const model_tensor *const *weights)
{
    for (size_t i = 0; i < n; i++) {
        if (!array_reserve(&r->readers, &r->reader_capacity, r->n_readers, sizeof *r->readers))
            return no_memory(job);
        r->readers[r->n_readers++] = (reader){weights[i]->name, r->n_inputs};
    }
    return QC_OK;
}

static qc_status open_new(recorder *r, qc_job *job, size_t n, const model_tensor *const *weights, open_input **out)
{
    open_input input = {.name = weights[0]->name};
    uint32_t wanted = r->choose ? r->choose(r->choose_arg, n, weights, &input.is_last)
                                : r->wanted | QC_STAT_MEAN_SQUARE;
    if (!array_reserve(&r->inputs, &r->capacity, r->n_inputs, sizeof *r->inputs))
        return no_memory(job);
    qc_status status = add_readers(r, job, n, weights);
    if (status == QC_OK && wanted)
        status = start_recording(r, job, n, weights, wanted, &input);
    if (status != QC_OK)
        return status;
    r->inputs[r->n_inputs] = input;
    *out = &r->inputs[r->n_inputs++];
    return QC_OK;
}

static qc_status check_shared(qc_job *job, size_t n, const model_tensor *const *weights)
{
    for (size_t i = 0; i < n; i++)
        if (weights[i]->dims[0] != weights[0]->dims[0] ||
            weights[i]->dims[2] * weights[i]->dims[3] != weights[0]->dims[2] * weights[0]->dims[3])
            return qc_fail(job, QC_E_CORRUPT, "%s and %s are said to read one input, but their sizes differ",
                           weights[i]->name, weights[0]->name);
    return QC_OK;
}

/* The input that these weights read: it was opened by a call for the same weights, or is new. */
static qc_status find_input(recorder *r, qc_job *job, size_t n, const model_tensor *const *weights, open_input **out)
{
    qc_status status = check_shared(job, n, weights);
    if (status != QC_OK)
        return status;
    for (size_t i = 0; i < r->n_readers; i++)
        if (!strcmp(r->readers[i].tensor, weights[0]->name)) {
            *out = &r->inputs[r->readers[i].input];
            return QC_OK;
        }
    return open_new(r, job, n, weights, out);
}

static qc_status open_matrix(qc_job *job, running *m, size_t cols, int has_gram)
{
    if (m->squares)
        return QC_OK;
    m->stride = 1;
    m->squares = calloc(cols, sizeof *m->squares);
    m->gram = has_gram ? calloc(triangle(cols, cols), sizeof *m->gram) : NULL;
    return m->squares && (m->gram || !has_gram) ? QC_OK : no_memory(job);
}

static void close_matrix(running *m)
{
    free(m->squares);
    free(m->gram);
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

/* A Gram matrix as it is summed: float32 sums of the last tokens go on top of those in double. */
typedef struct summing {
    double *sums; /* running.gram */
    float *piece; /* [cols][cols], upper triangle */
    size_t cols;
    double count; /* what sums are divided by in the end */
} summing;

static qc_status add_piece_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const summing *s = arg;
    (void)job;
    for (size_t i = begin; i < end; i++) {
        double *sums = s->sums + triangle(s->cols, i);
        float *piece = s->piece + i * s->cols + i;
        for (size_t k = 0; k < s->cols - i; k++) {
            sums[k] += (double)piece[k];
            piece[k] = 0;
        }
    }
    return QC_OK;
}

static qc_status add_piece(qc_job *job, running *m, float *piece, size_t cols)
{
    summing s = {m->gram, piece, cols, 1};
    m->piece_tokens = 0;
    return job->parallel_for(job, cols, PIECE_ROWS, add_piece_rows, &s);
}

/* Pieces are cut where the input's own count of rows says, wherever batches begin and end. */
static qc_status add_gram(const recorder *r, qc_job *job, running *m, float *piece, const float *x, size_t n_tokens,
                          size_t cols)
{
    qc_status status = QC_OK;
    while (n_tokens > 0 && status == QC_OK) {
        size_t room = GRAM_TOKENS - m->piece_tokens, n = n_tokens < room ? n_tokens : room;
        status = r->ops->gram(job, cols, n, x, cols, piece);
        m->piece_tokens += n;
        if (status == QC_OK && m->piece_tokens == GRAM_TOKENS)
            status = add_piece(job, m, piece, cols);
        x += n * cols;
        n_tokens -= n;
    }
    return status;
}

/* When the room is full, two of three go, and from then on one of three comes. */
static void add_samples(running *m, float *samples, const float *x, size_t n_tokens, size_t cols)
{
    for (size_t t = 0; t < n_tokens; t++) {
        if ((m->count + t) % m->stride != 0)
            continue;
        if (m->n_samples == MOST_SAMPLES) {
            m->n_samples = (MOST_SAMPLES + 2) / 3;
            for (size_t i = 1; i < m->n_samples; i++)
                memcpy(samples + i * cols, samples + 3 * i * cols, cols * sizeof *samples);
            m->stride *= 3;
        }
        if ((m->count + t) % m->stride == 0)
            memcpy(samples + m->n_samples++ * cols, x + t * cols, cols * sizeof *samples);
    }
}

static qc_status add_rows(const recorder *r, qc_job *job, const input_record *record, running *m, uint64_t matrix,
                          const float *x, size_t n_tokens)
{
    size_t cols = (size_t)record->cols;
    qc_status status = open_matrix(job, m, cols, record->gram != NULL);
    if (status != QC_OK)
        return status;
    addition a = {x, n_tokens, cols, m->squares, record->absmax ? record->absmax + matrix * cols : NULL};
    status = job->parallel_for(job, cols, PIECE_COLUMNS, add_columns, &a);
    if (status == QC_OK && m->gram)
        status = add_gram(r, job, m, record->gram + matrix * cols * cols, x, n_tokens, cols);
    if (status == QC_OK && record->samples)
        add_samples(m, record->samples + matrix * cols * record->room, x, n_tokens, cols);
    m->count += n_tokens;
    return status;
}

static qc_status record_rows(const recorder *r, qc_job *job, const open_input *input, int32_t expert, const float *x,
                             size_t n_tokens)
{
    const input_record *record = &r->statistics->records[input->record];
    uint64_t matrix = expert > 0 ? (uint64_t)expert : 0;
    if (matrix >= record->n_matrices)
        return qc_fail(job, QC_E_INTERNAL, "%s has no expert %d", input->name, (int)expert);
    return add_rows(r, job, record, &input->matrices[matrix], matrix, x, n_tokens);
}

static qc_status see_linears(void *arg, qc_job *job, size_t n, const model_tensor *const *weights, int32_t expert,
                             const float *x, size_t n_tokens, const float *const *y)
{
    recorder *r = arg;
    open_input *input = NULL;
    (void)y;
    qc_status status = find_input(r, job, n, weights, &input);
    if (status == QC_OK && input && input->matrices)
        status = record_rows(r, job, input, expert, x, n_tokens);
    return status == QC_OK && input && input->is_last && expert < 0 ? FORWARD_ENOUGH : status;
}

/* ---- the end of a block ---- */

/* Rows [begin, end) of the means, and their mirror below the diagonal. */
static qc_status finish_gram_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const summing *s = arg;
    size_t n = s->cols;
    (void)job;
    for (size_t i = begin; i < end; i++) {
        const double *sums = s->sums + triangle(n, i);
        float *gram = s->piece + i * n + i;
        for (size_t k = 0; k < n - i; k++)
            gram[k] = (float)((sums[k] + (double)gram[k]) / s->count);
    }
    for (size_t k = begin + 1; k < n; k++)
        for (size_t i = begin; i < end && i < k; i++)
            s->piece[k * n + i] = s->piece[i * n + k];
    return QC_OK;
}

/* Both triangles, so that others who read the file need not know which one counts. */
static qc_status finish_gram(qc_job *job, const running *m, float *gram, size_t cols)
{
    summing s = {m->gram, gram, cols, (double)m->count};
    return job->parallel_for(job, cols, PIECE_ROWS, finish_gram_rows, &s);
}

static qc_status finish_matrix(qc_job *job, const running *m, const input_record *record, uint64_t matrix)
{
    size_t cols = (size_t)record->cols;
    if (m->count == 0)
        return QC_OK;
    record->counts[matrix] = (float)m->count;
    for (size_t i = 0; i < cols; i++)
        record->sums[matrix * cols + i] = (float)m->squares[i];
    if (record->n_samples)
        record->n_samples[matrix] = (float)m->n_samples;
    return m->gram ? finish_gram(job, m, record->gram + matrix * cols * cols, cols) : QC_OK;
}

static void close_input(recorder *r, const open_input *input)
{
    for (uint64_t i = 0; i < input->n_matrices; i++)
        close_matrix(&input->matrices[i]);
    free(input->matrices);
    r->statistics->bytes -= input->bytes;
}

static qc_status finish_input(const recorder *r, qc_job *job, const open_input *input)
{
    input_record *record = &r->statistics->records[input->record];
    qc_status status = QC_OK;
    for (uint64_t k = 0; k < record->n_matrices && status == QC_OK; k++)
        status = finish_matrix(job, &input->matrices[k], record, k);
    return status == QC_OK ? statistics_finish(job, input->name, record) : status;
}

static void close_inputs(recorder *r)
{
    for (size_t i = 0; i < r->n_inputs; i++)
        if (r->inputs[i].matrices)
            close_input(r, &r->inputs[i]);
    r->n_inputs = r->n_readers = 0;
}

static qc_status finish_inputs(recorder *r, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < r->n_inputs && status == QC_OK; i++)
        if (r->inputs[i].matrices)
            status = finish_input(r, job, &r->inputs[i]);
    close_inputs(r);
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
    close_inputs(r);
    free(r->inputs);
    free(r->readers);
    free(r);
}

void recorder_choose(recorder *r, record_choice choose, void *arg)
{
    r->choose = choose;
    r->choose_arg = arg;
}

forward_watch recorder_watch(recorder *r, int output)
{
    return (forward_watch){
        .arg = r, .linears = see_linears, .block_done = see_block_done, .before = 1, .output = output};
}

qc_status recorder_finish(recorder *r, qc_job *job)
{
    qc_status status = finish_inputs(r, job);
    statistics_sort(r->statistics);
    return status;
}
