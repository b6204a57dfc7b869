#include "core/import.h"
#include "core/array.h"
#include "core/names.h"
#include "qcore/json.h"

enum { MAX_CONFIG_BYTES = 16 << 20 };

/* A tensor of the source that a rule of the table knows. */
typedef struct match {
    const qc_name_rule *rule;
    name_numbers numbers;
    uint32_t source; /* index into model.sources */
    char *canonical;
} match;

/* What the configuration says of every tensor whose rule has this canonical name. */
typedef struct shape {
    char canonical[NAME_BYTES];
    uint64_t cols, rows; /* rows 0: a vector */
} shape;

typedef struct importer {
    qc_job *job;
    registry *registry;
    const recipe *recipe;
    model *model;
    contents *out;
    const qc_architecture_desc *desc;
    match *matches;
    size_t n_matches, capacity;
    shape *shapes;
    size_t n_shapes, shapes_capacity;
} importer;

const plugin_entry *architecture_by(const registry *r, const char *key, const char *value)
{
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        if (e->state == PLUGIN_USABLE && !strcmp(e->kind, "architecture") && list_has(entry_value(e, key), value))
            return e;
    }
    return NULL;
}

/* ---- which family ---- */

static qc_status fail_unknown_class(const importer *im, const char *class_name)
{
    char known[300] = "";
    size_t used = 0;
    for (size_t i = 0; i < registry_count(im->registry); i++) {
        const plugin_entry *e = registry_at(im->registry, i);
        const char *classes = e->state == PLUGIN_USABLE && !strcmp(e->kind, "architecture") ? entry_value(e, "classes")
                                                                                            : NULL;
        if (classes && used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", classes);
    }
    return qc_fail(im->job, QC_E_UNSUPPORTED,
                   "config.json: no architecture plugin knows '%.80s'; known: %s (model.architecture forces one)",
                   class_name, used ? known : "none");
}

/* The first of config.json's "architectures" that a plugin knows. */
static qc_status find_family(const importer *im, const char **id)
{
    json_t *config = NULL;
    qc_status status = qc_read_json(im->job, im->model->source, "config.json", 0, MAX_CONFIG_BYTES, &config);
    if (status != QC_OK)
        return status;
    const json_t *classes = json_object_get(config, "architectures");
    const plugin_entry *e = NULL;
    for (size_t i = 0; i < json_array_size(classes) && !e; i++) {
        const char *name = json_string_value(json_array_get(classes, i));
        e = name ? architecture_by(im->registry, "classes", name) : NULL;
    }
    const char *first = json_string_value(json_array_get(classes, 0));
    if (e)
        *id = e->id;
    else if (first)
        status = fail_unknown_class(im, first);
    else
        status = qc_fail(im->job, QC_E_INVALID, "config.json: \"architectures\" does not name a model class");
    json_decref(config);
    return status;
}

static qc_status open_family(importer *im)
{
    const void *desc;
    const char *id = im->recipe->model.architecture.id;
    qc_status status = id && strcmp(id, "auto") != 0 ? QC_OK : find_family(im, &id);
    if (status == QC_OK)
        status = registry_open(im->registry, im->job, "architecture", id, &desc);
    if (status != QC_OK)
        return status;
    im->desc = desc;
    im->model->architecture_id = strdup(id);
    return im->model->architecture_id ? QC_OK : qc_fail(im->job, QC_E_NOMEM, "out of memory");
}

/* ---- its metadata, generated tensors and shapes ---- */

typedef struct import_sink {
    qc_import base;
    importer *im;
} import_sink;

static qc_status take_vector(const qc_import *out, qc_job *job, const char *canonical, const float *values, size_t n)
{
    const import_sink *sink = (const import_sink *)(const void *)out;
    if (n == 0 || n > SIZE_MAX / sizeof *values)
        return qc_fail(job, QC_E_INTERNAL, "generated tensor '%.100s' has %zu elements", canonical, n);
    model_tensor *t = model_add_tensor(sink->im->model, job, canonical, 0);
    if (!t)
        return QC_E_NOMEM;
    t->n_dims = 1;
    t->dims[0] = n;
    t->flags = QC_NAME_KEEP_F32;
    t->values = malloc(n * sizeof *values);
    if (!t->values)
        return qc_fail(job, QC_E_NOMEM, "out of memory for '%.100s'", canonical);
    memcpy(t->values, values, n * sizeof *values);
    return QC_OK;
}

static qc_status take_shape(const qc_import *out, qc_job *job, const char *canonical, uint64_t cols, uint64_t rows)
{
    importer *im = ((const import_sink *)(const void *)out)->im;
    if (!array_reserve(&im->shapes, &im->shapes_capacity, im->n_shapes, sizeof *im->shapes))
        return qc_fail(job, QC_E_NOMEM, "out of memory for the list of shapes");
    shape *s = &im->shapes[im->n_shapes++];
    snprintf(s->canonical, sizeof s->canonical, "%s", canonical);
    s->cols = cols;
    s->rows = rows;
    return QC_OK;
}

static qc_status import_configuration(importer *im)
{
    const import_sink sink = {
        {.size = sizeof sink.base, .scan = &im->out->scan, .vector = take_vector, .shape = take_shape}, im};
    return im->desc->import(im->job, im->model->source, &sink.base);
}

/* ---- names ---- */

static qc_status match_source(importer *im, uint32_t source)
{
    const char *name = im->model->sources[source]->name;
    char canonical[NAME_BYTES];
    match found = {.source = source};
    for (const qc_name_rule *rule = im->desc->names; rule->source; rule++) {
        if (!name_match(rule->source, name, &found.numbers))
            continue;
        if (rule->flags & QC_NAME_DROP)
            return QC_OK;
        found.rule = rule;
        break;
    }
    if (!found.rule)
        return qc_fail(im->job, QC_E_UNSUPPORTED, "tensor '%.200s' has no place in a model of family %s", name,
                       im->model->architecture_id);
    if (!name_fill(found.rule->canonical, found.numbers, canonical))
        return qc_fail(im->job, QC_E_INTERNAL, "tensor '%.200s': its canonical name is too long", name);
    if (!array_reserve(&im->matches, &im->capacity, im->n_matches, sizeof *im->matches) ||
        !(found.canonical = strdup(canonical)))
        return qc_fail(im->job, QC_E_NOMEM, "out of memory for the list of tensors");
    im->matches[im->n_matches++] = found;
    return QC_OK;
}

static int compare_matches(const void *a, const void *b)
{
    const match *x = a, *y = b;
    int order = strcmp(x->canonical, y->canonical);
    if (order != 0)
        return order;
    return (x->numbers.expert > y->numbers.expert) - (x->numbers.expert < y->numbers.expert);
}

static int has_canonical(const importer *im, const char *name)
{
    size_t low = 0, high = im->n_matches;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(im->matches[middle].canonical, name);
        if (order == 0)
            return 1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

static uint64_t count_of(const importer *im, const char *key, size_t layer)
{
    return metas_count(im->out->metas, im->out->n_metas, key, layer, 0);
}

/* Every rule that is not optional must have met its tensor, in every block. */
static qc_status demand_all(const importer *im)
{
    char canonical[NAME_BYTES], source[NAME_BYTES];
    uint64_t n_blocks = count_of(im, "block_count", 0);
    for (const qc_name_rule *rule = im->desc->names; rule->source; rule++) {
        if (rule->flags & (QC_NAME_DROP | QC_NAME_OPTIONAL))
            continue;
        uint64_t n = name_has_block(rule->canonical) ? n_blocks : 1;
        for (uint64_t block = 0; block < n; block++) {
            const name_numbers numbers = {block, 0};
            if (!name_fill(rule->canonical, numbers, canonical) || !name_fill(rule->source, numbers, source))
                return qc_fail(im->job, QC_E_INTERNAL, "name '%.100s' is too long", rule->canonical);
            if (!has_canonical(im, canonical))
                return qc_fail(im->job, QC_E_INVALID, "tensor '%s' (%s in GGUF) is missing", source, canonical);
        }
    }
    return QC_OK;
}

/* ---- canonical tensors ---- */

/* Matches [first, first + n) have one canonical name: one tensor, or the experts 0 .. n - 1. */
static qc_status check_group(const importer *im, const match *first, size_t n)
{
    const qc_tensor *one = im->model->sources[first->source];
    uint64_t n_blocks = count_of(im, "block_count", 0), n_experts = count_of(im, "expert_count", 0);
    if (name_has_block(first->rule->canonical) && n_blocks && first->numbers.block >= n_blocks)
        return qc_fail(im->job, QC_E_INVALID, "tensor '%.200s' is of block %llu, but config.json says %llu blocks",
                       one->name, (unsigned long long)first->numbers.block, (unsigned long long)n_blocks);
    if (!name_has_expert(first->rule->source))
        return n == 1 ? QC_OK
                      : qc_fail(im->job, QC_E_INVALID, "tensors '%.150s' and '%.150s' are both %s", one->name,
                                im->model->sources[first[1].source]->name, first->canonical);
    if (n_experts && n != n_experts)
        return qc_fail(im->job, QC_E_INVALID, "%s: %zu experts, but config.json says %llu", first->canonical, n,
                       (unsigned long long)n_experts);
    for (size_t i = 0; i < n; i++) {
        const qc_tensor *s = im->model->sources[first[i].source];
        if (first[i].numbers.expert != i)
            return qc_fail(im->job, QC_E_INVALID, "%s: expert %zu is missing", first->canonical, i);
        if (s->n_dims > 2 || memcmp(s->dims, one->dims, sizeof s->dims) != 0 || strcmp(s->encoding, one->encoding) != 0)
            return qc_fail(im->job, QC_E_INVALID, "tensor '%.150s' differs in shape or type from '%.150s'", s->name,
                           one->name);
    }
    return QC_OK;
}

static void set_shape(model_tensor *t, const qc_tensor *s, const qc_name_rule *rule, size_t n)
{
    t->n_dims = s->n_dims;
    memcpy(t->dims, s->dims, sizeof t->dims);
    t->encoding = s->encoding;
    t->flags = rule->flags;
    t->row_map = rule->rows;
    if (rule->flags & QC_NAME_TRANSPOSE) {
        t->dims[0] = s->dims[1];
        t->dims[1] = s->dims[0];
    }
    if (name_has_expert(rule->source)) {
        t->n_dims = 3;
        t->dims[2] = n;
    }
}

/* "[2, 3]" as Hugging Face writes it, rows first. */
static void print_shape(char *text, size_t size, uint32_t n_dims, const uint64_t *dims)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (uint32_t i = n_dims; i-- > 0 && used < size;)
        used += (size_t)snprintf(text + used, size - used, "%llu%s", (unsigned long long)dims[i], i ? ", " : "]");
}

/* Against what the configuration says, if it says anything. */
static qc_status check_shape(const importer *im, const qc_name_rule *rule, const qc_tensor *s)
{
    char found[100], wanted[60];
    const int turned = (rule->flags & QC_NAME_TRANSPOSE) != 0;
    for (size_t i = 0; i < im->n_shapes; i++) {
        const shape *w = &im->shapes[i];
        const uint64_t dims[2] = {turned ? w->rows : w->cols, turned ? w->cols : w->rows};
        const uint32_t n_dims = w->rows ? 2 : 1;
        if (strcmp(w->canonical, rule->canonical) != 0)
            continue;
        if (s->n_dims == n_dims && memcmp(s->dims, dims, n_dims * sizeof *dims) == 0)
            return QC_OK;
        print_shape(found, sizeof found, s->n_dims, s->dims);
        print_shape(wanted, sizeof wanted, n_dims, dims);
        return qc_fail(im->job, QC_E_INVALID, "tensor '%.200s' has the shape %s; config.json asks for %s", s->name,
                       found, wanted);
    }
    return QC_OK;
}

static qc_status add_group(const importer *im, const match *first, size_t n)
{
    model *m = im->model;
    const qc_tensor *s = m->sources[first->source];
    qc_status status = check_group(im, first, n);
    if (status == QC_OK)
        status = check_shape(im, first->rule, s);
    if (status != QC_OK)
        return status;
    if (!(first->rule->flags & QC_NAME_KEEP_F32) && s->n_dims < 2)
        return qc_fail(im->job, QC_E_INVALID, "tensor '%.200s' must be a matrix, it has %u dimension%s", s->name,
                       s->n_dims, s->n_dims == 1 ? "" : "s");
    if (first->rule->flags & QC_NAME_TRANSPOSE && (s->n_dims != 2 || n > 1))
        return qc_fail(im->job, QC_E_INVALID, "tensor '%.200s' must have two dimensions", s->name);
    model_tensor *t = model_add_tensor(m, im->job, first->canonical, n);
    if (!t)
        return QC_E_NOMEM;
    set_shape(t, s, first->rule, n);
    for (size_t i = 0; i < n; i++)
        t->runs[i] = (row_run){first[i].source, 0, tensor_rows(m->sources[first[i].source])};
    if (!t->row_map)
        return QC_OK;
    uint64_t heads = count_of(im, head_count_key(t->row_map), (size_t)first->numbers.block);
    return model_set_heads(im->job, t, heads);
}

static qc_status import_names(importer *im)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < im->model->n_sources && status == QC_OK; i++)
        status = match_source(im, (uint32_t)i);
    if (status != QC_OK)
        return status;
    if (im->n_matches)
        qsort(im->matches, im->n_matches, sizeof *im->matches, compare_matches);
    status = demand_all(im);
    for (size_t i = 0, n; i < im->n_matches && status == QC_OK; i += n) {
        for (n = 1; i + n < im->n_matches && !strcmp(im->matches[i].canonical, im->matches[i + n].canonical);)
            n++;
        status = add_group(im, &im->matches[i], n);
    }
    return status;
}

qc_status import_model(qc_job *job, registry *r, const recipe *rec, model *m, contents *out)
{
    importer im = {.job = job, .registry = r, .recipe = rec, .model = m, .out = out};
    qc_status status = open_family(&im);
    if (status == QC_OK)
        status = import_configuration(&im);
    if (status == QC_OK)
        status = import_names(&im);
    if (status == QC_OK)
        status = import_tokenizer(job, r, rec, m, out);
    if (status == QC_OK)
        status = contents_check(out, job);
    for (size_t i = 0; i < im.n_matches; i++)
        free(im.matches[i].canonical);
    free(im.matches);
    free(im.shapes);
    return status;
}
