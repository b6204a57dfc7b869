#include "shards.h"
#include "qcore/number.h"
#include <stdlib.h>

typedef struct shard_plan {
    qc_job *job;
    const qc_model *model;
    const qc_layout *out;
    st_array *arrays;
    size_t n;
    st_array **order; /* by shard; in a shard as the reference implementation sorts: by dtype, then by name */
    uint32_t n_shards;
} shard_plan;

qc_status st_size_array(qc_job *job, st_array *a)
{
    a->bytes = a->dtype->bytes;
    for (uint32_t i = 0; i < a->n_dims; i++)
        if (a->dims[i] > ST_MAX_NUMBER || !qc_mul_size(a->bytes, a->dims[i], &a->bytes) || a->bytes > INT64_MAX)
            return qc_fail(job, QC_E_LIMIT, "tensor '%.80s': its dimensions are absurd", a->name);
    return QC_OK;
}

/* ---- cutting ---- */

/* A shard ends before the tensor that would make it larger than shard_bytes. */
static qc_status cut(shard_plan *p, double shard_bytes)
{
    uint64_t at = 0;
    p->n_shards = 1;
    for (size_t i = 0, next; i < p->n; i = next) {
        uint64_t bytes = 0;
        for (next = i; next < p->n && p->arrays[next].tensor == p->arrays[i].tensor; next++) {
            if (p->arrays[next].bytes > INT64_MAX - at - bytes)
                return qc_fail(p->job, QC_E_LIMIT, "the model is too large");
            bytes += p->arrays[next].bytes;
        }
        if (at > 0 && (double)(at + bytes) > shard_bytes) {
            p->n_shards++;
            at = 0;
        }
        for (size_t k = i; k < next; k++)
            p->arrays[k].shard = p->n_shards - 1;
        at += bytes;
    }
    if (p->n_shards > 99999)
        return qc_fail(p->job, QC_E_LIMIT, "shard_bytes would make %u files, at most 99999 are possible", p->n_shards);
    return QC_OK;
}

static int by_place(const void *a, const void *b)
{
    const st_array *x = *(st_array *const *)a, *y = *(st_array *const *)b;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (x->dtype != y->dtype)
        return x->dtype < y->dtype ? -1 : 1; /* one table, sorted */
    return strcmp(x->name, y->name);
}

static void sort(shard_plan *p)
{
    uint64_t at = 0;
    for (size_t i = 0; i < p->n; i++)
        p->order[i] = &p->arrays[i];
    qsort(p->order, p->n, sizeof *p->order, by_place);
    for (size_t i = 0; i < p->n; i++) {
        at = i && p->order[i]->shard == p->order[i - 1]->shard ? at : 0;
        p->order[i]->begin = at;
        at += p->order[i]->bytes;
    }
}

static void shard_name(const shard_plan *p, uint32_t shard, char name[64])
{
    if (p->n_shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05u-of-%05u.safetensors", (unsigned)shard + 1, (unsigned)p->n_shards);
}

/* ---- a shard ---- */

/* A text in JSON; NULL: not UTF-8, or with a zero byte, which readers do not expect. */
static json_t *text_json(const qc_text *text)
{
    const char *data = text->length ? text->data : "";
    return memchr(data, 0, text->length) ? NULL : json_stringn(data, text->length);
}

/* Metadata that came from a safetensors file, and "format", which Hugging Face's loaders ask for. */
static json_t *metadata_json(const qc_model *model)
{
    json_t *metadata = json_object();
    int ok = metadata != NULL;
    for (size_t i = 0; i < model->n_metas && ok; i++) {
        const qc_meta *m = model->metas[i];
        const qc_text *text = m->data;
        if (m->type == QC_TEXT && !m->is_array && !strncmp(m->key, ST_PREFIX, sizeof ST_PREFIX - 1))
            ok = !json_object_set_new(metadata, m->key + sizeof ST_PREFIX - 1, text_json(text));
    }
    if (ok && !json_object_get(metadata, "format"))
        ok = !json_object_set_new(metadata, "format", json_string("pt"));
    if (ok)
        return metadata;
    json_decref(metadata);
    return NULL;
}

static json_t *array_json(const st_array *a)
{
    json_t *shape = json_array();
    uint64_t end = a->begin + a->bytes;
    for (uint32_t i = 0; shape && i < a->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)a->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", a->dtype->name, "shape", shape, "data_offsets",
                     (json_int_t)a->begin, (json_int_t)end);
}

