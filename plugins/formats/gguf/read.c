/* Reading: one file, or all shards of a split one. Nothing is kept: the keys and the tensor table are walked with a
 * bounded buffer, each value lives until it is reported. */
#include "gguf.h"
#include "qcore/reader.h"

enum {
    MAX_STRING = 1 << 30, /* as ggml */
    MAX_VALUE = 1 << 30, /* bytes in memory of one value */
    KEY_BYTES_MIN = 8 + 1 + 4 + 1, /* of a key in the file: length, name, type, value */
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 4 + 8
};

/* Keys that the reader uses up; values in file_head.own. */
enum { ALIGNMENT, SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS, N_OWN };
static const struct own_key {
    const char *name;
    uint32_t type;
} own_keys[N_OWN] = {
    [ALIGNMENT] = {"general.alignment", QC_U32},
    [SPLIT_NO] = {"split.no", QC_U16},
    [SPLIT_COUNT] = {"split.count", QC_U16},
    [SPLIT_TENSORS] = {"split.tensors.count", QC_I32},
};

typedef struct file_head {
    uint64_t n_tensors, n_keys;
    uint32_t own[N_OWN], found; /* found: bit i for own[i] */
} file_head;

static void read_counts(qc_reader *r, file_head *h)
{
    unsigned char magic[4];
    memset(h, 0, sizeof *h);
    h->own[ALIGNMENT] = GGUF_ALIGNMENT;
    qc_read_bytes(r, magic, sizeof magic);
    if (r->status == QC_OK && memcmp(magic, "GGUF", 4) != 0)
        qc_reader_fail(r, QC_E_CORRUPT, "not a GGUF file: it does not begin with \"GGUF\"");
    uint32_t version = qc_read_u32(r);
    if (r->status == QC_OK && version != 0 && (version & 0xffff) == 0)
        qc_reader_fail(r, QC_E_UNSUPPORTED, "a big-endian GGUF file: convert it to little-endian first");
    if (r->status == QC_OK && version != 2 && version != 3)
        qc_reader_fail(r, QC_E_UNSUPPORTED, "GGUF version %u: only 2 and 3 can be read", version);
    h->n_tensors = qc_read_u64(r);
    h->n_keys = qc_read_u64(r);
    if (h->n_keys > qc_reader_left(r) / KEY_BYTES_MIN)
        qc_reader_fail(r, QC_E_CORRUPT, "claims %llu metadata keys, more than the file can hold",
                       (unsigned long long)h->n_keys);
    if (h->n_tensors > qc_reader_left(r) / TENSOR_BYTES_MIN)
        qc_reader_fail(r, QC_E_CORRUPT, "claims %llu tensors, more than the file can hold",
                       (unsigned long long)h->n_tensors);
}

/* A name of 1 .. max bytes as a C string. */
static void read_name(qc_reader *r, const char *what, char *name, size_t max)
{
    uint64_t length = qc_read_u64(r);
    name[0] = '\0';
    if (r->status == QC_OK && length == 0)
        qc_reader_fail(r, QC_E_CORRUPT, "%s without a name before byte %llu", what, (unsigned long long)r->at);
    if (length > max)
        qc_reader_fail(r, QC_E_CORRUPT, "%s with a name of %llu bytes, at most %llu are allowed", what,
                       (unsigned long long)length, (unsigned long long)max);
    if (!qc_reader_has(r, length))
        return;
    qc_read_bytes(r, name, (size_t)length);
    name[length] = '\0';
    if (!gguf_good_name(name, max) || strlen(name) != length)
        qc_reader_fail(r, QC_E_CORRUPT, "%s with a control character in its name before byte %llu", what,
                       (unsigned long long)r->at);
}

/* Type and count of the value that follows; its data comes next. */
static void read_type(qc_reader *r, qc_meta *meta)
{
    meta->type = qc_read_u32(r);
    meta->is_array = meta->type == GGUF_ARRAY;
    meta->count = 1;
    if (meta->is_array) {
        meta->type = qc_read_u32(r);
        meta->count = qc_read_u64(r);
    }
    if (r->status != QC_OK)
        return;
    size_t bytes = gguf_value_bytes(meta->type);
    if (meta->is_array && meta->type == GGUF_ARRAY)
        qc_reader_fail(r, QC_E_UNSUPPORTED, "key '%.80s': arrays of arrays are not supported", meta->key);
    else if (bytes == 0)
        qc_reader_fail(r, QC_E_CORRUPT, "key '%.80s': unknown value type %u", meta->key, meta->type);
    else if (meta->count > qc_reader_left(r) / bytes)
        qc_reader_fail(r, QC_E_CORRUPT, "key '%.80s': claims %llu values, more than the file can hold", meta->key,
                       (unsigned long long)meta->count);
    else if (meta->count > MAX_VALUE / sizeof(qc_text))
        qc_reader_fail(r, QC_E_LIMIT, "key '%.80s': %llu values are too many", meta->key,
                       (unsigned long long)meta->count);
}

