/* Reading: one file, or the index and all shards that it names. */
#include "qcore/number.h"
#include "read_packed.h"
#include <stdlib.h>

/* One file while it is read. */
typedef struct st_file {
    qc_job *job;
    const qc_source *src;
    const qc_scan *out;
    uint32_t file;
    const char *name;
    uint64_t data_at, data_bytes;
    json_t *header;
} st_file;

typedef struct span {
    uint64_t begin, end;
} span;

/* The header of f->file, parsed. */
static qc_status read_header(st_file *f)
{
    unsigned char head[8];
    uint64_t length = f->src->length(f->src, f->file);
    if (length < 8)
        return qc_fail(f->job, QC_E_CORRUPT, "%.100s: cut short: %llu bytes are no safetensors file", f->name,
                       (unsigned long long)length);
    qc_status status = f->src->read_at(f->src, f->job, f->file, 0, 8, head);
    if (status != QC_OK)
        return status;
    uint64_t n = qc_load_le64(head);
    if (n > ST_MAX_JSON)
        return qc_fail(f->job, QC_E_CORRUPT, "%.100s: a header of %llu bytes, at most %d are allowed", f->name,
                       (unsigned long long)n, ST_MAX_JSON);
    if (n > length - 8)
        return qc_fail(f->job, QC_E_CORRUPT, "%.100s: cut short: the header has %llu bytes, the file %llu", f->name,
                       (unsigned long long)n, (unsigned long long)length);
    char *text = f->job->host->alloc(f->job->host, (size_t)n + 1);
    if (!text)
        return qc_fail(f->job, QC_E_NOMEM, "%.100s: out of memory for its header", f->name);
    status = f->src->read_at(f->src, f->job, f->file, 8, (size_t)n, text);
    if (status == QC_OK)
        status = qc_parse_json(f->job, f->name, text, (size_t)n, &f->header);
    f->job->host->free(f->job->host, text);
    f->data_at = 8 + n;
    f->data_bytes = length - 8 - n;
    return status;
}

static qc_status bad_tensor(const st_file *f, const char *tensor, const char *why)
{
    return qc_fail(f->job, QC_E_CORRUPT, "%.100s: tensor '%.100s': %s", f->name, tensor, why);
}

/* A whole number, 0 or more, from a JSON number that was read as a real. */
static int whole_number(const json_t *number, uint64_t *value)
{
    double x = json_number_value(number);
    if (!json_is_number(number) || !(x >= 0.0 && x <= (double)ST_MAX_NUMBER))
        return 0;
    *value = (uint64_t)x;
    return (double)*value == x;
}

/* dims from "shape", and sizes from dims. */
static qc_status read_shape(const st_file *f, const json_t *shape, uint32_t value_bytes, qc_tensor *t)
{
    size_t n = json_array_size(shape);
    if (!json_is_array(shape))
        return bad_tensor(f, t->name, "\"shape\" is not a list");
    if (n > QC_MAX_DIMS)
        return qc_fail(f->job, QC_E_UNSUPPORTED,
                       "%.100s: tensor '%.100s' has %llu dimensions, at most %d are supported", f->name, t->name,
                       (unsigned long long)n, QC_MAX_DIMS);
    t->n_dims = (uint32_t)n;
    t->bytes = value_bytes;
    for (size_t i = 0; i < n; i++) {
        if (!whole_number(json_array_get(shape, n - 1 - i), &t->dims[i]))
            return bad_tensor(f, t->name, "\"shape\" holds something else than whole numbers");
        if (!qc_mul_size(t->bytes, t->dims[i], &t->bytes) || t->bytes > INT64_MAX)
            return bad_tensor(f, t->name, "its dimensions are absurd");
    }
    t->row_bytes = t->dims[0] * value_bytes;
    return QC_OK;
}

static qc_status read_offsets(const st_file *f, const json_t *offsets, const char *name, span *where)
{
    if (json_array_size(offsets) != 2 || !whole_number(json_array_get(offsets, 0), &where->begin) ||
        !whole_number(json_array_get(offsets, 1), &where->end))
        return bad_tensor(f, name, "\"data_offsets\" is not a pair of whole numbers");
    if (where->end < where->begin)
        return bad_tensor(f, name, "\"data_offsets\" end before they begin");
    if (where->end > f->data_bytes)
        return qc_fail(f->job, QC_E_CORRUPT,
                       "%.100s: cut short: tensor '%.100s' ends at byte %llu of the data, the file "
                       "has %llu",
                       f->name, name, (unsigned long long)where->end, (unsigned long long)f->data_bytes);
    return QC_OK;
}

