/* Writing: one file, or shards and an index where that would be larger than shard_bytes. */
#include "qcore/number.h"
#include "safetensors.h"

/* How the tensors are cut into shards: shard of each, and place in that shard's data. */
typedef struct shard_plan {
    qc_job *job;
    const qc_model *model;
    const qc_layout *out;
    uint32_t n_shards, *shard;
    uint64_t *begin;
} shard_plan;

const char *st_refuses(const qc_tensor *t)
{
    if (!st_dtype_by_encoding(t->encoding))
        return "safetensors has no dtype for this encoding";
    if (t->n_dims > QC_MAX_DIMS)
        return "at most 4 dimensions are supported";
    for (uint32_t i = 0; i < QC_MAX_DIMS; i++)
        if (t->dims[i] > ST_MAX_NUMBER)
            return "its dimensions are absurd"; /* possible where another one is 0 */
    if (!strcmp(t->name, ST_METADATA) || t->name[0] == '\0')
        return "this name is reserved";
    if (t->order)
        return "safetensors cannot store a column order";
    return NULL;
}

/* A shard ends before the tensor that would make it larger than shard_bytes. */
static qc_status cut(shard_plan *p, double shard_bytes)
{
    uint64_t at = 0;
    p->n_shards = 1;
    for (size_t i = 0; i < p->model->n_tensors; i++) {
        const qc_tensor *t = p->model->tensors[i];
        const char *why = st_refuses(t);
        if (why)
            return qc_fail(p->job, QC_E_UNSUPPORTED, "tensor '%.80s' (%s) cannot be written: %s", t->name, t->encoding,
                           why);
        if (t->bytes > INT64_MAX - at)
            return qc_fail(p->job, QC_E_LIMIT, "the model is too large");
        if (at > 0 && (double)(at + t->bytes) > shard_bytes) {
            p->n_shards++;
            at = 0;
        }
        p->shard[i] = p->n_shards - 1;
        p->begin[i] = at;
        at += t->bytes;
    }
    if (p->n_shards > 99999)
        return qc_fail(p->job, QC_E_LIMIT, "shard_bytes would make %u files, at most 99999 are possible", p->n_shards);
    return QC_OK;
}

static void shard_name(const shard_plan *p, uint32_t shard, char name[64])
{
    if (p->n_shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05u-of-%05u.safetensors", (unsigned)shard + 1, (unsigned)p->n_shards);
}

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

static json_t *tensor_json(const qc_tensor *t, uint64_t begin)
{
    json_t *shape = json_array();
    uint64_t end = begin + t->bytes;
    for (uint32_t i = t->n_dims; shape && i-- > 0;)
        json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", st_dtype_by_encoding(t->encoding)->name, "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* The header's JSON with the data's size in *bytes; NULL: a name or text that is not UTF-8, or out of memory. */
static json_t *header_json(const shard_plan *p, uint32_t shard, uint64_t *bytes)
{
    json_t *header = json_object();
    int ok = header && !json_object_set_new(header, ST_METADATA, metadata_json(p->model));
    *bytes = 0;
    for (size_t i = 0; i < p->model->n_tensors && ok; i++) {
        const qc_tensor *t = p->model->tensors[i];
        if (p->shard[i] != shard)
            continue;
        ok = !json_object_set_new(header, t->name, tensor_json(t, p->begin[i]));
        *bytes = p->begin[i] + t->bytes;
    }
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

static qc_status lay_out_shard(const shard_plan *p, uint32_t shard)
{
    char name[64];
    uint64_t data_bytes;
    size_t n = 0;
    uint32_t file = 0;
    shard_name(p, shard, name);
    json_t *header = header_json(p, shard, &data_bytes);
    unsigned char *bytes = header ? header_bytes(p->job, header, &n) : NULL;
    json_decref(header);
    if (!bytes)
        return qc_fail(p->job, QC_E_INVALID,
                       "%s: its header cannot be made: a name or text that is not UTF-8, or out of memory", name);
    qc_status status = p->out->file(p->out, p->job, name, n + data_bytes, &file);
    if (status == QC_OK)
        status = p->out->bytes(p->out, p->job, file, 0, bytes, n);
    p->job->host->free(p->job->host, bytes);
    for (size_t i = 0; i < p->model->n_tensors && status == QC_OK; i++)
        if (p->shard[i] == shard)
            status = p->out->place(p->out, p->job, i, file, n + p->begin[i]);
    return status;
}

static json_t *index_json(const shard_plan *p)
{
    uint64_t total = 0;
    json_t *weight_map = json_object();
    int ok = weight_map != NULL;
    for (size_t i = 0; i < p->model->n_tensors && ok; i++) {
        char name[64];
        shard_name(p, p->shard[i], name);
        ok = !json_object_set_new(weight_map, p->model->tensors[i]->name, json_string(name));
        total += p->model->tensors[i]->bytes;
    }
    if (ok)
        return json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", weight_map);
    json_decref(weight_map);
    return NULL;
}

static qc_status lay_out_index(const shard_plan *p)
{
    static const char name[] = "model" ST_INDEX_SUFFIX;
    uint32_t file = 0;
    json_t *index = index_json(p);
    size_t n = index ? json_dumpb(index, NULL, 0, JSON_INDENT(2)) : 0;
    char *text = n ? p->job->host->alloc(p->job->host, n) : NULL;
    if (text)
        json_dumpb(index, text, n, JSON_INDENT(2));
    json_decref(index);
    if (!text)
        return qc_fail(p->job, QC_E_NOMEM, "%s: out of memory", name);
    qc_status status = p->out->file(p->out, p->job, name, n, &file);
    if (status == QC_OK)
        status = p->out->bytes(p->out, p->job, file, 0, text, n);
    p->job->host->free(p->job->host, text);
    return status;
}

qc_status st_layout(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out, void **index)
{
    shard_plan p = {.job = job, .model = model, .out = out};
    *index = NULL;
    p.shard = job->scratch(job, (model->n_tensors + 1) * sizeof *p.shard);
    p.begin = job->scratch(job, (model->n_tensors + 1) * sizeof *p.begin);
    if (!p.shard || !p.begin)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the table of %llu tensors",
                       (unsigned long long)model->n_tensors);
    qc_status status = cut(&p, job->host->number(settings, "shard_bytes"));
    for (uint32_t shard = 0; shard < p.n_shards && status == QC_OK; shard++)
        status = lay_out_shard(&p, shard);
    if (status == QC_OK && p.n_shards > 1)
        status = lay_out_index(&p);
    return status;
}
