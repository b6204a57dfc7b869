#include "core/statistics.h"
#include "core/array.h"
#include "core/statistics_impl.h"
#include "core/units.h"

statistics *statistics_new(uint64_t limit)
{
    statistics *s = calloc(1, sizeof *s);
    if (s)
        s->limit = limit;
    return s;
}

/* What statistics_numbers and statistics_add_record have counted. */
static uint64_t record_held(const input_record *r)
{
    uint64_t n = r->n_matrices, all = n * r->cols;
    uint64_t numbers = 2 * all + n + (r->absmax ? all : 0) + (r->gram ? all * r->cols : 0) +
                       (r->samples ? all * r->room + n : 0);
    return numbers * sizeof(float) + n * sizeof *r->inputs;
}

static void free_record(input_record *r)
{
    free(r->sums);
    free(r->means);
    free(r->counts);
    free(r->absmax);
    free(r->gram);
    free(r->samples);
    free(r->n_samples);
    free(r->inputs);
}

void statistics_clear(statistics *s)
{
    for (size_t i = 0; i < s->n_records; i++) {
        s->bytes -= record_held(&s->records[i]);
        free_record(&s->records[i]);
    }
    s->n_records = s->n_names = 0;
}

void statistics_free(statistics *s)
{
    if (!s)
        return;
    statistics_clear(s);
    for (size_t i = 0; i < s->n_datasets; i++)
        free(s->datasets[i]);
    free(s->records);
    free(s->names);
    free(s->datasets);
    free(s);
}

/* ---- making ---- */

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for statistics");
}

qc_status statistics_hold(statistics *s, qc_job *job, const char *name, uint64_t bytes)
{
    char needed[BYTES_TEXT], allowed[BYTES_TEXT];
    if (bytes > s->limit || s->bytes > s->limit - bytes)
        return qc_fail(job, QC_E_LIMIT,
                       "%.200s: statistics up to here need %s of memory, more than the %s that "
                       "run.memory has left for them",
                       name, bytes_text(s->bytes > UINT64_MAX - bytes ? UINT64_MAX : s->bytes + bytes, needed),
                       bytes_text(s->limit, allowed));
    s->bytes += bytes;
    return QC_OK;
}

qc_status statistics_numbers(statistics *s, qc_job *job, const char *name, const uint64_t n[3], float **out)
{
    uint64_t bytes;
    if (!qc_mul_size(n[0], n[1], &bytes) || !qc_mul_size(bytes, n[2], &bytes) ||
        !qc_mul_size(bytes, sizeof **out, &bytes))
        bytes = UINT64_MAX;
    qc_status status = statistics_hold(s, job, name, bytes);
    if (status != QC_OK)
        return status;
    *out = calloc(bytes ? (size_t)bytes : 1, 1);
    return *out ? QC_OK : no_memory(job);
}

qc_status statistics_add_record(statistics *s, qc_job *job, const char *name, uint64_t cols, uint64_t n_matrices,
                                size_t *index)
{
    if (!array_reserve(&s->records, &s->record_capacity, s->n_records, sizeof *s->records))
        return no_memory(job);
    input_record *r = &s->records[ *index = s->n_records++];
    *r = (input_record){.cols = cols, .n_matrices = n_matrices};
    qc_status status = statistics_numbers(s, job, name, (const uint64_t[]){n_matrices, cols, 1}, &r->sums);
    if (status == QC_OK)
        status = statistics_numbers(s, job, name, (const uint64_t[]){n_matrices, cols, 1}, &r->means);
    if (status == QC_OK)
        status = statistics_numbers(s, job, name, (const uint64_t[]){n_matrices, 1, 1}, &r->counts);
    if (status == QC_OK)
        status = statistics_hold(s, job, name, n_matrices * sizeof *r->inputs);
    if (status != QC_OK)
        return status;
    r->inputs = calloc((size_t)n_matrices, sizeof *r->inputs);
    return r->inputs ? QC_OK : no_memory(job);
}

qc_status statistics_add_name(statistics *s, qc_job *job, const char *tensor, size_t record)
{
    if (!array_reserve(&s->names, &s->name_capacity, s->n_names, sizeof *s->names))
        return no_memory(job);
    s->names[s->n_names++] = (input_name){tensor, record};
    return QC_OK;
}

qc_status statistics_add_dataset(statistics *s, qc_job *job, const char *name, size_t length)
{
    if (!array_reserve(&s->datasets, &s->dataset_capacity, s->n_datasets, sizeof(char *)) ||
        !(s->datasets[s->n_datasets] = strndup(name, length)))
        return no_memory(job);
    s->n_datasets++;
    return QC_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const input_name *)a)->tensor, ((const input_name *)b)->tensor);
}

void statistics_sort(statistics *s)
{
    if (s->n_names)
        qsort(s->names, s->n_names, sizeof *s->names, compare_names);
}

/* ---- finishing ---- */

/* Sums to means; a matrix that no row ever reached counts evenly. */
static qc_status divide(qc_job *job, const char *name, const float *sums, float *means, uint64_t cols, float count)
{
    if (!qc_is_finite(count) || count < 0.0f)
        return qc_fail(job, QC_E_NUMERIC, "%.200s: a count is negative, NaN or Inf", name);
    for (uint64_t i = 0; i < cols; i++) {
        if (!qc_is_finite(sums[i]) || sums[i] < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "%.200s: importance of column %llu is negative, NaN or Inf", name,
                           (unsigned long long)i);
        means[i] = count > 0.0f ? sums[i] / count : 1.0f;
        if (!qc_is_finite(means[i]))
            return qc_fail(job, QC_E_NUMERIC, "%.200s: importance of column %llu is too large", name,
                           (unsigned long long)i);
    }
    return QC_OK;
}