/* Length of the next text, checked. */
static uint64_t read_length(qc_reader *r, const char *key)
{
    uint64_t length = qc_read_u64(r);
    if (length > MAX_STRING)
        qc_reader_fail(r, QC_E_CORRUPT, "key '%.80s': a text of %llu bytes is too long", key,
                       (unsigned long long)length);
    return r->status == QC_OK && qc_reader_has(r, length) ? length : 0;
}

static void skip_value(qc_reader *r, const qc_meta *meta)
{
    if (meta->type != QC_TEXT)
        qc_reader_skip(r, meta->count * gguf_value_bytes(meta->type));
    else
        for (uint64_t i = 0; i < meta->count && r->status == QC_OK; i++)
            qc_reader_skip(r, read_length(r, meta->key));
}

static void *value_memory(qc_reader *r, const qc_meta *meta, uint64_t bytes)
{
    void *data = NULL;
    if (bytes > MAX_VALUE)
        qc_reader_fail(r, QC_E_LIMIT, "key '%.80s': a value of %llu bytes is too large", meta->key,
                       (unsigned long long)bytes);
    else if (!(data = r->job->host->alloc(r->job->host, bytes ? (size_t)bytes : 1)))
        qc_reader_fail(r, QC_E_NOMEM, "key '%.80s': out of memory for %llu bytes", meta->key,
                       (unsigned long long)bytes);
    return data;
}

static void *read_numbers(qc_reader *r, const qc_meta *meta)
{
    size_t bytes = gguf_value_bytes(meta->type);
    unsigned char *data = value_memory(r, meta, meta->count * bytes);
    if (!data)
        return NULL;
    qc_read_bytes(r, data, (size_t)meta->count * bytes);
    gguf_swap_if_big_endian(data, meta->count, bytes);
    for (uint64_t i = 0; meta->type == QC_BOOL && i < meta->count; i++)
        data[i] = data[i] != 0;
    return data;
}

/* One block: the qc_texts, then the characters of all. Their total is found by walking over them first. */
static void *read_texts(qc_reader *r, const qc_meta *meta)
{
    uint64_t begin = r->at, head = meta->count * sizeof(qc_text);
    skip_value(r, meta);
    qc_text *texts = r->status == QC_OK ? value_memory(r, meta, head + (r->at - begin)) : NULL;
    if (!texts)
        return NULL;
    char *to = (char *)texts + head;
    r->at = begin;
    for (uint64_t i = 0; i < meta->count && r->status == QC_OK; i++) {
        size_t length = (size_t)read_length(r, meta->key);
        qc_read_bytes(r, to, length);
        texts[i] = (qc_text){to, length};
        to += length;
    }
    return texts;
}

static void report_value(qc_reader *r, qc_meta *meta, const qc_scan *out)
{
    void *data = meta->type == QC_TEXT ? read_texts(r, meta) : read_numbers(r, meta);
    meta->data = data;
    if (r->status == QC_OK)
        r->status = out->meta(out, r->job, meta);
    r->job->host->free(r->job->host, data);
}

static void read_own(qc_reader *r, const qc_meta *meta, file_head *h)
{
    for (uint32_t i = 0; i < N_OWN; i++) {
        if (strcmp(meta->key, own_keys[i].name) != 0)
            continue;
        if (meta->is_array || meta->type != own_keys[i].type)
            qc_reader_fail(r, QC_E_CORRUPT, "key '%s' has the wrong type", meta->key);
        if (h->found & 1u << i)
            qc_reader_fail(r, QC_E_CORRUPT, "key '%s' occurs twice", meta->key);
        h->found |= 1u << i;
        h->own[i] = (uint32_t)qc_read_number(r, gguf_value_bytes(meta->type));
        return;
    }
    skip_value(r, meta);
}

