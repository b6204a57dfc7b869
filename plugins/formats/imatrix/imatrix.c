/* Importance as older llama-imatrix programs kept it (".dat"); newer ones write GGUF. Little-endian:
 *
 *   @0  i32 n_entries
 *       n_entries x { i32 length; name[length]; i32 calls; i32 n_values; f32 values[n_values] }
 *       optionally i32 last_chunk, and then i32 length; dataset[length]
 *
 * A value is the mean square of an input column times `calls`; experts follow one another in an entry. Each entry is
 * reported as the two tensors that the GGUF layout has, so that readers need to know only that one:
 *
 *   NAME.in_sum2  f32 {n_values, 1}   the values, where they lie
 *   NAME.counts   f32 {1, 1}          `calls`, an i32 in the file: `load` converts it. 0 becomes 1: values as they are
 *
 * in_sum2 / counts is the mean square in both layouts. How many matrices an entry is made of is not in the file. The same
 * tensors are what it takes to write one: {n, matrices} and a single count, a whole number, for all of an entry. */
#include "qcore/format.h"
#include "qcore/number.h"
#include "qcore/reader.h"

enum { MAX_NAME = 255, MAX_DATASET = 65536, ENTRY_BYTES_MIN = 4 + 1 + 4 + 4 + 4 };
#define SUM_SUFFIX ".in_sum2"
#define COUNT_SUFFIX ".counts"

/* A length or count that must be 1 .. max. 0 after an error. */
static uint32_t read_count(qc_reader *r, const char *what, uint64_t max)
{
    uint32_t n = qc_read_u32(r);
    if (r->status == QC_OK && (n == 0 || n > max))
        qc_reader_fail(r, QC_E_CORRUPT, "%s is %d before byte %llu: not an imatrix file, or damaged", what, (int32_t)n,
                       (unsigned long long)r->at);
    return r->status == QC_OK ? n : 0;
}

static void read_name(qc_reader *r, char name[MAX_NAME + 1])
{
    uint32_t length = read_count(r, "the length of a name", MAX_NAME);
    qc_read_bytes(r, name, length);
    name[length] = '\0';
    for (uint32_t i = 0; i < length; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            qc_reader_fail(r, QC_E_CORRUPT, "an unprintable name before byte %llu: not an imatrix file, or damaged",
                           (unsigned long long)r->at);
}

/* file: 0, or QC_FILE_PARTS for `load`. */
static void report_tensor(qc_reader *r, const qc_scan *out, const char *name, const char *suffix, uint32_t file,
                          uint64_t values, uint64_t at)
{
    char full_name[MAX_NAME + sizeof SUM_SUFFIX];
    snprintf(full_name, sizeof full_name, "%s%s", name, suffix);
    const qc_tensor t = {.size = sizeof t,
                         .n_dims = 2,
                         .file = file,
                         .name = full_name,
                         .encoding = QC_ENCODING_F32,
                         .dims = {values, 1, 1, 1},
                         .at = at,
                         .bytes = values * 4,
                         .row_bytes = values * 4};
    if (r->status == QC_OK)
        r->status = out->tensor(out, r->job, &t);
}

static void read_entry(qc_reader *r, const qc_scan *out)
{
    char name[MAX_NAME + 1];
    read_name(r, name);
    uint64_t calls_at = r->at;
    uint32_t calls = qc_read_u32(r);
    if (calls > INT32_MAX)
        qc_reader_fail(r, QC_E_CORRUPT, "'%s' was seen %d times: damaged", name, (int32_t)calls);
    uint32_t n_values = read_count(r, "a number of values", INT32_MAX);
    uint64_t values_at = r->at;
    qc_reader_skip(r, (uint64_t)n_values * 4);
    report_tensor(r, out, name, SUM_SUFFIX, 0, n_values, values_at);
    report_tensor(r, out, name, COUNT_SUFFIX, QC_FILE_PARTS, 1, calls_at);
}

static void report_dataset(qc_reader *r, const qc_scan *out)
{
    uint32_t length = qc_read_u32(r);
    if (length > MAX_DATASET)
        qc_reader_fail(r, QC_E_CORRUPT, "the data set's name has %u bytes: damaged", length);
    char *name = r->status == QC_OK ? r->job->scratch(r->job, (size_t)length + 1) : NULL;
    if (!name) {
        qc_reader_fail(r, QC_E_NOMEM, "out of memory for the data set's name");
        return;
    }
    qc_read_bytes(r, name, length);
    const qc_text text = {name, length};
    if (r->status == QC_OK)
        r->status = out->meta(out, r->job, &(qc_meta){sizeof(qc_meta), "imatrix.datasets", QC_TEXT, 1, 1, &text});
}

static qc_status scan(qc_job *job, const qc_source *src, const qc_scan *out, void **index)
{
    qc_reader r = {0};
    *index = NULL;
    qc_reader_open(&r, job, src, 0);
    uint32_t n = read_count(&r, "the number of entries", qc_reader_left(&r) / ENTRY_BYTES_MIN);
    for (uint32_t i = 0; i < n && r.status == QC_OK; i++)
        read_entry(&r, out);
    if (r.status == QC_OK)
        r.status = qc_meta_text(out, job, "general.type", "imatrix");
    if (r.status == QC_OK && qc_reader_left(&r) >= 4) {
        uint32_t chunks = qc_read_u32(&r);
        if (r.status == QC_OK)
            r.status = qc_meta_u32(out, job, "imatrix.chunk_count", chunks);
    }
    if (r.status == QC_OK && qc_reader_left(&r) >= 4)
        report_dataset(&r, out);
    return r.status;
}

/* Counts are made from the i32 at their place; values are f32 in the file. */
static qc_status load(qc_job *job, const void *index, const qc_source *src, const qc_tensor *t, const qc_coder *e,
                      uint64_t row, size_t n_rows, void *dst)
{
    (void)index, (void)e, (void)row;
    unsigned char calls[4];
    if (n_rows == 0)
        return QC_OK;
    qc_status status = src->read_at(src, job, 0, t->at, sizeof calls, calls);
    if (status != QC_OK)
        return status;
    uint32_t n_calls = qc_load_le32(calls);
    float count = n_calls == 0 ? 1.0f : (float)n_calls;
    qc_store_le32(dst, qc_float_bits(count));
    return QC_OK;
}

/* ---- writing ---- */

static int ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && !strcmp(name + n - k, suffix);
}

