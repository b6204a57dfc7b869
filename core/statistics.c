#include "core/statistics.h"
#include "core/array.h"
#include "core/contents.h"
#include "core/detect.h"
#include "core/job.h"
#include "core/log.h"
#include "core/names.h"
#include "core/source.h"

static const char sum_suffix[] = ".in_sum2", count_suffix[] = ".counts";

typedef struct entry {
    const char *tensor; /* the model's */
    qc_input *inputs; /* one a matrix */
    float *values; /* of all matrices */
    uint64_t n_matrices;
} entry;

struct statistics {
    entry *entries; /* sorted by name */
    size_t n_entries, capacity;
    char *dataset;
    uint64_t chunks, bytes;
};

/* An importance file being read. */
typedef struct reading {
    qc_job *job;
    const model *model;
    statistics *statistics;
    detected file;
    void *index;
    contents found; /* tensors sorted by name */
    size_t n_strange; /* entries for tensors that the model lacks */
    uint64_t limit; /* of memory */
} reading;

static int compare_tensors(const void *a, const void *b)
{
    return strcmp((*(qc_tensor *const *)a)->name, (*(qc_tensor *const *)b)->name);
}

static const qc_tensor *find_tensor(const reading *r, const char *stem, size_t length, const char *suffix)
{
    char name[1200];
    if (snprintf(name, sizeof name, "%.*s%s", (int)length, stem, suffix) >= (int)sizeof name)
        return NULL;
    const qc_tensor key = {.name = name}, *at = &key;
    qc_tensor *const *hit = bsearch(&at, r->found.tensors, r->found.n_tensors, sizeof(qc_tensor *), compare_tensors);
    return hit ? *hit : NULL;
}