/* All keys; out NULL: nothing is reported. */
static void read_keys(qc_reader *r, file_head *h, const qc_scan *out)
{
    char *key = r->job->host->alloc(r->job->host, GGUF_MAX_KEY + 1);
    if (!key) {
        qc_reader_fail(r, QC_E_NOMEM, "out of memory for a key");
        return;
    }
    for (uint64_t i = 0; i < h->n_keys && r->status == QC_OK; i++) {
        qc_meta meta = {.size = sizeof meta, .key = key};
        read_name(r, "a metadata key", key, GGUF_MAX_KEY);
        read_type(r, &meta);
        if (r->status != QC_OK)
            break;
        if (gguf_own_key(key))
            read_own(r, &meta, h);
        else if (out)
            report_value(r, &meta, out);
        else
            skip_value(r, &meta);
    }
    r->job->host->free(r->job->host, key);
    uint32_t a = h->own[ALIGNMENT];
    if (a == 0 || (a & (a - 1)) != 0)
        qc_reader_fail(r, QC_E_CORRUPT, "general.alignment is %u, it must be a power of two", a);
}

/* Sizes from dims and type. */
static void measure(qc_reader *r, qc_tensor *t, uint32_t type_id)
{
    const gguf_type *type = gguf_type_by_id(type_id);
    if (!type) {
        qc_reader_fail(r, QC_E_UNSUPPORTED, "tensor '%s' has the unknown type %u", t->name, type_id);
        return;
    }
    t->encoding = type->encoding;
    if (t->dims[0] % type->cols != 0) {
        qc_reader_fail(r, QC_E_CORRUPT, "tensor '%s': rows of %llu are not whole blocks of %u, as %s needs", t->name,
                       (unsigned long long)t->dims[0], type->cols, type->encoding);
        return;
    }
    uint64_t n = 1;
    int fits = 1;
    for (uint32_t i = 0; i < QC_MAX_DIMS; i++)
        fits = fits && t->dims[i] <= INT64_MAX && qc_mul_size(n, t->dims[i], &n) && n <= INT64_MAX;
    fits = fits && qc_mul_size(t->dims[0] / type->cols, type->bytes, &t->row_bytes);
    t->bytes = t->row_bytes;
    for (uint32_t i = 1; i < QC_MAX_DIMS; i++)
        fits = fits && qc_mul_size(t->bytes, t->dims[i], &t->bytes);
    if (!fits || t->bytes > INT64_MAX)
        qc_reader_fail(r, QC_E_CORRUPT, "tensor '%s': its dimensions are absurd", t->name);
}

/* One row of the tensor table; name: room for GGUF_MAX_NAME + 1. Returns its offset in the data. */
static uint64_t read_tensor(qc_reader *r, qc_tensor *t, char *name)
{
    *t = (qc_tensor){.size = sizeof *t, .file = r->file, .name = name, .dims = {1, 1, 1, 1}};
    read_name(r, "a tensor", name, GGUF_MAX_NAME);
    t->n_dims = qc_read_u32(r);
    if (t->n_dims > QC_MAX_DIMS)
        qc_reader_fail(r, QC_E_CORRUPT, "tensor '%s' has %u dimensions, at most %d are allowed", name, t->n_dims,
                       QC_MAX_DIMS);
    for (uint32_t i = 0; i < t->n_dims && r->status == QC_OK; i++)
        t->dims[i] = qc_read_u64(r);
    uint32_t type = qc_read_u32(r);
    uint64_t offset = qc_read_u64(r);
    if (r->status == QC_OK)
        measure(r, t, type);
    return offset;
}

/* The tensor table from the reader's place. Offsets must be the running sum of padded sizes. out NULL: only walked
 * over, since where the data begins is known at the table's end. */
static void read_tensors(qc_reader *r, const file_head *h, uint64_t data_at, const qc_scan *out)
{
    char name[GGUF_MAX_NAME + 1];
    uint64_t next = 0;
    for (uint64_t i = 0; i < h->n_tensors && r->status == QC_OK; i++) {
        qc_tensor t;
        uint64_t offset = read_tensor(r, &t, name);
        if (r->status != QC_OK)
            return;
        if (offset != next) {
            qc_reader_fail(r, QC_E_CORRUPT, "tensor '%s': its data is at offset %llu instead of %llu", name,
                           (unsigned long long)offset, (unsigned long long)next);
            return;
        }
        if (next > UINT64_MAX - t.bytes || !gguf_pad(next + t.bytes, h->own[ALIGNMENT], &next)) {
            qc_reader_fail(r, QC_E_CORRUPT, "tensor '%s': its dimensions are absurd", name);
            return;
        }
        if (!out)
            continue;
        t.at = data_at + offset;
        if (data_at > r->length || offset > r->length - data_at || t.bytes > r->length - t.at) {
            qc_reader_fail(r, QC_E_CORRUPT,
                           "cut short: tensor '%s' has %llu bytes from byte %llu on, the file has %llu", name,
                           (unsigned long long)t.bytes, (unsigned long long)t.at, (unsigned long long)r->length);
            return;
        }
        r->status = out->tensor(out, r->job, &t);
    }
}

