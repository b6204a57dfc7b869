/* Reading statistics from a file: importance of either of llama.cpp's layouts, and what our own files have beside it. */
#include "core/contents.h"
#include "core/detect.h"
#include "core/job.h"
#include "core/log.h"
#include "core/source.h"
#include "core/statistics_impl.h"
#include <stdlib.h>

enum { MOST_NAME = 1200, PIECE_ROWS = 64 };

/* A file being read. */
typedef struct reading {
    qc_job *job;
    const model *model;
    statistics *statistics;
    detected file;
    void *index;
    contents found; /* tensors sorted by name */
    const qc_text *names, *inputs; /* [n_shared]: which input is whose; sorted by name */
    uint64_t n_shared;
    size_t n_strange; /* entries for tensors that the model lacks */
} reading;

static int compare_tensors(const void *a, const void *b)
{
    return strcmp((*(qc_tensor *const *)a)->name, (*(qc_tensor *const *)b)->name);
}

static const qc_tensor *find_tensor(const reading *r, const char *stem, const char *suffix)
{
    char name[MOST_NAME];
    if (snprintf(name, sizeof name, "%s%s", stem, suffix) >= (int)sizeof name)
        return NULL;
    const qc_tensor key = {.name = name}, *at = &key;
    qc_tensor *const *hit = bsearch(&at, r->found.tensors, r->found.n_tensors, sizeof(qc_tensor *), compare_tensors);
    return hit ? *hit : NULL;
}

static uint64_t numbers_of(const qc_tensor *t)
{
    return t->dims[0] * tensor_rows(t); /* bounded when the tensor was reported */
}

/* ---- numbers ---- */

/* All numbers of an f32 tensor. */
static qc_status load_into(const reading *r, const qc_tensor *t, float *values)
{
    const qc_coder f32 = {.size = sizeof f32,
                          .block_cols = 1,
                          .cols = (size_t)t->dims[0],
                          .row_bytes = (size_t)t->dims[0] * sizeof *values};
    const qc_source *src = r->file.source;
    uint64_t n = numbers_of(t);
    if (strcmp(t->encoding, QC_ENCODING_F32) != 0)
        return qc_fail(r->job, QC_E_UNSUPPORTED, "tensor '%.100s' must be f32, it is %s", t->name, t->encoding);
    qc_status status = tensor_in_parts(t)
                           ? r->file.format->load(r->job, r->index, src, t, &f32, 0, (size_t)tensor_rows(t), values)
                           : src->read_at(src, r->job, t->file, t->at, (size_t)n * sizeof *values, values);
    for (uint64_t i = 0; status == QC_OK && i < n; i++)
        values[i] = qc_float_from_bits(qc_load_le32(&values[i]));
    return status;
}

static qc_status refuse_size(const reading *r, const qc_tensor *t, uint64_t wanted)
{
    return qc_fail(r->job, QC_E_CORRUPT, "tensor '%.200s' has %llu numbers, the others of its input ask for %llu",
                   t->name, (unsigned long long)numbers_of(t), (unsigned long long)wanted);
}

/* NAME and suffix with n numbers (three factors) in new memory; *out stays NULL where the file has no such tensor. */
static qc_status load_wider(const reading *r, const char *name, const char *suffix, const uint64_t n[3], float **out)
{
    const qc_tensor *t = find_tensor(r, name, suffix);
    uint64_t wanted;
    if (!t)
        return QC_OK;
    if (!qc_mul_size(n[0], n[1], &wanted) || !qc_mul_size(wanted, n[2], &wanted) || wanted != numbers_of(t))
        return refuse_size(r, t, n[0] * n[1] * n[2]);
    qc_status status = statistics_numbers(r->statistics, r->job, t->name, n, out);
    return status == QC_OK ? load_into(r, t, *out) : status;
}

typedef struct square {
    float *numbers; /* [n][n] */
    size_t n;
} square;

/* In square pieces: one side of each is read or written down its columns. */
static qc_status mirror_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const square *s = arg;
    (void)job;
    for (size_t first = 0; first < end; first += PIECE_ROWS)
        for (size_t i = begin; i < end; i++)
            for (size_t k = first; k < i && k < first + PIECE_ROWS; k++)
                s->numbers[i * s->n + k] = s->numbers[k * s->n + i];
    return QC_OK;
}

/* Others may have stored one triangle: the upper one counts. */
static qc_status load_gram(const reading *r, const char *name, input_record *to)
{
    qc_status status = load_wider(r, name, GRAM_SUFFIX, (const uint64_t[]){to->cols, to->cols, to->n_matrices},
                                  &to->gram);
    for (uint64_t i = 0; to->gram && i < to->n_matrices && status == QC_OK; i++) {
        square matrix = {to->gram + i * to->cols * to->cols, (size_t)to->cols};
        status = r->job->parallel_for(r->job, matrix.n, PIECE_ROWS, mirror_rows, &matrix);
    }
    return status;
}

