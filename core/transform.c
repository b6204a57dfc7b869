/* Channel factors: a block's axes found by the architecture's table, methods asked, what they say folded into weights,
 * norms, biases and statistics. */
#include "core/chunk.h"
#include "core/job.h"
#include "core/names.h"
#include "core/rows.h"
#include "core/statistics_impl.h"
#include <stdlib.h>

enum { MAX_ENDS = 16, AXIS_NAME = 160 };

/* One tensor of an axis, as methods see it. */
typedef struct axis_end {
    qc_end api; /* first: its function gets it back */
    const pipeline *pipeline;
    work *work;
    qc_linear linear;
} axis_end;

typedef struct axis {
    pipeline *pipeline;
    statistics *statistics;
    qc_axis api;
    axis_end ends[2 * MAX_ENDS]; /* writers, then readers */
    const qc_end *writers[MAX_ENDS], *readers[MAX_ENDS];
    size_t n_writers, n_readers;
    uint32_t *map; /* channel of a reader's column, or NULL */
    char name[AXIS_NAME];
} axis;

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the factors of channels");
}

int pipeline_transforms(const pipeline *p)
{
    for (size_t i = 0; i < p->n_methods; i++)
        if (p->methods[i].desc && p->methods[i].desc->transform)
            return 1;
    return 0;
}

uint32_t pipeline_statistics(const pipeline *p, int transforms)
{
    uint32_t wanted = 0;
    for (size_t i = 0; transforms && i < p->n_methods; i++)
        wanted |= p->methods[i].desc->transform ? p->methods[i].desc->statistics : 0;
    return transforms || !p->rounder ? wanted : p->rounder->desc->statistics;
}

/* ---- weights as they are now ---- */

static int is_vector(const model_tensor *t)
{
    return t->n_rows == 1;
}

static void fold(const work *w, uint64_t row, size_t n, float *x)
{
    const factors *f = &w->factors;
    size_t cols = w->from.cols;
    int vector = is_vector(w->item->tensor);
    for (size_t k = 0; k < n; k++, x += cols) {
        float divide = f->divide && !vector ? f->divide[row + k] : 1.0f;
        for (size_t i = 0; i < cols; i++) {
            float value = f->multiply ? x[i] * f->multiply[i] : x[i];
            x[i] = value / (f->divide && vector ? f->divide[i] : divide);
        }
    }
}

static qc_status canonical_rows(const pipeline *p, qc_job *job, const work *w, uint64_t row, size_t n, float *x)
{
    return rows_load(p->plan->model, job, p->ops, w->item->tensor, &w->from, row, n, x);
}

int pipeline_is_scaled(const pipeline *p, size_t item)
{
    return is_scaled(&p->works[item]);
}

qc_status pipeline_folded(const pipeline *p, qc_job *job, size_t item, uint64_t row, size_t n, float *w, int *changed)
{
    const work *k = &p->works[item];
    *changed = is_scaled(k);
    qc_status status = *changed ? canonical_rows(p, job, k, row, n, w) : QC_OK;
    if (status == QC_OK && *changed)
        fold(k, row, n, w);
    return status;
}

static qc_status end_rows(const qc_end *api, qc_job *job, size_t first, size_t n, float *x)
{
    const axis_end *end = (const axis_end *)(const void *)api;
    qc_status status = canonical_rows(end->pipeline, job, end->work, first, n, x);
    if (status == QC_OK)
        fold(end->work, first, n, x);
    else if (status != QC_E_CANCELLED)
        job_add_context(job, "%s", end->work->item->tensor->name);
    return status;
}

/* ---- finding an axis ---- */

static work *find_work(const pipeline *p, const char *name)
{
    const model_tensor *t = model_find(p->plan->model, name);
    return t ? &p->works[t - p->plan->model->tensors] : NULL;
}

/* A vector may be of plain numbers; a matrix has to be rounded anyway, or factors would cost what is now exact. */
static int can_scale(const work *w)
{
    return w->view && w->from.desc && w->to.desc && w->n_matrices == 1 && (is_vector(w->item->tensor) || has_grid(w));
}