static qc_status read_tensor(const st_file *f, const char *name, const json_t *entry, span *where)
{
    qc_tensor t = {.size = sizeof t, .file = f->file, .name = name, .dims = {1, 1, 1, 1}};
    const char *dtype_name = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype_name)
        return bad_tensor(f, name, "no \"dtype\"");
    const st_dtype *dtype = st_dtype_by_name(dtype_name);
    if (!dtype)
        return qc_fail(f->job, QC_E_UNSUPPORTED, "%.100s: tensor '%.100s' has the unknown dtype \"%.40s\"", f->name,
                       name, dtype_name);
    t.encoding = dtype->encoding;
    qc_status status = read_shape(f, json_object_get(entry, "shape"), dtype->bytes, &t);
    if (status == QC_OK)
        status = read_offsets(f, json_object_get(entry, "data_offsets"), name, where);
    if (status != QC_OK)
        return status;
    if (where->end - where->begin != t.bytes)
        return qc_fail(f->job, QC_E_CORRUPT,
                       "%.100s: tensor '%.100s': shape and dtype make %llu bytes, \"data_offsets\" "
                       "%llu",
                       f->name, name, (unsigned long long)t.bytes, (unsigned long long)(where->end - where->begin));
    t.at = f->data_at + where->begin;
    return f->out->tensor(f->out, f->job, &t);
}