/* ---- entries ---- */

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

/* One count for all matrices, or one for each. */
static qc_status load_counts(const reading *r, const qc_tensor *counts, input_record *to)
{
    uint64_t n = numbers_of(counts);
    if (n != 1 && n != to->n_matrices)
        return qc_fail(r->job, QC_E_CORRUPT, "tensor '%.200s': %llu counts for %llu matrices", counts->name,
                       (unsigned long long)n, (unsigned long long)to->n_matrices);
    qc_status status = load_into(r, counts, to->counts);
    for (uint64_t i = n; i < to->n_matrices; i++)
        to->counts[i] = to->counts[0];
    return status;
}

static qc_status load_samples(const reading *r, const char *name, input_record *to)
{
    const qc_tensor *t = find_tensor(r, name, SAMPLES_SUFFIX);
    if (!t)
        return QC_OK;
    to->room = t->dims[1];
    qc_status status = load_wider(r, name, SAMPLES_SUFFIX, (const uint64_t[]){to->cols, to->room, to->n_matrices},
                                  &to->samples);
    if (status == QC_OK)
        status = load_wider(r, name, N_SAMPLES_SUFFIX, (const uint64_t[]){to->n_matrices, 1, 1}, &to->n_samples);
    if (status == QC_OK && !to->n_samples)
        status = qc_fail(r->job, QC_E_CORRUPT, "tensor '%.200s' has no %s beside it", t->name, N_SAMPLES_SUFFIX);
    return status;
}

static qc_status load_record(const reading *r, const char *name, const qc_tensor *sums, const qc_tensor *counts,
                             input_record *to)
{
    qc_status status = load_into(r, sums, to->sums);
    if (status == QC_OK)
        status = load_counts(r, counts, to);
    if (status == QC_OK)
        status = load_wider(r, name, ABSMAX_SUFFIX, (const uint64_t[]){to->cols, to->n_matrices, 1}, &to->absmax);
    if (status == QC_OK)
        status = load_gram(r, name, to);
    if (status == QC_OK)
        status = load_samples(r, name, to);
    return status == QC_OK ? statistics_finish(r->job, name, to) : status;
}

static qc_status add_entry(reading *r, const model_tensor *t, const qc_tensor *sums, const qc_tensor *counts)
{
    statistics *s = r->statistics;
    size_t record;
    int skip;
    qc_status status = check_size(r, t, numbers_of(sums), &skip);
    if (status != QC_OK || skip)
        return status;
    status = statistics_add_record(s, r->job, t->name, t->dims[0], t->dims[2] * t->dims[3], &record);
    if (status == QC_OK)
        status = load_record(r, t->name, sums, counts, &s->records[record]);
    return status == QC_OK ? statistics_add_name(s, r->job, t->name, record) : status;
}

/* ---- inputs that several tensors share ---- */

static int compare_text(const char *name, const qc_text *text)
{
    size_t n = strlen(name), least = n < text->length ? n : text->length;
    int order = memcmp(name, text->data, least);
    return order ? order : (n > text->length) - (n < text->length);
}

/* The tensor under whose name the input is kept; the name itself where the file says nothing of it. */
static void input_of(const reading *r, const char *name, char input[MOST_NAME])
{
    uint64_t low = 0, high = r->n_shared;
    snprintf(input, MOST_NAME, "%s", name);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = compare_text(name, &r->names[middle]);
        if (order == 0 && r->inputs[middle].length < MOST_NAME)
            snprintf(input, MOST_NAME, "%.*s", (int)r->inputs[middle].length, r->inputs[middle].data);
        if (order == 0)
            return;
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
}

/* 1 where the tensor shares an input that is known already. */
static qc_status share_entry(reading *r, const model_tensor *t, const char *input, size_t n_known, int *shared)
{
    const statistics *s = r->statistics;
    *shared = 0;
    for (size_t i = 0; i < n_known; i++) {
        if (strcmp(s->names[i].tensor, input) != 0)
            continue;
        const input_record *record = &s->records[s->names[i].record];
        if (record->cols != t->dims[0] || record->n_matrices != t->dims[2] * t->dims[3])
            return qc_fail(r->job, QC_E_CORRUPT, "%.200s cannot share the input of %.200s: their sizes differ", t->name,
                           input);
        *shared = 1;
        return statistics_add_name(r->statistics, r->job, t->name, s->names[i].record);
    }
    return QC_OK;
}