/* Reads one file from front to back. metas, tensors: where to report them; both NULL: only its own keys are wanted. */
static qc_status read_file(qc_reader *r, qc_job *job, const qc_source *src, uint32_t file, file_head *h,
                           const qc_scan *metas, const qc_scan *tensors)
{
    qc_reader_open(r, job, src, file);
    read_counts(r, h);
    read_keys(r, h, metas);
    if (!tensors || r->status != QC_OK)
        return r->status;
    uint64_t table = r->at, data_at = 0;
    read_tensors(r, h, 0, NULL);
    if (r->status == QC_OK && !gguf_pad(r->at, h->own[ALIGNMENT], &data_at))
        qc_reader_fail(r, QC_E_CORRUPT, "general.alignment is absurd");
    r->at = table;
    read_tensors(r, h, data_at, tensors);
    return r->status;
}

static int ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && !strcmp(name + n - k, suffix);
}

/* PREFIX-00002-of-00003.gguf; no counts from 0. Returns the suffix's length. */
static size_t shard_suffix(char suffix[32], uint32_t no, uint32_t count)
{
    return (size_t)snprintf(suffix, 32, "-%05u-of-%05u.gguf", (unsigned)no + 1, (unsigned)count);
}

/* All shards of a split file, of which file 0 is one. Only the first one's metadata describes the model. */
static qc_status read_split(qc_reader *r, qc_job *job, const qc_source *src, const file_head *given, const qc_scan *out)
{
    char suffix[32], name[512];
    const char *given_name = src->name(src, 0);
    uint32_t no = given->own[SPLIT_NO], count = given->own[SPLIT_COUNT];
    size_t tail = shard_suffix(suffix, no, count);
    if (no >= count)
        return qc_reader_fail(r, QC_E_CORRUPT, "split.no is %u of %u", no, count);
    if (!ends_with(given_name, suffix) || strlen(given_name) >= sizeof name)
        return qc_reader_fail(r, QC_E_INVALID,
                              "is shard %u of %u, but its name does not end in %s: the others cannot be "
                              "found",
                              no + 1, count, suffix);
    size_t prefix = strlen(given_name) - tail;
    uint64_t n_tensors = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t file = 0;
        file_head h;
        shard_suffix(suffix, i, count);
        snprintf(name, sizeof name, "%.*s%s", (int)prefix, given_name, suffix);
        qc_status status = i == no ? QC_OK : src->open(src, job, name, 0, &file);
        if (status != QC_OK || (status = read_file(r, job, src, file, &h, i == 0 ? out : NULL, out)) != QC_OK)
            return status;
        if (h.own[SPLIT_NO] != i || h.own[SPLIT_COUNT] != count)
            return qc_reader_fail(r, QC_E_CORRUPT, "calls itself shard %u of %u (split.no, split.count)",
                                  h.own[SPLIT_NO] + 1, h.own[SPLIT_COUNT]);
        n_tensors += h.n_tensors;
    }
    if (!(given->found & 1u << SPLIT_TENSORS) || given->own[SPLIT_TENSORS] != n_tensors)
        return qc_reader_fail(r, QC_E_CORRUPT, "split.tensors.count is %u, but all shards together hold %llu tensors",
                              given->own[SPLIT_TENSORS], (unsigned long long)n_tensors);
    return QC_OK;
}

qc_status gguf_scan(qc_job *job, const qc_source *src, const qc_scan *out, void **index)
{
    qc_reader r = {0};
    file_head h;
    *index = NULL;
    qc_status status = read_file(&r, job, src, 0, &h, NULL, NULL);
    if (status != QC_OK)
        return status;
    if (h.own[SPLIT_COUNT] > 1)
        return read_split(&r, job, src, &h, out);
    return read_file(&r, job, src, 0, &h, out, out);
}