static int is_printable(const char *name)
{
    while ((unsigned char)*name > ' ' && *name != 0x7f)
        name++;
    return *name == '\0';
}

static const char *refuses(const qc_tensor *t)
{
    int is_sum = ends_with(t->name, SUM_SUFFIX), is_count = ends_with(t->name, COUNT_SUFFIX);
    if (!is_sum && !is_count)
        return "the older layout of imatrix files has mean squares of columns and nothing else";
    if (strcmp(t->encoding, QC_ENCODING_F32) != 0)
        return "the older layout of imatrix files has f32 values";
    if (is_count && t->bytes != 4)
        return "the older layout of imatrix files has one count for all matrices";
    if (t->bytes == 0 || t->bytes / 4 > INT32_MAX || t->order)
        return "the older layout of imatrix files has 1 to 2147483647 values";
    if (strlen(t->name) - (is_sum ? sizeof SUM_SUFFIX : sizeof COUNT_SUFFIX) + 1 > MAX_NAME || !is_printable(t->name))
        return "the older layout of imatrix files has printable names of at most 255 bytes";
    return NULL;
}

/* Bytes put one after another where they lie in the file. */
typedef struct writer {
    qc_job *job;
    const qc_layout *out;
    uint32_t file;
    qc_status status;
    uint64_t at;
} writer;

static void put(writer *w, const void *data, size_t n)
{
    if (w->status == QC_OK)
        w->status = w->out->bytes(w->out, w->job, w->file, w->at, data, n);
    w->at += n;
}

static void put_u32(writer *w, uint32_t value)
{
    unsigned char bytes[4];
    qc_store_le32(bytes, value);
    put(w, bytes, sizeof bytes);
}

static void place(writer *w, size_t tensor, uint64_t bytes)
{
    if (w->status == QC_OK)
        w->status = w->out->place(w->out, w->job, tensor, w->file, w->at);
    w->at += bytes;
}

static const qc_meta *find_meta(const qc_model *model, const char *key, uint32_t type)
{
    for (size_t i = 0; i < model->n_metas; i++)
        if (!strcmp(model->metas[i]->key, key))
            return model->metas[i]->type == type && model->metas[i]->count > 0 ? model->metas[i] : NULL;
    return NULL;
}

/* The counts that belong to sums; n_tensors: there are none. */
static size_t find_counts(const qc_model *model, const char *sums)
{
    size_t stem = strlen(sums) - (sizeof SUM_SUFFIX - 1), i;
    for (i = 0; i < model->n_tensors; i++)
        if (!strncmp(model->tensors[i]->name, sums, stem) && !strcmp(model->tensors[i]->name + stem, COUNT_SUFFIX))
            break;
    return i;
}

/* What comes behind the entries: the number of windows, and the first data set's name. */
typedef struct ending {
    uint32_t chunks;
    qc_text dataset;
} ending;

static ending find_ending(const qc_model *model)
{
    const qc_meta *chunks = find_meta(model, "imatrix.chunk_count", QC_U32);
    const qc_meta *datasets = find_meta(model, "imatrix.datasets", QC_TEXT);
    ending e = {0};
    if (chunks)
        e.chunks = *(const uint32_t *)chunks->data;
    if (datasets)
        e.dataset = *(const qc_text *)datasets->data;
    if (e.dataset.length > MAX_DATASET)
        e.dataset.length = MAX_DATASET;
    return e;
}