/* The header's JSON of arrays order[0 .. n); NULL: a name or text that is not UTF-8, a name twice, or out of memory. */
static json_t *header_json(const shard_plan *p, st_array *const *order, size_t n)
{
    json_t *header = json_object();
    int ok = header && !json_object_set_new(header, ST_METADATA, metadata_json(p->model));
    for (size_t i = 0; i < n && ok; i++)
        ok = !json_object_get(header, order[i]->name) &&
             !json_object_set_new(header, order[i]->name, array_json(order[i]));
    if (ok)
        return header;
    json_decref(header);
    return NULL;
}

/* Header length and header in one block, padded with spaces to a multiple of 8. Owned: host->free. */
static unsigned char *header_bytes(qc_job *job, const json_t *header, size_t *n)
{
    size_t json = json_dumpb(header, NULL, 0, JSON_COMPACT), padded = (json + 7) & ~(size_t)7;
    unsigned char *bytes = job->host->alloc(job->host, 8 + padded);
    if (!bytes)
        return NULL;
    memset(bytes + 8, ' ', padded);
    json_dumpb(header, (char *)bytes + 8, json, JSON_COMPACT);
    qc_store_le64(bytes, padded);
    *n = 8 + padded;
    return bytes;
}

static qc_status lay_out_shard(const shard_plan *p, uint32_t shard, st_array *const *order, size_t n)
{
    char name[64];
    size_t n_head = 0;
    uint32_t file = 0;
    uint64_t data_bytes = n ? order[n - 1]->begin + order[n - 1]->bytes : 0;
    shard_name(p, shard, name);
    json_t *header = header_json(p, order, n);
    unsigned char *bytes = header ? header_bytes(p->job, header, &n_head) : NULL;
    json_decref(header);
    if (!bytes)
        return qc_fail(
            p->job, QC_E_INVALID,
            "%s: its header cannot be made: a name or text that is not UTF-8, a name that comes twice, or out of "
            "memory",
            name);
    qc_status status = p->out->file(p->out, p->job, name, n_head + data_bytes, &file);
    if (status == QC_OK)
        status = p->out->bytes(p->out, p->job, file, 0, bytes, n_head);
    p->job->host->free(p->job->host, bytes);
    for (size_t i = 0; i < n; i++) {
        order[i]->file = file;
        order[i]->at = n_head + order[i]->begin;
    }
    return status;
}

static qc_status lay_out_shards(const shard_plan *p)
{
    qc_status status = QC_OK;
    size_t first = 0;
    for (uint32_t shard = 0; shard < p->n_shards && status == QC_OK; shard++) {
        size_t end = first;
        while (end < p->n && p->order[end]->shard == shard)
            end++;
        status = lay_out_shard(p, shard, p->order + first, end - first);
        first = end;
    }
    return status;
}

/* ---- other files ---- */

qc_status st_lay_out_text(qc_job *job, const qc_layout *out, const char *name, const char *text, size_t n)
{
    uint32_t file = 0;
    qc_status status = out->file(out, job, name, n, &file);
    return status == QC_OK ? out->bytes(out, job, file, 0, text, n) : status;
}

qc_status st_lay_out_json(qc_job *job, const qc_layout *out, const char *name, json_t *root)
{
    size_t n = root ? json_dumpb(root, NULL, 0, JSON_INDENT(2)) : 0;
    char *text = n ? job->host->alloc(job->host, n + 1) : NULL;
    if (text)
        json_dumpb(root, text, n, JSON_INDENT(2));
    json_decref(root);
    if (!text)
        return qc_fail(job, QC_E_NOMEM, "%s: out of memory", name);
    text[n] = '\n';
    qc_status status = st_lay_out_text(job, out, name, text, n + 1);
    job->host->free(job->host, text);
    return status;
}

static json_t *index_json(const shard_plan *p)
{
    uint64_t total = 0;
    json_t *weight_map = json_object();
    int ok = weight_map != NULL;
    for (size_t i = 0; i < p->n && ok; i++) {
        char name[64];
        shard_name(p, p->arrays[i].shard, name);
        ok = !json_object_set_new(weight_map, p->arrays[i].name, json_string(name));
        total += p->arrays[i].bytes;
    }
    if (ok)
        return json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", weight_map);
    json_decref(weight_map);
    return NULL;
}

qc_status st_lay_out(qc_job *job, const qc_model *model, st_array *arrays, size_t n, double shard_bytes,
                     const qc_layout *out)
{
    shard_plan p = {.job = job, .model = model, .out = out, .arrays = arrays, .n = n};
    p.order = job->scratch(job, (n + 1) * sizeof *p.order);
    if (!p.order)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the table of %zu tensors", n);
    qc_status status = cut(&p, shard_bytes);
    if (status != QC_OK)
        return status;
    sort(&p);
    status = lay_out_shards(&p);
    if (status == QC_OK && p.n_shards > 1)
        status = st_lay_out_json(job, out, "model" ST_INDEX_SUFFIX, index_json(&p));
    return status;
}