/* Of the entries those that keep their own input come first (round 0), then those that share one. */
static qc_status read_entry(reading *r, const qc_tensor *sums, int round, size_t n_known)
{
    char name[MOST_NAME], input[MOST_NAME];
    size_t length = strlen(sums->name), k = sizeof SUM_SUFFIX - 1;
    if (length <= k || length >= sizeof name || strcmp(sums->name + length - k, SUM_SUFFIX) != 0)
        return QC_OK;
    snprintf(name, sizeof name, "%.*s", (int)(length - k), sums->name);
    input_of(r, name, input);
    if ((strcmp(name, input) != 0) != round)
        return QC_OK;
    const qc_tensor *counts = find_tensor(r, name, COUNT_SUFFIX);
    if (!counts)
        return qc_fail(r->job, QC_E_CORRUPT, "tensor '%.200s' has no counts beside it", sums->name);
    const model_tensor *t = model_find(r->model, name);
    int shared = 0;
    r->n_strange += !t;
    qc_status status = t && round ? share_entry(r, t, input, n_known, &shared) : QC_OK;
    return t && status == QC_OK && !shared ? add_entry(r, t, sums, counts) : status;
}

static qc_status read_entries(reading *r)
{
    qc_status status = QC_OK;
    for (int round = 0; round < 2; round++) {
        size_t n_known = r->statistics->n_names;
        for (size_t i = 0; i < r->found.n_tensors && status == QC_OK; i++)
            status = read_entry(r, r->found.tensors[i], round, n_known);
    }
    return status;
}

/* ---- metadata ---- */

static const qc_meta *find_texts(const reading *r, const char *key)
{
    const qc_meta *meta = metas_find(r->found.metas, r->found.n_metas, key);
    return meta && meta->type == QC_TEXT ? meta : NULL;
}

static uint64_t find_count(const reading *r, const char *key)
{
    const qc_meta *meta = metas_find(r->found.metas, r->found.n_metas, key);
    return meta && meta->type == QC_U32 && meta->count == 1 ? *(const uint32_t *)meta->data : 0;
}

static qc_status read_metas(reading *r)
{
    statistics *s = r->statistics;
    const qc_meta *datasets = find_texts(r, "imatrix.datasets");
    qc_status status = QC_OK;
    for (uint64_t i = 0; datasets && i < datasets->count && status == QC_OK; i++) {
        const qc_text *text = (const qc_text *)datasets->data + i;
        status = statistics_add_dataset(s, r->job, text->data, text->length);
    }
    s->chunks = find_count(r, "imatrix.chunk_count");
    s->chunk_tokens = find_count(r, "imatrix.chunk_size");
    return status;
}

static int compare_texts(const qc_text *a, const qc_text *b)
{
    size_t least = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->data, b->data, least);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static qc_status read_sharing(reading *r)
{
    const qc_meta *names = find_texts(r, NAMES_KEY), *inputs = find_texts(r, INPUTS_KEY);
    if (!names && !inputs)
        return QC_OK;
    if (!names || !inputs || names->count != inputs->count)
        return qc_fail(r->job, QC_E_CORRUPT, "%s and %s are not two lists of one length", NAMES_KEY, INPUTS_KEY);
    r->names = names->data;
    r->inputs = inputs->data;
    r->n_shared = names->count;
    for (uint64_t i = 1; i < r->n_shared; i++)
        if (compare_texts(&r->names[i - 1], &r->names[i]) >= 0)
            return qc_fail(r->job, QC_E_CORRUPT, "%s is not in order", NAMES_KEY);
    return QC_OK;
}

/* ---- the file ---- */

static qc_status read_all(reading *r)
{
    qc_status status = r->file.format->scan(r->job, r->file.source, &r->found.scan, &r->index);
    if (status == QC_OK)
        status = contents_check(&r->found, r->job);
    if (status == QC_OK && r->found.n_tensors)
        qsort(r->found.tensors, r->found.n_tensors, sizeof(qc_tensor *), compare_tensors);
    if (status == QC_OK)
        status = read_sharing(r);
    if (status == QC_OK)
        status = read_entries(r);
    if (status != QC_OK)
        return status;
    if (r->statistics->n_names == 0 && r->n_strange > 0)
        return qc_fail(r->job, QC_E_INVALID, "none of its entries is for a tensor of this model");
    if (r->statistics->n_names == 0)
        return qc_fail(r->job, QC_E_INVALID, "holds no importance (no tensor named *%s)", SUM_SUFFIX);
    statistics_sort(r->statistics);
    return read_metas(r);
}

static qc_status read_file(qc_job *job, registry *plugins, const recipe *rec, const model *m, statistics *s)
{
    reading r = {.job = job, .model = m, .statistics = s};
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
    statistics *s = statistics_new(rec->run.memory);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    qc_status status = read_file(job, r, rec, m, s);
    if (status == QC_OK)
        *out = s;
    else
        statistics_free(s);
    return status;
}
