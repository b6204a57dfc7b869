#include "core/contents.h"
#include "core/array.h"

enum { MAX_TENSORS = 1 << 20, MAX_METAS = 1 << 16, MAX_NAME = 1000, MAX_ENCODING = 63 };

uint64_t tensor_rows(const qc_tensor *t)
{
    return t->dims[1] * t->dims[2] * t->dims[3]; /* bounded when the tensor was reported */
}

static contents *of(const qc_scan *scan)
{
    return (contents *)scan;
}

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the list of tensors and metadata");
}

/* Their struct, which may be shorter, in a full one of ours; dims that are not given are 1. */
static qc_tensor complete(const qc_tensor *theirs)
{
    qc_tensor t = {0};
    memcpy(&t, theirs, theirs->size < sizeof t ? theirs->size : sizeof t);
    t.size = sizeof t;
    for (uint32_t i = t.n_dims; i < QC_MAX_DIMS; i++)
        t.dims[i] = 1;
    return t;
}

static qc_status check_tensor(const contents *c, qc_job *job, const qc_tensor *t)
{
    uint64_t n = 1, bytes = 0;
    if (!t->name || !*t->name || strlen(t->name) > MAX_NAME)
        return qc_fail(job, QC_E_CORRUPT, "a tensor without a name, or with one longer than %d bytes", MAX_NAME);
    if (!t->encoding || !*t->encoding || strlen(t->encoding) > MAX_ENCODING)
        return qc_fail(job, QC_E_CORRUPT, "tensor '%s': no encoding", t->name);
    if (t->n_dims > QC_MAX_DIMS)
        return qc_fail(job, QC_E_CORRUPT, "tensor '%s' has %u dimensions, at most %d are allowed", t->name, t->n_dims,
                       QC_MAX_DIMS);
    for (size_t i = 0; i < QC_MAX_DIMS; i++)
        if (t->dims[i] == 0)
            return qc_fail(job, QC_E_CORRUPT, "tensor '%s' has no elements: dimension %zu is 0", t->name, i);
        else if (!qc_mul_size(n, t->dims[i], &n) || n > INT64_MAX / 8)
            return qc_fail(job, QC_E_CORRUPT, "tensor '%s': its dimensions are absurd", t->name);
    if (t->row_bytes && (!qc_mul_size(t->row_bytes, tensor_rows(t), &bytes) || bytes != t->bytes))
        return qc_fail(job, QC_E_CORRUPT, "tensor '%s': %llu bytes do not make its rows", t->name,
                       (unsigned long long)t->bytes);
    if (!c->source || !t->row_bytes || tensor_in_parts(t))
        return QC_OK;
    uint64_t length = c->source->length(c->source, t->file);
    if (t->at > length || t->bytes > length - t->at)
        return qc_fail(job, QC_E_CORRUPT, "%s: cut short: tensor '%s' ends at byte %llu, the file has %llu",
                       c->source->name(c->source, t->file), t->name,
                       (unsigned long long)t->at + (unsigned long long)t->bytes, (unsigned long long)length);
    return QC_OK;
}

/* One block: the tensor, its order (which needs the alignment), its texts. */
static qc_tensor *copy_tensor(const qc_tensor *t)
{
    size_t name = strlen(t->name) + 1, encoding = strlen(t->encoding) + 1;
    uint64_t order = 0;
    if (t->order && (!qc_mul_size(t->dims[0], sizeof *t->order, &order) || order > SIZE_MAX / 2))
        return NULL;
    char *block = malloc(sizeof *t + (size_t)order + name + encoding);
    if (!block)
        return NULL;
    qc_tensor *copy = (qc_tensor *)(void *)block;
    *copy = *t;
    block += sizeof *t;
    if (t->order)
        copy->order = memcpy(block, t->order, (size_t)order);
    copy->name = memcpy(block + order, t->name, name);
    copy->encoding = memcpy(block + order + name, t->encoding, encoding);
    return copy;
}

static qc_status report_tensor(const qc_scan *scan, qc_job *job, const qc_tensor *theirs)
{
    contents *c = of(scan);
    qc_tensor t = complete(theirs);
    qc_status status = check_tensor(c, job, &t);
    if (status != QC_OK)
        return status;
    if (c->n_tensors == MAX_TENSORS)
        return qc_fail(job, QC_E_LIMIT, "more than %d tensors", MAX_TENSORS);
    if (!array_reserve(&c->tensors, &c->tensor_capacity, c->n_tensors, sizeof(qc_tensor *)))
        return no_memory(job);
    c->tensors[c->n_tensors] = copy_tensor(&t);
    if (!c->tensors[c->n_tensors])
        return no_memory(job);
    c->n_tensors++;
    return QC_OK;
}

static size_t value_bytes(uint32_t type)
{
    static const unsigned char bytes[QC_N_TYPES] = {[QC_U8] = 1,  [QC_I8] = 1,   [QC_U16] = 2,
                                                    [QC_I16] = 2, [QC_U32] = 4,  [QC_I32] = 4,
                                                    [QC_F32] = 4, [QC_BOOL] = 1, [QC_TEXT] = sizeof(qc_text),
                                                    [QC_U64] = 8, [QC_I64] = 8,  [QC_F64] = 8};
    return type < QC_N_TYPES ? bytes[type] : 0;
}

/* Bytes of all texts together in *total; 0 where that does not fit. */
static int text_bytes(const qc_meta *meta, uint64_t *total)
{
    const qc_text *texts = meta->data;
    *total = 0;
    for (uint64_t i = 0; meta->type == QC_TEXT && i < meta->count; i++) {
        if (texts[i].length > SIZE_MAX / 4 || *total > SIZE_MAX / 4)
            return 0;
        *total += texts[i].length;
    }
    return 1;
}