static void describe(axis_end *end, const axis *a, int reader)
{
    const model_tensor *t = end->work->item->tensor;
    int vector = is_vector(t);
    end->pipeline = a->pipeline;
    end->linear = (qc_linear){.size = sizeof end->linear,
                              .name = t->name,
                              .role = t->role,
                              .layer = t->layer,
                              .expert = -1,
                              .rows = (size_t)(vector ? t->dims[0] : t->dims[1]),
                              .cols = (size_t)(vector ? 1 : t->dims[0]),
                              .input = reader ? a->api.input : NULL,
                              .coder = &end->work->to};
    end->api = (qc_end){
        .size = sizeof end->api, .linear = &end->linear, .map = reader ? a->map : NULL, .rows = end_rows};
}

/* The names of one side; *whole 0 where one is missing or cannot be scaled: then there is no such axis. */
static int find_ends(axis *a, const char *names, uint32_t block, int reader, size_t *n, int *whole)
{
    char pattern[NAME_BYTES], name[NAME_BYTES];
    const name_numbers numbers = {block, 0};
    for (*n = 0; *(names += strspn(names, " ")); names += strcspn(names, " ")) {
        int optional = *names == '?';
        snprintf(pattern, sizeof pattern, "%.*s", (int)(strcspn(names, " ") - (size_t)optional), names + optional);
        if (*n == MAX_ENDS || !name_fill(pattern, numbers, name))
            return 0;
        work *w = find_work(a->pipeline, name);
        if (!w && optional)
            continue;
        *whole = *whole && w && can_scale(w);
        if (!*whole)
            return 1;
        a->ends[(size_t)(reader ? MAX_ENDS : 0) + (*n)++].work = w;
    }
    return 1;
}

static int is_reader(const axis *a, const work *w)
{
    for (size_t i = 0; i < a->n_readers; i++)
        if (a->ends[MAX_ENDS + i].work == w)
            return 1;
    return 0;
}

/* Whatever reads that input must be on the axis: a reader left out would compute something else. */
static int all_readers_known(const axis *a, uint32_t block)
{
    const qc_input *input = a->api.input;
    for (size_t i = 0; input && i < a->pipeline->n_works; i++) {
        const work *w = &a->pipeline->works[i];
        if (w->item->tensor->layer == (int32_t)block && !is_reader(a, w) &&
            statistics_input(a->statistics, w->item->tensor->name, 0) == input)
            return 0;
    }
    return 1;
}

static size_t channels_of(const work *writer)
{
    const model_tensor *t = writer->item->tensor;
    return (size_t)(is_vector(t) ? t->dims[0] : t->dims[1]);
}

/* Query heads read the key/value head of their group. */
static int map_heads(axis *a, uint32_t block, size_t n_cols, qc_status *status, qc_job *job)
{
    const model *m = a->pipeline->plan->model;
    uint64_t heads = model_count(m, "attention.head_count", block, 0);
    uint64_t key_heads = model_count(m, "attention.head_count_kv", block, heads);
    size_t n = a->api.n_channels;
    if (!heads || !key_heads || heads % key_heads || n % key_heads || n_cols != n / key_heads * heads)
        return 0;
    size_t width = (size_t)(n / key_heads), group = (size_t)(heads / key_heads);
    a->map = malloc(n_cols * sizeof *a->map);
    *status = a->map ? QC_OK : no_memory(job);
    for (size_t i = 0; a->map && i < n_cols; i++)
        a->map[i] = (uint32_t)(i / width / group * width + i % width);
    return a->map != NULL;
}

static int sizes_agree(const axis *a)
{
    for (size_t i = 0; i < a->n_writers; i++)
        if (channels_of(a->ends[i].work) != a->api.n_channels)
            return 0;
    size_t cols = a->ends[MAX_ENDS].work->from.cols;
    for (size_t i = 0; i < a->n_readers; i++)
        if (a->ends[MAX_ENDS + i].work->from.cols != cols)
            return 0;
    return a->map || cols == a->api.n_channels;
}

/* "attn_norm -> attn_q, attn_k, attn_v" */
static void name_axis(axis *a)
{
    size_t used = 0;
    for (size_t i = 0; i < a->n_writers + a->n_readers && used < sizeof a->name; i++) {
        size_t k = i < a->n_writers ? i : MAX_ENDS + i - a->n_writers;
        const char *before = i == 0 ? "" : i == a->n_writers ? " -> " : ", ";
        used += (size_t)snprintf(a->name + used, sizeof a->name - used, "%s%s", before,
                                 a->ends[k].work->item->tensor->role);
    }
}