static int by_place(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Tensors must cover the data without gaps and overlaps. */
static qc_status check_cover(const st_file *f, span *spans, size_t n)
{
    uint64_t next = 0;
    qsort(spans, n, sizeof *spans, by_place);
    for (size_t i = 0; i < n; i++) {
        if (spans[i].begin != next)
            return qc_fail(f->job, QC_E_CORRUPT, "%.100s: tensors %s at byte %llu of the data", f->name,
                           spans[i].begin < next ? "overlap" : "leave a gap",
                           (unsigned long long)(spans[i].begin < next ? spans[i].begin : next));
        next = spans[i].end;
    }
    if (next != f->data_bytes)
        return qc_fail(f->job, QC_E_CORRUPT, "%.100s: %llu bytes after the last tensor belong to none", f->name,
                       (unsigned long long)(f->data_bytes - next));
    return QC_OK;
}

static qc_status read_tensors(st_file *f)
{
    const char *name;
    json_t *entry;
    size_t n = 0;
    qc_status status = QC_OK;
    span *spans = f->job->host->alloc(f->job->host, (json_object_size(f->header) + 1) * sizeof *spans);
    if (!spans)
        return qc_fail(f->job, QC_E_NOMEM, "%.100s: out of memory for its table", f->name);
    json_object_foreach(f->header, name, entry)
    {
        if (!strcmp(name, ST_METADATA))
            continue;
        if (!st_clean_name(name))
            status = qc_fail(f->job, QC_E_CORRUPT, "%.100s: a tensor with an empty or unprintable name", f->name);
        else
            status = read_tensor(f, name, entry, &spans[n++]);
        if (status != QC_OK)
            break;
    }
    if (status == QC_OK)
        status = check_cover(f, spans, n);
    f->job->host->free(f->job->host, spans);
    return status;
}

/* "__metadata__" as texts "safetensors.KEY". */
static qc_status report_metadata(const st_file *f)
{
    json_t *metadata = json_object_get(f->header, ST_METADATA), *value;
    const char *name;
    qc_status status = QC_OK;
    if (metadata && !json_is_object(metadata))
        return qc_fail(f->job, QC_E_CORRUPT, "%.100s: \"" ST_METADATA "\" is not an object", f->name);
    json_object_foreach(metadata, name, value)
    {
        size_t bytes = sizeof ST_PREFIX + strlen(name);
        if (!json_is_string(value))
            return qc_fail(f->job, QC_E_CORRUPT, "%.100s: \"" ST_METADATA "\": '%.80s' is not a text", f->name, name);
        char *key = f->job->host->alloc(f->job->host, bytes);
        if (!key)
            return qc_fail(f->job, QC_E_NOMEM, "%.100s: out of memory for its metadata", f->name);
        snprintf(key, bytes, ST_PREFIX "%s", name);
        const qc_text text = {json_string_value(value), json_string_length(value)};
        status = f->out->meta(f->out, f->job, &(qc_meta){sizeof(qc_meta), key, QC_TEXT, 0, 1, &text});
        f->job->host->free(f->job->host, key);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

/* Index and header must name the same tensors for this file. weight_map NULL: no index. */
static qc_status check_index(const st_file *f, json_t *weight_map)
{
    const char *name;
    json_t *entry;
    json_object_foreach(weight_map, name, entry)
    {
        if (!strcmp(json_string_value(entry), f->name) && !json_object_get(f->header, name))
            return qc_fail(f->job, QC_E_CORRUPT, "%.100s: tensor '%.100s', which the index places here, is missing",
                           f->name, name);
    }
    json_object_foreach(f->header, name, entry)
    {
        const char *file = json_string_value(json_object_get(weight_map, name));
        if (weight_map && strcmp(name, ST_METADATA) != 0 && (!file || strcmp(file, f->name) != 0))
            return qc_fail(f->job, QC_E_CORRUPT, "%.100s: holds tensor '%.100s', which the index %s", f->name, name,
                           file ? "places in another file" : "does not know");
    }
    return QC_OK;
}

static qc_status read_file(qc_job *job, const qc_source *src, const qc_scan *out, uint32_t file, json_t *weight_map,
                           int with_metadata)
{
    st_file f = {.job = job, .src = src, .out = out, .file = file, .name = src->name(src, file)};
    qc_status status = read_header(&f);
    if (status == QC_OK)
        status = check_index(&f, weight_map);
    if (status == QC_OK)
        status = read_tensors(&f);
    if (status == QC_OK && with_metadata)
        status = report_metadata(&f);
    json_decref(f.header);
    return status;
}

/* The file names of weight_map, each once, in the order of their first tensor: keys of `shards`. */
static qc_status list_shards(qc_job *job, const char *index_name, json_t *weight_map, json_t *shards)
{
    const char *name;
    json_t *entry;
    if (!json_is_object(weight_map))
        return qc_fail(job, QC_E_CORRUPT, "%.100s: no \"weight_map\"", index_name);
    if (!shards)
        return qc_fail(job, QC_E_NOMEM, "%.100s: out of memory", index_name);
    json_object_foreach(weight_map, name, entry)
    {
        const char *file = json_string_value(entry);
        if (!st_clean_name(name))
            return qc_fail(job, QC_E_CORRUPT, "%.100s: a tensor with an empty or unprintable name", index_name);
        if (!file || !st_clean_name(file) || strpbrk(file, "/\\"))
            return qc_fail(job, QC_E_CORRUPT, "%.100s: tensor '%.100s' is not placed in a file of this folder",
                           index_name, name);
        if (json_object_set_new(shards, file, json_true()) != 0)
            return qc_fail(job, QC_E_NOMEM, "%.100s: out of memory", index_name);
    }
    return QC_OK;
}

static qc_status read_shards(qc_job *job, const qc_source *src, const qc_scan *out, const char *index_name,
                             const json_t *index)
{
    json_t *weight_map = json_object_get(index, "weight_map"), *shards = json_object(), *unused;
    const char *name;
    int first = 1;
    qc_status status = list_shards(job, index_name, weight_map, shards);
    if (status == QC_OK)
        json_object_foreach(shards, name, unused)
        {
            uint32_t file = 0;
            status = src->open(src, job, name, 0, &file);
            if (status == QC_OK)
                status = read_file(job, src, out, file, weight_map, first);
            if (status != QC_OK)
                break;
            first = 0;
        }
    json_decref(shards);
    return status;
}

static qc_status read_sharded(qc_job *job, const qc_source *src, const qc_scan *out, const char *index_name)
{
    json_t *index;
    qc_status status = qc_read_json(job, src, index_name, 1, ST_MAX_JSON, &index);
    if (status != QC_OK)
        return status;
    if (!index)
        return qc_fail(job, QC_E_IO, "%.100s is one of several shards, and their index %.100s is missing",
                       src->name(src, 0), index_name);
    status = read_shards(job, src, out, index_name, index);
    json_decref(index);
    return status;
}

/* PREFIX-00002-of-00003.safetensors: is this one, and what is its index called? */
static int index_of_shard(const char *name, char *index_name, size_t room)
{
    static const char form[] = "-#####-of-#####.safetensors";
    size_t n = strlen(name), tail = sizeof form - 1, prefix = n - tail;
    if (n < tail || prefix + sizeof ST_INDEX_SUFFIX > room)
        return 0;
    for (size_t i = 0; i < tail; i++) {
        char c = name[prefix + i];
        if (form[i] == '#' ? c < '0' || c > '9' : c != form[i])
            return 0;
    }
    snprintf(index_name, room, "%.*s" ST_INDEX_SUFFIX, (int)prefix, name);
    return 1;
}

qc_status st_scan_files(qc_job *job, const qc_source *src, const qc_scan *out)
{
    const char *name = src->name(src, 0);
    char index_name[512];
    if (st_ends_with(name, ST_INDEX_SUFFIX))
        return read_sharded(job, src, out, name);
    if (index_of_shard(name, index_name, sizeof index_name))
        return read_sharded(job, src, out, index_name);
    return read_file(job, src, out, 0, NULL, 1);
}

qc_status st_scan(qc_job *job, const qc_source *src, const qc_scan *out, void **index)
{
    pk_config config;
    *index = NULL;
    qc_status status = pk_read_config(job, src, &config);
    if (status != QC_OK)
        return status;
    return config.method == PK_NONE ? st_scan_files(job, src, out) : pk_scan(job, src, out, &config, index);
}