/* One block: the entry, its values, its key, the texts' characters. */
static qc_meta *copy_meta(const qc_meta *meta)
{
    uint64_t values, texts;
    size_t key = strlen(meta->key) + 1;
    if (!qc_mul_size(meta->count, value_bytes(meta->type), &values) || values > SIZE_MAX / 4 ||
        !text_bytes(meta, &texts))
        return NULL;
    char *block = malloc(sizeof *meta + (size_t)(values + texts) + key);
    if (!block)
        return NULL;
    qc_meta *copy = (qc_meta *)(void *)block;
    *copy = *meta;
    copy->size = sizeof *copy;
    block += sizeof *copy;
    if (values)
        memcpy(block, meta->data, (size_t)values);
    copy->data = block;
    copy->key = memcpy(block + values, meta->key, key);
    char *to = block + values + key;
    qc_text *text = (qc_text *)(void *)block;
    for (uint64_t i = 0; meta->type == QC_TEXT && i < meta->count; i++) {
        if (text[i].length)
            memcpy(to, text[i].data, text[i].length);
        text[i].data = to;
        to += text[i].length;
    }
    return copy;
}

static qc_status report_meta(const qc_scan *scan, qc_job *job, const qc_meta *theirs)
{
    contents *c = of(scan);
    qc_meta own = {0}, *meta = &own;
    memcpy(&own, theirs, theirs->size < sizeof own ? theirs->size : sizeof own);
    if (!meta->key || !*meta->key || strlen(meta->key) > UINT16_MAX)
        return qc_fail(job, QC_E_CORRUPT, "a metadata key that is empty or too long");
    if (value_bytes(meta->type) == 0)
        return qc_fail(job, QC_E_CORRUPT, "key '%.80s': unknown value type %u", meta->key, meta->type);
    if (c->n_metas == MAX_METAS)
        return qc_fail(job, QC_E_LIMIT, "more than %d metadata keys", MAX_METAS);
    if (!array_reserve(&c->metas, &c->meta_capacity, c->n_metas, sizeof(qc_meta *)))
        return no_memory(job);
    c->metas[c->n_metas] = copy_meta(meta);
    if (!c->metas[c->n_metas])
        return no_memory(job);
    c->n_metas++;
    return QC_OK;
}

void contents_init(contents *c, const qc_source *source)
{
    memset(c, 0, sizeof *c);
    c->scan = (qc_scan){.size = sizeof c->scan, .tensor = report_tensor, .meta = report_meta};
    c->source = source;
}

void contents_cut_metas(contents *c, size_t n)
{
    while (c->n_metas > n)
        free(c->metas[--c->n_metas]);
}

void contents_free(contents *c)
{
    contents_cut_metas(c, 0);
    for (size_t i = 0; i < c->n_tensors; i++)
        free(c->tensors[i]);
    free(c->tensors);
    free(c->metas);
    memset(c, 0, sizeof *c);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static qc_status refuse_twins(qc_job *job, const char **names, size_t n, const char *what)
{
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(names[i - 1], names[i]))
            return qc_fail(job, QC_E_CORRUPT, "%s '%.200s' occurs twice", what, names[i]);
    return QC_OK;
}

qc_status contents_check(const contents *c, qc_job *job)
{
    size_t most = c->n_tensors > c->n_metas ? c->n_tensors : c->n_metas;
    const char **names = malloc((most + 1) * sizeof *names);
    if (!names)
        return no_memory(job);
    for (size_t i = 0; i < c->n_tensors; i++)
        names[i] = c->tensors[i]->name;
    qc_status status = refuse_twins(job, names, c->n_tensors, "tensor");
    for (size_t i = 0; i < c->n_metas; i++)
        names[i] = c->metas[i]->key;
    if (status == QC_OK)
        status = refuse_twins(job, names, c->n_metas, "key");
    free(names);
    return status;
}

const qc_meta *metas_find(qc_meta *const *metas, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(metas[i]->key, key))
            return metas[i];
    return NULL;
}

/* "<general.architecture>.<key>", or NULL. */
static const qc_meta *find_of_family(qc_meta *const *metas, size_t n, const char *key)
{
    const qc_meta *family = metas_find(metas, n, "general.architecture");
    if (!family || family->type != QC_TEXT || family->is_array)
        return NULL;
    const qc_text *text = family->data;
    for (size_t i = 0; i < n; i++) {
        const char *k = metas[i]->key;
        int begins = strlen(k) > text->length && !memcmp(k, text->data, text->length); /* which may hold zero bytes */
        if (begins && k[text->length] == '.' && !strcmp(k + text->length + 1, key))
            return metas[i];
    }
    return NULL;
}

uint64_t metas_count(qc_meta *const *metas, size_t n, const char *key, size_t layer, uint64_t fallback)
{
    const qc_meta *m = find_of_family(metas, n, key);
    size_t i = m && m->is_array ? layer : 0;
    if (!m || i >= m->count)
        return fallback;
    uint32_t u32;
    uint64_t u64;
    if (m->type == QC_U32 || m->type == QC_I32) {
        memcpy(&u32, (const char *)m->data + i * sizeof u32, sizeof u32);
        return m->type == QC_I32 && u32 > INT32_MAX ? fallback : u32;
    }
    if (m->type == QC_U64 || m->type == QC_I64) {
        memcpy(&u64, (const char *)m->data + i * sizeof u64, sizeof u64);
        return u64 > INT64_MAX ? fallback : u64;
    }
    return fallback;
}