static void show_ends(axis *a)
{
    for (size_t i = 0; i < a->n_writers; i++) {
        describe(&a->ends[i], a, 0);
        a->writers[i] = &a->ends[i].api;
    }
    for (size_t i = 0; i < a->n_readers; i++) {
        describe(&a->ends[MAX_ENDS + i], a, 1);
        a->readers[i] = &a->ends[MAX_ENDS + i].api;
    }
    name_axis(a);
    a->api.size = sizeof a->api;
    a->api.n_writers = a->n_writers;
    a->api.n_readers = a->n_readers;
    a->api.writers = a->writers;
    a->api.readers = a->readers;
    a->api.name = a->name;
}

/* *found 0: the block has no such axis, or one that cannot be scaled. */
static qc_status find_axis(axis *a, qc_job *job, const qc_axis_rule *rule, uint32_t block, int *found)
{
    int whole = 1;
    qc_status status = QC_OK;
    *found = 0;
    if (!find_ends(a, rule->writers, block, 0, &a->n_writers, &whole) ||
        !find_ends(a, rule->readers, block, 1, &a->n_readers, &whole))
        return qc_fail(job, QC_E_INTERNAL, "architecture %s: an axis has names that are too long, or too many",
                       a->pipeline->plan->model->architecture_id);
    if (!whole || !a->n_writers || !a->n_readers)
        return QC_OK;
    const work *reader = a->ends[MAX_ENDS].work;
    a->api.n_channels = channels_of(a->ends[0].work);
    a->api.input = statistics_input(a->statistics, reader->item->tensor->name, 0);
    if (rule->channels == QC_CHANNELS_VALUE_HEADS && !map_heads(a, block, reader->from.cols, &status, job))
        return status;
    *found = sizes_agree(a) && all_readers_known(a, block);
    show_ends(a);
    return QC_OK;
}

/* ---- factors ---- */

static qc_status check_factors(const axis *a, qc_job *job, const float *factor)
{
    for (size_t i = 0; i < a->api.n_channels; i++)
        if (!qc_is_finite(factor[i]) || !(factor[i] > 0.0f))
            return qc_fail(job, QC_E_NUMERIC, "%s: channel %zu got the factor %g; it must be positive", a->name, i,
                           (double)factor[i]);
    return QC_OK;
}

static int is_all_one(const float *factor, size_t n)
{
    size_t i = 0;
    while (i < n && factor[i] == 1.0f)
        i++;
    return i == n;
}

/* A norm that is kept in less than float32 would be rounded once more: the factor becomes that by which it is divided
 * in the end, so that the readers take back exactly what it lost. */
static qc_status fit_to_norm(const axis *a, qc_job *job, float *factor)
{
    const work *w = a->ends[0].work;
    size_t n = a->api.n_channels, mark = job_mark(job);
    if (a->n_writers != 1 || !is_vector(w->item->tensor) || !strcmp(w->to.desc->base.id, QC_ENCODING_F32))
        return QC_OK;
    float *norm = job->scratch(job, 2 * n * sizeof *norm), *kept = norm ? norm + n : NULL;
    void *bytes = job->scratch(job, w->to.row_bytes);
    if (!norm || !bytes)
        return no_memory(job);
    qc_status status = end_rows(&a->ends[0].api, job, 0, 1, norm);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        kept[i] = norm[i] / factor[i];
    if (status == QC_OK)
        status = qc_encode_rows(job, &w->to, bytes, kept, NULL, 1);
    if (status == QC_OK)
        status = qc_decode_rows(job, &w->to, kept, bytes, 1);
    for (size_t i = 0; i < n && status == QC_OK; i++) {
        float exact = kept[i] != 0.0f ? norm[i] / kept[i] : 0.0f;
        factor[i] = exact > 0.0f && qc_is_finite(exact) ? exact : factor[i];
    }
    job_release(job, mark);
    return status;
}

static qc_status times(qc_job *job, float **all, size_t n, const float *factor, const uint32_t *map)
{
    if (!*all) {
        *all = malloc(n * sizeof **all);
        if (!*all)
            return no_memory(job);
        for (size_t i = 0; i < n; i++)
            (*all)[i] = 1.0f;
    }
    for (size_t i = 0; i < n; i++)
        (*all)[i] *= factor[map ? map[i] : i];
    return QC_OK;
}

static void keep_figures(const qc_job *job, factors *f)
{
    size_t n;
    const job_figure *figures = job_figures(job, &n);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < f->n_figures && strcmp(f->figures[k].name, figures[i].name) != 0)
            k++;
        if (k == MAX_LINEAR_FIGURES)
            return;
        f->figures[k] = figures[i];
        f->n_figures += k == f->n_figures;
    }
}