/* As a float it may be beyond any whole number. */
static uint64_t whole_count(float count)
{
    return count < 9.0e18f ? (uint64_t)count : UINT64_MAX;
}

/* Sums of squares and their like: finite, and where `positive`, none below 0. */
static qc_status check(qc_job *job, const char *name, const char *what, const float *x, uint64_t n, int positive)
{
    for (uint64_t i = 0; x && i < n; i++)
        if (!qc_is_finite(x[i]) || (positive && x[i] < 0.0f))
            return qc_fail(job, QC_E_NUMERIC, "%.200s: number %llu of its %s is %s", name, (unsigned long long)i, what,
                           qc_is_finite(x[i]) ? "negative" : "NaN or Inf");
    return QC_OK;
}

static qc_status check_wider(qc_job *job, const char *name, const input_record *r)
{
    uint64_t n = r->n_matrices * r->cols;
    qc_status status = check(job, name, "largest absolute values", r->absmax, n, 1);
    if (status == QC_OK)
        status = check(job, name, "Gram matrix", r->gram, n * r->cols, 0);
    for (uint64_t i = 0; status == QC_OK && r->gram && i < n; i++)
        status = check(job, name, "Gram matrix's diagonal", r->gram + i * r->cols + i % r->cols, 1, 1);
    if (status == QC_OK)
        status = check(job, name, "samples", r->samples, n * r->room, 0);
    for (uint64_t i = 0; status == QC_OK && r->samples && i < r->n_matrices; i++)
        if (!(r->n_samples[i] >= 0.0f) || whole_count(r->n_samples[i]) > r->room)
            status = qc_fail(job, QC_E_CORRUPT, "%.200s: it has %g samples in room for %llu", name,
                             (double)r->n_samples[i], (unsigned long long)r->room);
    return status;
}

/* As the means of a matrix that no row reached: all columns alike, and none has to do with another. */
static void make_even(input_record *r, uint64_t matrix)
{
    float *absmax = r->absmax ? r->absmax + matrix * r->cols : NULL;
    float *gram = r->gram ? r->gram + matrix * r->cols * r->cols : NULL;
    if (gram)
        memset(gram, 0, r->cols * r->cols * sizeof *gram);
    for (uint64_t i = 0; gram && i < r->cols; i++)
        gram[i * r->cols + i] = 1.0f;
    for (uint64_t i = 0; absmax && i < r->cols; i++)
        absmax[i] = 1.0f;
}

static void show(input_record *r, uint64_t matrix)
{
    uint64_t at = matrix * r->cols;
    r->inputs[matrix] = (qc_input){.size = sizeof *r->inputs,
                                   .cols = (size_t)r->cols,
                                   .n_tokens = whole_count(r->counts[matrix]),
                                   .mean_square = r->means + at,
                                   .absmax = r->absmax ? r->absmax + at : NULL,
                                   .gram = r->gram ? r->gram + at * r->cols : NULL,
                                   .samples = r->samples ? r->samples + at * r->room : NULL,
                                   .n_samples = r->samples ? (size_t)r->n_samples[matrix] : 0};
}

qc_status statistics_finish(qc_job *job, const char *name, input_record *r)
{
    qc_status status = check_wider(job, name, r);
    for (uint64_t i = 0; i < r->n_matrices && status == QC_OK; i++) {
        status = divide(job, name, r->sums + i * r->cols, r->means + i * r->cols, r->cols, r->counts[i]);
        if (status == QC_OK && !(r->counts[i] > 0.0f))
            make_even(r, i);
        show(r, i);
    }
    return status;
}

/* ---- asking ---- */

const input_name *statistics_find(const statistics *s, const char *tensor)
{
    const input_name key = {.tensor = tensor};
    return s->n_names ? bsearch(&key, s->names, s->n_names, sizeof key, compare_names) : NULL;
}

const qc_input *statistics_input(const statistics *s, const char *tensor, uint64_t matrix)
{
    const input_name *name = s ? statistics_find(s, tensor) : NULL;
    const input_record *r = name ? &s->records[name->record] : NULL;
    return r && matrix < r->n_matrices ? &r->inputs[matrix] : NULL;
}

uint32_t statistics_known(const statistics *s)
{
    uint32_t known = s && s->n_names ? QC_STAT_MEAN_SQUARE | QC_STAT_GRAM | QC_STAT_ABSMAX | QC_STAT_SAMPLES : 0;
    for (size_t i = 0; s && i < s->n_records; i++) {
        known &= s->records[i].gram ? known : ~(uint32_t)QC_STAT_GRAM;
        known &= s->records[i].absmax ? known : ~(uint32_t)QC_STAT_ABSMAX;
        known &= s->records[i].samples ? known : ~(uint32_t)QC_STAT_SAMPLES;
    }
    return known;
}

size_t statistics_entries(const statistics *s)
{
    return s ? s->n_names : 0;
}

uint64_t statistics_bytes(const statistics *s)
{
    return s ? s->bytes : 0;
}

const char *statistics_dataset(const statistics *s)
{
    return s && s->n_datasets ? s->datasets[0] : NULL;
}

uint64_t statistics_chunks(const statistics *s)
{
    return s ? s->chunks : 0;
}