/* By the order that the model keeps its tensors in. */
static const model_tensor *find_weight(const model *m, const char *name, size_t length)
{
    char stem[1200];
    size_t low = 0, high = m->n_tensors;
    if (length >= sizeof stem)
        return NULL;
    memcpy(stem, name, length);
    stem[length] = '\0';
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = name_compare(m->tensors[middle].name, stem);
        if (order == 0)
            return &m->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* All numbers of an f32 tensor; owned: free. */
static qc_status load_numbers(const reading *r, const qc_tensor *t, uint64_t *n, float **values)
{
    uint64_t rows = tensor_rows(t), bytes = 0;
    *values = NULL;
    *n = t->dims[0] * rows; /* bounded when the tensor was reported */
    if (strcmp(t->encoding, QC_ENCODING_F32) != 0)
        return qc_fail(r->job, QC_E_UNSUPPORTED, "tensor '%.100s' must be f32, it is %s", t->name, t->encoding);
    if (!qc_mul_size(*n, sizeof **values, &bytes) || bytes > r->limit)
        return qc_fail(r->job, QC_E_LIMIT, "tensor '%.100s' needs %llu bytes of memory, run.memory allows %llu",
                       t->name, (unsigned long long)bytes, (unsigned long long)r->limit);
    if (!(*values = malloc((size_t)bytes)))
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for '%.100s'", t->name);
    const qc_coder f32 = {.size = sizeof f32,
                          .block_cols = 1,
                          .cols = (size_t)t->dims[0],
                          .row_bytes = (size_t)t->dims[0] * sizeof **values};
    const qc_source *src = r->file.source;
    qc_status status = r->file.format->load
                           ? r->file.format->load(r->job, r->index, src, t, &f32, 0, (size_t)rows, *values)
                           : src->read_at(src, r->job, t->file, t->at, (size_t)bytes, *values);
    for (uint64_t i = 0; status == QC_OK && i < *n; i++)
        (*values)[i] = qc_float_from_bits(qc_load_le32(&(*values)[i]));
    if (status == QC_OK)
        return QC_OK;
    free(*values);
    *values = NULL;
    return status;
}

/* Sums to means, in place; a matrix that no row ever reached counts evenly. */
static qc_status divide(qc_job *job, float *sums, uint64_t cols, float count, const char *name)
{
    if (!qc_is_finite(count) || count < 0.0f)
        return qc_fail(job, QC_E_NUMERIC, "%.200s: a count is negative, NaN or Inf", name);
    for (uint64_t i = 0; i < cols; i++) {
        if (!qc_is_finite(sums[i]) || sums[i] < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "%.200s: importance of column %llu is negative, NaN or Inf", name,
                           (unsigned long long)i);
        sums[i] = count > 0.0f ? sums[i] / count : 1.0f;
        if (!qc_is_finite(sums[i]))
            return qc_fail(job, QC_E_NUMERIC, "%.200s: importance of column %llu is too large", name,
                           (unsigned long long)i);
    }
    return QC_OK;
}

static uint64_t whole_count(float count)
{
    return count < 9.0e18f ? (uint64_t)count : UINT64_MAX;
}

/* The entry's inputs from its sums (kept) and counts. */
static qc_status make_inputs(const reading *r, entry *e, const model_tensor *t, const float *counts, uint64_t n_counts)
{
    e->inputs = calloc((size_t)e->n_matrices, sizeof *e->inputs);
    if (!e->inputs)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for importance");
    for (uint64_t i = 0; i < e->n_matrices; i++) {
        float *mean = e->values + i * t->dims[0], count = counts[n_counts > 1 ? i : 0];
        qc_status status = divide(r->job, mean, t->dims[0], count, t->name);
        if (status != QC_OK)
            return status;
        e->inputs[i] = (qc_input){
            .size = sizeof *e->inputs, .cols = (size_t)t->dims[0], .n_tokens = whole_count(count), .mean_square = mean};
    }
    return QC_OK;
}

/* Columns and matrices must be the weight's. The embedding's may differ: what llama-imatrix records for it is the
 * output's input, and it is of no use when that has another width. */
static qc_status check_size(const reading *r, const model_tensor *t, uint64_t n, int *skip)
{
    uint64_t wanted = t->dims[0] * t->dims[2] * t->dims[3];
    char message[400];
    *skip = 0;
    if (n == wanted)
        return QC_OK;
    snprintf(message, sizeof message, "%.200s: importance of %llu columns, the tensor has %llu", t->name,
             (unsigned long long)n, (unsigned long long)wanted);
    if (!t->role || strcmp(t->role, "token_embd") != 0)
        return qc_fail(r->job, QC_E_INVALID, "%s: it was made for another model", message);
    log_say(r->job->host, QC_LOG_WARNING, "%s: ignored", message);
    *skip = 1;
    return QC_OK;
}

static qc_status add_entry(reading *r, const model_tensor *t, const qc_tensor *sums, const qc_tensor *counts)
{
    statistics *s = r->statistics;
    float *count_values = NULL;
    uint64_t n = sums->dims[0] * tensor_rows(sums), n_counts = 0;
    int skip;
    qc_status status = check_size(r, t, n, &skip);
    if (status != QC_OK || skip)
        return status;
    if (!array_reserve(&s->entries, &s->capacity, s->n_entries, sizeof *s->entries))
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for importance");
    entry *e = &s->entries[s->n_entries++];
    *e = (entry){.tensor = t->name, .n_matrices = t->dims[2] * t->dims[3]};
    status = load_numbers(r, sums, &n, &e->values);
    if (status == QC_OK)
        status = load_numbers(r, counts, &n_counts, &count_values);
    if (status == QC_OK && n_counts != 1 && n_counts != e->n_matrices)
        status = qc_fail(r->job, QC_E_CORRUPT, "%.200s: %llu counts for %llu matrices", t->name,
                         (unsigned long long)n_counts, (unsigned long long)e->n_matrices);
    if (status == QC_OK)
        status = make_inputs(r, e, t, count_values, n_counts);
    free(count_values);
    s->bytes += n * sizeof(float) + e->n_matrices * sizeof *e->inputs;
    if (status == QC_OK && s->bytes > r->limit)
        status = qc_fail(r->job, QC_E_LIMIT, "importance needs more than the %llu bytes that run.memory allows",
                         (unsigned long long)r->limit);
    return status;
}

static qc_status read_entry(reading *r, const qc_tensor *sums)
{
    size_t length = strlen(sums->name), k = sizeof sum_suffix - 1;
    if (length <= k || strcmp(sums->name + length - k, sum_suffix) != 0)
        return QC_OK;
    length -= k;
    const qc_tensor *counts = find_tensor(r, sums->name, length, count_suffix);
    if (!counts)
        return qc_fail(r->job, QC_E_CORRUPT, "tensor '%.200s' has no counts beside it", sums->name);
    const model_tensor *t = find_weight(r->model, sums->name, length);
    r->n_strange += !t;
    return t ? add_entry(r, t, sums, counts) : QC_OK;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->tensor, ((const entry *)b)->tensor);
}