static void put_entry(writer *w, const qc_model *model, size_t sums)
{
    const qc_tensor *t = model->tensors[sums];
    size_t length = strlen(t->name) - (sizeof SUM_SUFFIX - 1);
    put_u32(w, (uint32_t)length);
    put(w, t->name, length);
    place(w, find_counts(model, t->name), 4);
    put_u32(w, (uint32_t)(t->bytes / 4));
    place(w, sums, t->bytes);
}

/* Sums and their counts come in pairs; *bytes: of the whole file. */
static qc_status measure(qc_job *job, const qc_model *model, uint32_t *n_entries, uint64_t *bytes)
{
    *n_entries = 0;
    *bytes = 4;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const qc_tensor *t = model->tensors[i];
        const char *why = refuses(t);
        if (why)
            return qc_fail(job, QC_E_UNSUPPORTED, "'%.200s' cannot be written: %s", t->name, why);
        if (!ends_with(t->name, SUM_SUFFIX))
            continue;
        if (find_counts(model, t->name) == model->n_tensors)
            return qc_fail(job, QC_E_INVALID, "'%.200s' has no counts beside it", t->name);
        *bytes += 4 + strlen(t->name) - (sizeof SUM_SUFFIX - 1) + 4 + 4 + t->bytes;
        ++*n_entries;
    }
    if (*n_entries == 0 || 2 * (size_t)*n_entries != model->n_tensors)
        return qc_fail(job, QC_E_INVALID, "an imatrix file is made of sums and as many counts");
    return QC_OK;
}

static qc_status layout(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out,
                        void **index)
{
    writer w = {.job = job, .out = out};
    const ending e = find_ending(model);
    uint32_t n_entries;
    uint64_t bytes;
    (void)settings;
    *index = NULL;
    w.status = measure(job, model, &n_entries, &bytes);
    if (w.status == QC_OK)
        w.status = out->file(out, job, NULL, bytes + 4 + 4 + e.dataset.length, &w.file);
    put_u32(&w, n_entries);
    for (size_t i = 0; i < model->n_tensors && w.status == QC_OK; i++)
        if (ends_with(model->tensors[i]->name, SUM_SUFFIX))
            put_entry(&w, model, i);
    put_u32(&w, e.chunks);
    put_u32(&w, (uint32_t)e.dataset.length);
    if (e.dataset.length > 0)
        put(&w, e.dataset.data, e.dataset.length);
    return w.status;
}

/* Values lie as they are; a count becomes an i32. */
static qc_status store(qc_job *job, const void *index, const qc_sink *sink, const qc_tensor *t, const qc_coder *e,
                       uint64_t row, size_t n_rows, const void *src)
{
    (void)index, (void)e;
    unsigned char calls[4];
    if (n_rows == 0)
        return QC_OK;
    if (!ends_with(t->name, COUNT_SUFFIX))
        return sink->write_at(sink, job, t->file, t->at + row * t->row_bytes, src, n_rows * (size_t)t->row_bytes);
    float count = qc_float_from_bits(qc_load_le32(src));
    if (!(count >= 0.0f && count < 2147483648.0f) || (float)(int32_t)count != count)
        return qc_fail(job, QC_E_INVALID, "'%.200s' is %g, the older layout of imatrix files counts whole numbers",
                       t->name, (double)count);
    qc_store_le32(calls, (uint32_t)(int32_t)count);
    return sink->write_at(sink, job, t->file, t->at, calls, sizeof calls);
}

/* No magic number: the counts must make sense and the first name must look like a tensor's. */
static int probe(const char *file_name, const void *head, size_t n)
{
    const unsigned char *bytes = head;
    (void)file_name;
    if (n < 12 || bytes[3] != 0 || (bytes[0] | bytes[1] | bytes[2]) == 0)
        return 0;
    size_t length = bytes[4];
    if (bytes[5] || bytes[6] || bytes[7] || length == 0 || length > MAX_NAME || n < 8 + length)
        return 0;
    int dots = 0;
    for (size_t i = 0; i < length; i++) {
        if (bytes[8 + i] <= ' ' || bytes[8 + i] >= 0x7f)
            return 0;
        dots += bytes[8 + i] == '.';
    }
    return dots > 0 ? 80 : 30;
}

static const qc_format_desc imatrix = {
    .base = {.size = sizeof(qc_format_desc), .flags = QC_FORMAT_CANONICAL, .kind = QC_KIND_FORMAT, .id = "imatrix"},
    .probe = probe,
    .scan = scan,
    .load = load,
    .refuses = refuses,
    .layout = layout,
    .store = store,
};
QC_PLUGIN(&imatrix.base);
