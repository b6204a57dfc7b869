#include "core/model.h"
#include "core/array.h"
#include "core/contents.h"
#include "core/detect.h"
#include "core/import.h"
#include "core/job.h"
#include "core/names.h"
#include "core/roles.h"
#include "core/source.h"

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the list of tensors");
}

model_tensor *model_add_tensor(model *m, qc_job *job, const char *name, size_t n_runs)
{
    if (!array_reserve(&m->tensors, &m->capacity, m->n_tensors, sizeof *m->tensors)) {
        no_memory(job);
        return NULL;
    }
    model_tensor *t = &m->tensors[m->n_tensors];
    *t = (model_tensor){.name = strdup(name), .dims = {1, 1, 1, 1}, .n_runs = n_runs, .encoding = QC_ENCODING_F32};
    t->runs = calloc(n_runs ? n_runs : 1, sizeof *t->runs);
    if (t->name && t->runs) {
        m->n_tensors++;
        return t;
    }
    free(t->name);
    free(t->runs);
    no_memory(job);
    return NULL;
}

const char *head_count_key(uint32_t row_map)
{
    return row_map == QC_ROWS_PAIR_QUERY_HEADS ? "attention.head_count" : "attention.head_count_kv";
}

qc_status model_set_heads(qc_job *job, model_tensor *t, uint64_t heads)
{
    uint64_t rows = t->n_dims < 2 ? t->dims[0] : t->dims[1];
    if (heads == 0 || rows % heads != 0 || rows / heads % 2 != 0)
        return qc_fail(job, QC_E_INVALID, "%s: %llu rows cannot be cut into %llu heads of an even size", t->name,
                       (unsigned long long)rows, (unsigned long long)heads);
    t->head_rows = rows / heads;
    return QC_OK;
}

/* Names of the file are canonical: every tensor is what it is called. */
static qc_status take_as_they_are(qc_job *job, model *m)
{
    for (size_t i = 0; i < m->n_sources; i++) {
        const qc_tensor *s = m->sources[i];
        model_tensor *t = model_add_tensor(m, job, s->name, 1);
        if (!t)
            return QC_E_NOMEM;
        t->n_dims = s->n_dims;
        memcpy(t->dims, s->dims, sizeof t->dims);
        t->encoding = s->encoding;
        t->runs[0] = (row_run){(uint32_t)i, 0, tensor_rows(s)};
    }
    return QC_OK;
}

static void know_canonical_family(const registry *r, model *m)
{
    const qc_meta *meta = model_meta(m, "general.architecture");
    if (!meta || meta->type != QC_TEXT || meta->is_array)
        return;
    const qc_text *text = meta->data;
    char *name = strndup(text->data, text->length);
    const plugin_entry *e = name ? architecture_by(r, "gguf", name) : NULL;
    m->architecture_id = e ? strdup(e->id) : NULL;
    free(name);
}

static uint32_t dims_that_count(const model_tensor *t)
{
    uint32_t n = t->n_dims;
    while (n > 0 && t->dims[n - 1] == 1)
        n--;
    return n;
}

static int compare_tensors(const void *a, const void *b)
{
    return name_compare(((const model_tensor *)a)->name, ((const model_tensor *)b)->name);
}

/* What every tensor is for, and the order of the output. */
static qc_status finish_tensors(qc_job *job, model *m, const role_table *roles)
{
    if (m->n_tensors == 0)
        return qc_fail(job, QC_E_INVALID, "%s holds no tensors", m->path);
    qsort(m->tensors, m->n_tensors, sizeof *m->tensors, compare_tensors);
    for (size_t i = 0; i < m->n_tensors; i++) {
        model_tensor *t = &m->tensors[i];
        if (i > 0 && !strcmp(t->name, t[-1].name))
            return qc_fail(job, QC_E_CORRUPT, "tensor '%s' occurs twice", t->name);
        t->n_rows = t->dims[1] * t->dims[2] * t->dims[3];
        t->layer = name_block(t->name);
        t->role = role_find(roles, t->name, &t->keep);
        t->keep |= dims_that_count(t) < 2;
        t->source_name = strdup(t->n_runs ? m->sources[t->runs[0].source]->name : t->name);
        if (!t->source_name)
            return no_memory(job);
    }
    return QC_OK;
}