static qc_status scale_record(statistics *s, qc_job *job, const work *reader, const float *factor, const uint32_t *map)
{
    size_t n = reader->from.cols, mark = job_mark(job);
    const char *name = reader->item->tensor->name;
    float *by_column = map ? job->scratch(job, n * sizeof *by_column) : NULL;
    if (map && !by_column)
        return no_memory(job);
    for (size_t i = 0; map && i < n; i++)
        by_column[i] = factor[map[i]];
    qc_status status = statistics_scale(s, job, name, 0, map ? by_column : factor);
    job_release(job, mark);
    return status;
}

/* Readers share one record where it was recorded, and have one each where it was read from a file. */
static qc_status scale_records(const axis *a, qc_job *job, const float *factor)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < a->n_readers && status == QC_OK; i++) {
        const work *w = a->ends[MAX_ENDS + i].work;
        const qc_input *input = statistics_input(a->statistics, w->item->tensor->name, 0);
        int again = 0;
        for (size_t k = 0; k < i && !again; k++)
            again = statistics_input(a->statistics, a->ends[MAX_ENDS + k].work->item->tensor->name, 0) == input;
        if (input && !again)
            status = scale_record(a->statistics, job, w, factor, a->map);
    }
    return status;
}

static qc_status apply(axis *a, qc_job *job, const float *factor)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < a->n_writers && status == QC_OK; i++)
        status = times(job, &a->ends[i].work->factors.divide, a->api.n_channels, factor, NULL);
    for (size_t i = 0; i < a->n_readers && status == QC_OK; i++)
        status = times(job, &a->ends[MAX_ENDS + i].work->factors.multiply, a->ends[MAX_ENDS + i].work->from.cols,
                       factor, a->map);
    return status == QC_OK ? scale_records(a, job, factor) : status;
}

static qc_status ask(axis *a, qc_job *job, const opened_method *m)
{
    size_t n = a->api.n_channels, mark = job_mark(job);
    float *factor = job->scratch(job, n * sizeof *factor);
    if (!factor)
        return no_memory(job);
    for (size_t i = 0; i < n; i++)
        factor[i] = 1.0f;
    job_forget_figures(job);
    qc_status status = m->desc->transform(job, m->state, &a->api, factor);
    if (status == QC_OK)
        status = check_factors(a, job, factor);
    for (size_t i = 0; i < a->n_readers && status == QC_OK; i++)
        keep_figures(job, &a->ends[MAX_ENDS + i].work->factors);
    if (status == QC_OK && !is_all_one(factor, n)) {
        status = fit_to_norm(a, job, factor);
        status = status == QC_OK ? apply(a, job, factor) : status;
    }
    job_release(job, mark);
    if (status != QC_OK && status != QC_E_CANCELLED) {
        job_add_context(job, "method %s", m->use->id);
        job_add_place(job, m->use->at.file, m->use->at.line, m->use->at.column);
    }
    return status;
}

static qc_status run_axis(pipeline *p, qc_job *job, statistics *s, const qc_axis_rule *rule, uint32_t block)
{
    axis *a = calloc(1, sizeof *a);
    int found = 0;
    if (!a)
        return no_memory(job);
    a->pipeline = p;
    a->statistics = s;
    qc_status status = find_axis(a, job, rule, block, &found);
    for (size_t i = 0; i < p->n_methods && found && status == QC_OK; i++)
        if (p->methods[i].desc->transform)
            status = ask(a, job, &p->methods[i]);
    if (status != QC_OK && status != QC_E_CANCELLED)
        job_add_context(job, "block %u", block);
    free(a->map);
    free(a);
    return status;
}

qc_status pipeline_transform(pipeline *p, qc_job *job, statistics *s, uint32_t block)
{
    const qc_axis_rule *rule = p->family && pipeline_transforms(p) ? p->family->axes : NULL;
    qc_status status = QC_OK;
    for (; rule && rule->writers && status == QC_OK; rule++)
        status = run_axis(p, job, s, rule, block);
    return status;
}

qc_status pipeline_scale_input(const pipeline *p, qc_job *job, statistics *s, size_t item)
{
    const work *w = &p->works[item];
    if (!w->factors.multiply || !statistics_input(s, w->item->tensor->name, 0))
        return QC_OK;
    return statistics_scale(s, job, w->item->tensor->name, 0, w->factors.multiply);
}