static qc_status read_metas(const reading *r)
{
    statistics *s = r->statistics;
    const qc_meta *dataset = metas_find(r->found.metas, r->found.n_metas, "imatrix.datasets");
    const qc_meta *chunks = metas_find(r->found.metas, r->found.n_metas, "imatrix.chunk_count");
    if (dataset && dataset->type == QC_TEXT && dataset->count > 0) {
        const qc_text *text = dataset->data;
        s->dataset = strndup(text->data, text->length);
        if (!s->dataset)
            return qc_fail(r->job, QC_E_NOMEM, "out of memory");
    }
    if (chunks && chunks->type == QC_U32 && chunks->count == 1)
        s->chunks = *(const uint32_t *)chunks->data;
    return QC_OK;
}

static qc_status read_all(reading *r)
{
    qc_status status = r->file.format->scan(r->job, r->file.source, &r->found.scan, &r->index);
    if (status == QC_OK)
        status = contents_check(&r->found, r->job);
    if (status == QC_OK && r->found.n_tensors)
        qsort(r->found.tensors, r->found.n_tensors, sizeof(qc_tensor *), compare_tensors);
    for (size_t i = 0; i < r->found.n_tensors && status == QC_OK; i++)
        status = read_entry(r, r->found.tensors[i]);
    if (status != QC_OK)
        return status;
    if (r->statistics->n_entries == 0 && r->n_strange > 0)
        return qc_fail(r->job, QC_E_INVALID, "none of its entries is for a tensor of this model");
    if (r->statistics->n_entries == 0)
        return qc_fail(r->job, QC_E_INVALID, "holds no importance (no tensor named *%s)", sum_suffix);
    qsort(r->statistics->entries, r->statistics->n_entries, sizeof *r->statistics->entries, compare_entries);
    return read_metas(r);
}

static qc_status read_file(qc_job *job, registry *plugins, const recipe *rec, const model *m, statistics *s)
{
    reading r = {.job = job, .model = m, .statistics = s, .limit = rec->run.memory};
    qc_status status = detect_format(job, plugins, rec->calibration.imatrix, NULL, &r.file);
    if (status != QC_OK)
        return status;
    contents_init(&r.found, r.file.source);
    status = read_all(&r);
    if (status != QC_OK) {
        const char *name = r.file.source->name(r.file.source, 0);
        if (!strstr(job_message(job), name))
            job_add_context(job, "%s", rec->calibration.imatrix);
        job_add_place(job, rec->calibration.at.file, rec->calibration.at.line, rec->calibration.at.column);
    }
    if (r.index && r.file.format->release)
        r.file.format->release(job->host, r.index);
    contents_free(&r.found);
    source_free(r.file.source);
    return status;
}

qc_status statistics_open(qc_job *job, registry *r, const recipe *rec, const model *m, statistics **out)
{
    *out = NULL;
    if (!rec->calibration.imatrix)
        return QC_OK;
    statistics *s = calloc(1, sizeof *s);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    qc_status status = read_file(job, r, rec, m, s);
    if (status == QC_OK)
        *out = s;
    else
        statistics_free(s);
    return status;
}

void statistics_free(statistics *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_entries; i++) {
        free(s->entries[i].inputs);
        free(s->entries[i].values);
    }
    free(s->entries);
    free(s->dataset);
    free(s);
}

const qc_input *statistics_input(const statistics *s, const char *tensor, uint64_t matrix)
{
    const entry key = {.tensor = tensor};
    if (!s)
        return NULL;
    const entry *e = bsearch(&key, s->entries, s->n_entries, sizeof key, compare_entries);
    return e && matrix < e->n_matrices ? &e->inputs[matrix] : NULL;
}

size_t statistics_entries(const statistics *s)
{
    return s ? s->n_entries : 0;
}

uint64_t statistics_bytes(const statistics *s)
{
    return s ? s->bytes : 0;
}

const char *statistics_dataset(const statistics *s)
{
    return s ? s->dataset : NULL;
}

uint64_t statistics_chunks(const statistics *s)
{
    return s ? s->chunks : 0;
}