static qc_status read_headers(qc_job *job, registry *r, const recipe *rec, model *m)
{
    contents found, imported;
    contents_init(&found, m->source);
    contents_init(&imported, NULL);
    qc_status status = m->format->scan(job, m->source, &found.scan, &m->index);
    if (status == QC_OK && (status = contents_check(&found, job)) != QC_OK)
        job_add_context(job, "%s", m->source->name(m->source, 0));
    m->sources = found.tensors;
    m->n_sources = found.n_tensors;
    int canonical = (m->format->base.flags & QC_FORMAT_CANONICAL) != 0;
    if (status == QC_OK && !canonical)
        status = import_model(job, r, rec, m, &imported);
    contents *kept = canonical ? &found : &imported;
    m->metas = kept->metas;
    m->n_metas = kept->n_metas;
    kept->metas = NULL;
    kept->n_metas = 0;
    found.tensors = NULL;
    found.n_tensors = 0;
    contents_free(&found);
    contents_free(&imported);
    if (status == QC_OK && canonical)
        status = take_as_they_are(job, m);
    if (status == QC_OK && canonical)
        know_canonical_family(r, m);
    return status;
}

static qc_status detect_model(qc_job *job, registry *r, const recipe *rec, detected *d)
{
    qc_status status = detect_format(job, r, rec->model.path, rec->model.format.id, d);
    const plugin_entry *e = status == QC_OK ? registry_entry(r, "format", d->format_id) : NULL;
    const char *holds = e ? entry_value(e, "holds") : NULL;
    if (!holds || !strcmp(holds, "model"))
        return status;
    source_free(d->source);
    return qc_fail(job, QC_E_INVALID, "%s holds %s (format %s), not a model", rec->model.path, holds, e->id);
}

/* Statistics may come in a format that holds models too: the file then says so itself. */
static qc_status refuse_statistics(qc_job *job, const model *m)
{
    static const char statistics[] = "imatrix";
    const qc_meta *meta = model_meta(m, "general.type");
    const qc_text *text = meta && meta->type == QC_TEXT && !meta->is_array ? meta->data : NULL;
    if (!text || text->length != sizeof statistics - 1 || memcmp(text->data, statistics, text->length) != 0)
        return QC_OK;
    return qc_fail(job, QC_E_INVALID, "%s holds statistics, not a model: calibration.imatrix takes it", m->path);
}

qc_status model_open(qc_job *job, registry *r, const recipe *rec, const role_table *roles, model **out)
{
    detected d;
    *out = NULL;
    qc_status status = detect_model(job, r, rec, &d);
    if (status != QC_OK)
        return status;
    model *m = calloc(1, sizeof *m);
    if (!m) {
        source_free(d.source);
        return no_memory(job);
    }
    m->host = job->host;
    m->source = d.source;
    m->format = d.format;
    m->path = strdup(rec->model.path);
    m->format_id = strdup(d.format_id);
    status = m->path && m->format_id ? read_headers(job, r, rec, m) : no_memory(job);
    if (status == QC_OK)
        status = refuse_statistics(job, m);
    if (status == QC_OK)
        status = finish_tensors(job, m, roles);
    if (status != QC_OK)
        model_free(m);
    else
        *out = m;
    return status;
}

static void free_tensor(model_tensor *t)
{
    free(t->name);
    free(t->source_name);
    free(t->runs);
    free(t->values);
}

void model_free(model *m)
{
    if (!m)
        return;
    if (m->index && m->format->release)
        m->format->release(m->host, m->index);
    for (size_t i = 0; i < m->n_tensors; i++)
        free_tensor(&m->tensors[i]);
    for (size_t i = 0; i < m->n_sources; i++)
        free(m->sources[i]);
    for (size_t i = 0; i < m->n_metas; i++)
        free(m->metas[i]);
    source_free(m->source);
    free(m->tensors);
    free(m->sources);
    free(m->metas);
    free(m->path);
    free(m->format_id);
    free(m->architecture_id);
    free(m);
}

int model_in_parts(const model *m, const model_tensor *t)
{
    for (size_t i = 0; i < t->n_runs; i++)
        if (tensor_in_parts(m->sources[t->runs[i].source]))
            return 1;
    return 0;
}

const qc_meta *model_meta(const model *m, const char *key)
{
    return metas_find(m->metas, m->n_metas, key);
}

static const qc_meta *find_in_view(const qc_metadata *metadata, const char *key)
{
    return model_meta(((const model_view *)(const void *)metadata)->model, key);
}

model_view model_view_of(const model *m)
{
    return (model_view){{sizeof(qc_metadata), find_in_view}, m};
}

uint64_t model_count(const model *m, const char *key, size_t layer, uint64_t fallback)
{
    return metas_count(m->metas, m->n_metas, key, layer, fallback);
}

const model_tensor *model_find(const model *m, const char *name)
{
    size_t low = 0, high = m->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = name_compare(m->tensors[middle].name, name);
        if (order == 0)
            return &m->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
