/* Writing: version 3, one file. The header is written twice by the same code: once to measure it, once for real. */
#include "gguf.h"

enum { BUFFER = 65536 };

/* Bytes one after another from the file's start. out NULL: only counted. The first error sticks. */
typedef struct writer {
    qc_job *job;
    const qc_layout *out;
    uint32_t file;
    qc_status status;
    uint64_t at; /* bytes put so far, `n` of them still in the buffer */
    size_t n;
    unsigned char *buffer;
} writer;

static void flush(writer *w)
{
    if (w->n > 0 && w->status == QC_OK)
        w->status = w->out->bytes(w->out, w->job, w->file, w->at - w->n, w->buffer, w->n);
    w->n = 0;
}

static void put(writer *w, const void *data, size_t n)
{
    const unsigned char *from = data;
    while (w->out && n > 0) {
        size_t room = BUFFER - w->n, here = n < room ? n : room;
        memcpy(w->buffer + w->n, from, here);
        w->n += here;
        w->at += here;
        from += here;
        n -= here;
        if (w->n == BUFFER)
            flush(w);
    }
    w->at += n;
}

static void put_number(writer *w, uint64_t value, size_t n_bytes)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    put(w, bytes, n_bytes);
}

static void put_text(writer *w, const char *data, size_t length)
{
    put_number(w, length, 8);
    put(w, data, length);
}

static void put_values(writer *w, const qc_meta *meta)
{
    size_t bytes = gguf_value_bytes(meta->type);
    const qc_text *texts = meta->data;
    if (meta->type == QC_TEXT) {
        for (uint64_t i = 0; i < meta->count; i++)
            put_text(w, texts[i].data, texts[i].length);
    } else if (!QC_BIG_ENDIAN) {
        put(w, meta->data, (size_t)meta->count * bytes);
    } else {
        for (uint64_t i = 0; i < meta->count; i++) {
            unsigned char value[8];
            memcpy(value, (const unsigned char *)meta->data + i * bytes, bytes);
            gguf_swap_if_big_endian(value, 1, bytes);
            put(w, value, bytes);
        }
    }
}

static void put_meta(writer *w, const qc_meta *meta)
{
    put_text(w, meta->key, strlen(meta->key));
    if (meta->is_array) {
        put_number(w, GGUF_ARRAY, 4);
        put_number(w, meta->type, 4);
        put_number(w, meta->count, 8);
    } else {
        put_number(w, meta->type, 4);
    }
    put_values(w, meta);
}

/* Trailing dimensions of 1 are left out, as ggml does. */
static uint32_t dims_to_write(const qc_tensor *t)
{
    uint32_t n = t->n_dims > 0 ? t->n_dims : 1;
    while (n > 1 && t->dims[n - 1] == 1)
        n--;
    return n;
}

static void put_tensor(writer *w, const qc_tensor *t, uint64_t offset)
{
    uint32_t n_dims = dims_to_write(t);
    put_text(w, t->name, strlen(t->name));
    put_number(w, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++)
        put_number(w, t->dims[i], 8);
    put_number(w, gguf_type_by_encoding(t->encoding)->id, 4);
    put_number(w, offset, 8);
}

/* Everything before the data, padding excluded. offsets: of each tensor in the data. */
static void put_header(writer *w, const qc_model *model, uint32_t alignment, const uint64_t *offsets)
{
    uint64_t n_keys = alignment != GGUF_ALIGNMENT;
    for (size_t i = 0; i < model->n_metas; i++)
        n_keys += !gguf_own_key(model->metas[i]->key);
    put(w, "GGUF", 4);
    put_number(w, GGUF_VERSION, 4);
    put_number(w, model->n_tensors, 8);
    put_number(w, n_keys, 8);
    for (size_t i = 0; i < model->n_metas; i++)
        if (!gguf_own_key(model->metas[i]->key))
            put_meta(w, model->metas[i]);
    if (alignment != GGUF_ALIGNMENT)
        put_meta(w, &(qc_meta){sizeof(qc_meta), "general.alignment", QC_U32, 0, 1, &alignment});
    for (size_t i = 0; i < model->n_tensors; i++)
        put_tensor(w, model->tensors[i], offsets[i]);
}

const char *gguf_refuses(const qc_tensor *t)
{
    const gguf_type *type = gguf_type_by_encoding(t->encoding);
    if (!type)
        return "GGUF has no type for this encoding";
    if (t->dims[0] % type->cols != 0)
        return "its rows are not whole blocks of this encoding";
    if (t->n_dims > QC_MAX_DIMS)
        return "GGUF tensors have at most 4 dimensions";
    if (!gguf_good_name(t->name, GGUF_MAX_NAME))
        return "GGUF tensor names have 1 to 63 bytes, no control characters";
    if (t->order)
        return "GGUF cannot store a column order";
    return NULL;
}

static qc_status check_model(qc_job *job, const qc_model *model, double alignment)
{
    if (!(alignment >= 8 && alignment <= 65536) || ((uint32_t)alignment & ((uint32_t)alignment - 1)) != 0)
        return qc_fail(job, QC_E_INVALID, "alignment is %g, it must be a power of two from 8 to 65536", alignment);
    for (size_t i = 0; i < model->n_metas; i++) {
        const qc_meta *m = model->metas[i];
        if (!gguf_good_name(m->key, GGUF_MAX_KEY) || gguf_value_bytes(m->type) == 0)
            return qc_fail(job, QC_E_INVALID, "key '%.80s' (value type %u) cannot be written", m->key, m->type);
    }
    for (size_t i = 0; i < model->n_tensors; i++) {
        const char *why = gguf_refuses(model->tensors[i]);
        if (why)
            return qc_fail(job, QC_E_UNSUPPORTED, "tensor '%.80s' (%s) cannot be written: %s", model->tensors[i]->name,
                           model->tensors[i]->encoding, why);
    }
    return QC_OK;
}

/* The running sum of padded sizes; the last element is the size of all data. 0 when it does not fit. */
static int sum_offsets(const qc_model *model, uint32_t alignment, uint64_t *offsets)
{
    offsets[0] = 0;
    for (size_t i = 0; i < model->n_tensors; i++) {
        uint64_t bytes = model->tensors[i]->bytes;
        if (offsets[i] > UINT64_MAX - bytes || !gguf_pad(offsets[i] + bytes, alignment, &offsets[i + 1]))
            return 0;
    }
    return 1;
}

static qc_status lay_out(writer *w, const qc_model *model, uint32_t alignment, const qc_layout *out,
                         const uint64_t *offsets)
{
    uint64_t data_at = 0, data_bytes = offsets[model->n_tensors];
    put_header(w, model, alignment, offsets);
    if (!gguf_pad(w->at, alignment, &data_at) || data_bytes > UINT64_MAX - data_at)
        return qc_fail(w->job, QC_E_LIMIT, "the model is too large for one file");
    w->status = out->file(out, w->job, NULL, data_at + data_bytes, &w->file);
    w->out = out;
    w->at = 0;
    put_header(w, model, alignment, offsets);
    flush(w);
    for (size_t i = 0; i < model->n_tensors && w->status == QC_OK; i++)
        w->status = out->place(out, w->job, i, w->file, data_at + offsets[i]);
    return w->status;
}

qc_status gguf_layout(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out,
                      void **index)
{
    double alignment = job->host->number(settings, "alignment");
    *index = NULL;
    qc_status status = check_model(job, model, alignment);
    if (status != QC_OK)
        return status;
    writer w = {.job = job, .buffer = job->scratch(job, BUFFER)};
    uint64_t *offsets = job->scratch(job, (model->n_tensors + 1) * sizeof *offsets);
    if (!w.buffer || !offsets)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the table of %llu tensors",
                       (unsigned long long)model->n_tensors);
    if (!sum_offsets(model, (uint32_t)alignment, offsets))
        return qc_fail(job, QC_E_LIMIT, "the model is too large for one file");
    return lay_out(&w, model, (uint32_t)alignment, out, offsets);
}
