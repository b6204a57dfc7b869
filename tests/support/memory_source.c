#include "memory_source.h"
#include <stdlib.h>

static void *grown(void *list, size_t n, size_t bytes)
{
    void *p = realloc(list, n * bytes);
    if (!p)
        abort();
    return p;
}

static void *copied(const void *data, size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        abort();
    return n ? memcpy(p, data, n) : p;
}

static char *copied_text(const char *text)
{
    return text ? copied(text, strlen(text) + 1) : NULL;
}

static memory_folder *of(const void *service, size_t offset)
{
    return (memory_folder *)(uintptr_t)((const char *)service - offset);
}

static memory_folder *of_source(const qc_source *src)
{
    return of(src, offsetof(memory_folder, source));
}

static memory_folder *of_layout(const qc_layout *out)
{
    return of(out, offsetof(memory_folder, layout));
}

static memory_folder *of_sink(const qc_sink *sink)
{
    return of(sink, offsetof(memory_folder, sink));
}

static uint32_t add_file(memory_folder *f, const char *name, unsigned char *owned, uint64_t length)
{
    f->files = grown(f->files, f->n_files + 1, sizeof *f->files);
    f->files[f->n_files] = (memory_file){copied_text(name), owned, length};
    return f->n_files++;
}

uint32_t memory_folder_add(memory_folder *f, const char *name, const void *data, uint64_t length)
{
    return add_file(f, name, copied(data, (size_t)length), length);
}

void memory_folder_rename(memory_folder *f, uint32_t file, const char *name)
{
    free(f->files[file].name);
    f->files[file].name = copied_text(name);
}

memory_file *memory_folder_find(memory_folder *f, const char *name)
{
    for (uint32_t i = 0; i < f->n_files; i++)
        if (f->files[i].name && !strcmp(f->files[i].name, name))
            return &f->files[i];
    return NULL;
}

/* A file of f->path, taken into memory; NULL: there is none. */
static memory_file *load_file(memory_folder *f, const char *name)
{
    char path[4096];
    if (!f->path || snprintf(path, sizeof path, "%s/%s", f->path, name) >= (int)sizeof path)
        return NULL;
    FILE *in = fopen(path, "rb");
    if (!in)
        return NULL;
    unsigned char *data = NULL;
    size_t n = 0, got;
    do {
        data = grown(data, n + 65536, 1);
        n += got = fread(data + n, 1, 65536, in);
    } while (got > 0);
    fclose(in);
    add_file(f, name, data, n);
    return memory_folder_find(f, name);
}

static qc_status source_open(const qc_source *src, qc_job *job, const char *name, int optional, uint32_t *file)
{
    memory_folder *f = of_source(src);
    *file = UINT32_MAX;
    if (strpbrk(name, "/\\"))
        return qc_fail(job, QC_E_INVALID, "%.100s: not a file of this folder", name);
    memory_file *found = memory_folder_find(f, name);
    found = found ? found : load_file(f, name);
    if (found)
        *file = (uint32_t)(found - f->files);
    return found || optional ? QC_OK : qc_fail(job, QC_E_IO, "%.100s: no such file", name);
}

static const char *source_name(const qc_source *src, uint32_t file)
{
    return of_source(src)->files[file].name;
}

static uint64_t source_length(const qc_source *src, uint32_t file)
{
    return of_source(src)->files[file].length;
}

static qc_status source_read_at(const qc_source *src, qc_job *job, uint32_t file, uint64_t at, size_t n, void *dst)
{
    memory_folder *f = of_source(src);
    if (file >= f->n_files || at > f->files[file].length || n > f->files[file].length - at)
        return qc_fail(job, QC_E_INTERNAL, "read of %zu bytes at %llu is out of range", n, (unsigned long long)at);
    if (n > 0)
        memcpy(dst, f->files[file].data + at, n);
    return QC_OK;
}

static qc_status write_range(memory_folder *f, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    if (file >= f->n_files || at > f->files[file].length || n > f->files[file].length - at)
        return qc_fail(job, QC_E_INTERNAL, "write of %zu bytes at %llu is out of range", n, (unsigned long long)at);
    if (n > 0)
        memcpy(f->files[file].data + at, data, n);
    return QC_OK;
}

static qc_status sink_write_at(const qc_sink *sink, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    return write_range(of_sink(sink), job, file, at, data, n);
}

static qc_status layout_file(const qc_layout *out, qc_job *job, const char *name, uint64_t bytes, uint32_t *file)
{
    memory_folder *f = of_layout(out);
    if (bytes > f->max_bytes)
        return qc_fail(job, QC_E_LIMIT, "a file of %llu bytes is too large for this test", (unsigned long long)bytes);
    unsigned char *data = calloc(bytes ? (size_t)bytes : 1, 1);
    if (!data)
        abort();
    *file = add_file(f, name, data, bytes);
    return QC_OK;
}

static qc_status layout_place(const qc_layout *out, qc_job *job, size_t tensor, uint32_t file, uint64_t at)
{
    memory_folder *f = of_layout(out);
    if (file >= f->n_files || at > f->files[file].length)
        return qc_fail(job, QC_E_INTERNAL, "tensor %zu is placed out of range", tensor);
    if (tensor >= f->n_places) {
        f->places = grown(f->places, tensor + 1, sizeof *f->places);
        memset(f->places + f->n_places, 0, (tensor + 1 - f->n_places) * sizeof *f->places);
        f->n_places = tensor + 1;
    }
    f->places[tensor] = (memory_place){1, file, at};
    return QC_OK;
}

static qc_status layout_bytes(const qc_layout *out, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    return write_range(of_layout(out), job, file, at, data, n);
}

void memory_folder_begin(memory_folder *f)
{
    memset(f, 0, sizeof *f);
    f->source = (qc_source){sizeof(qc_source), source_open, source_name, source_length, source_read_at};
    f->layout = (qc_layout){sizeof(qc_layout), layout_file, layout_place, layout_bytes};
    f->sink = (qc_sink){sizeof(qc_sink), sink_write_at};
    f->max_bytes = 1 << 28;
}

void memory_folder_end(memory_folder *f)
{
    for (uint32_t i = 0; i < f->n_files; i++) {
        free(f->files[i].name);
        free(f->files[i].data);
    }
    free(f->files);
    free(f->places);
    memset(f, 0, sizeof *f);
}

size_t memory_value_bytes(uint32_t type)
{
    static const unsigned char bytes[QC_N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, sizeof(qc_text), 0, 8, 8, 8};
    return type < QC_N_TYPES ? bytes[type] : 0;
}

static memory_model *of_scan(const qc_scan *scan)
{
    return (memory_model *)(uintptr_t)((const char *)scan - offsetof(memory_model, scan));
}

static void *copied_values(const qc_meta *meta)
{
    qc_text *texts = copied(meta->data, (size_t)meta->count * memory_value_bytes(meta->type));
    for (uint64_t i = 0; meta->type == QC_TEXT && i < meta->count; i++)
        texts[i].data = copied(texts[i].data, texts[i].length);
    return texts;
}

void memory_model_add_tensor(memory_model *m, const qc_tensor *t)
{
    qc_tensor *copy = copied(t, sizeof *t);
    copy->name = copied_text(t->name);
    copy->encoding = copied_text(t->encoding);
    m->tensors = grown(m->tensors, m->model.n_tensors + 1, sizeof *m->tensors);
    m->tensors[m->model.n_tensors++] = copy;
    m->model.tensors = (const qc_tensor *const *)m->tensors;
}

void memory_model_add_meta(memory_model *m, const qc_meta *meta)
{
    qc_meta *copy = copied(meta, sizeof *meta);
    copy->key = copied_text(meta->key);
    copy->data = copied_values(meta);
    m->metas = grown(m->metas, m->model.n_metas + 1, sizeof *m->metas);
    m->metas[m->model.n_metas++] = copy;
    m->model.metas = (const qc_meta *const *)m->metas;
}

static qc_status scan_tensor(const qc_scan *out, qc_job *job, const qc_tensor *t)
{
    memory_model *m = of_scan(out);
    if (memory_model_tensor(m, t->name))
        return qc_fail(job, QC_E_CORRUPT, "tensor '%.100s' occurs twice", t->name);
    memory_model_add_tensor(m, t);
    return QC_OK;
}

static qc_status scan_meta(const qc_scan *out, qc_job *job, const qc_meta *meta)
{
    memory_model *m = of_scan(out);
    if (memory_model_meta(m, meta->key))
        return qc_fail(job, QC_E_CORRUPT, "key '%.100s' occurs twice", meta->key);
    if (memory_value_bytes(meta->type) == 0 || (!meta->is_array && meta->count != 1))
        return qc_fail(job, QC_E_INTERNAL, "key '%.100s' was reported with a bad type or count", meta->key);
    memory_model_add_meta(m, meta);
    return QC_OK;
}

void memory_model_begin(memory_model *m)
{
    memset(m, 0, sizeof *m);
    m->scan = (qc_scan){sizeof(qc_scan), scan_tensor, scan_meta};
    m->model.size = sizeof m->model;
}

void memory_model_end(memory_model *m)
{
    for (size_t i = 0; i < m->model.n_tensors; i++) {
        free((void *)(uintptr_t)m->tensors[i]->name);
        free((void *)(uintptr_t)m->tensors[i]->encoding);
        free(m->tensors[i]);
    }
    for (size_t i = 0; i < m->model.n_metas; i++) {
        qc_meta *meta = m->metas[i];
        const qc_text *texts = meta->data;
        for (uint64_t k = 0; meta->type == QC_TEXT && k < meta->count; k++)
            free((void *)(uintptr_t)texts[k].data);
        free((void *)(uintptr_t)meta->data);
        free((void *)(uintptr_t)meta->key);
        free(meta);
    }
    free(m->tensors);
    free(m->metas);
    memset(m, 0, sizeof *m);
}

const qc_tensor *memory_model_tensor(const memory_model *m, const char *name)
{
    for (size_t i = 0; i < m->model.n_tensors; i++)
        if (!strcmp(m->tensors[i]->name, name))
            return m->tensors[i];
    return NULL;
}

const qc_meta *memory_model_meta(const memory_model *m, const char *key)
{
    for (size_t i = 0; i < m->model.n_metas; i++)
        if (!strcmp(m->metas[i]->key, key))
            return m->metas[i];
    return NULL;
}

/* A coder that says no more than the shape of a row: formats without an own array layout need nothing else. */
static qc_coder row_coder(const qc_tensor *t)
{
    return (qc_coder){.size = sizeof(qc_coder), .cols = (size_t)t->dims[0], .row_bytes = (size_t)t->row_bytes};
}

size_t memory_tensor_bytes(const qc_tensor *t)
{
    return (size_t)(t->file == QC_FILE_PARTS ? 4 * t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3] : t->bytes);
}

qc_status memory_load(qc_job *job, const qc_format_desc *format, const void *index, const memory_folder *f,
                      const qc_tensor *t, void *dst)
{
    const qc_coder coder = row_coder(t);
    if (t->file != QC_FILE_PARTS)
        return f->source.read_at(&f->source, job, t->file, t->at, (size_t)t->bytes, dst);
    return format->load(job, index, &f->source, t, &coder, 0, (size_t)(t->dims[1] * t->dims[2] * t->dims[3]), dst);
}

qc_status memory_store(qc_job *job, const qc_format_desc *format, const void *index, const memory_folder *f,
                       const qc_tensor *t, size_t i, const void *src)
{
    const qc_coder coder = row_coder(t);
    qc_tensor placed = *t;
    if (i >= f->n_places || !f->places[i].set)
        return qc_fail(job, QC_E_INTERNAL, "tensor '%.100s' was not placed", t->name);
    placed.file = f->places[i].file;
    placed.at = f->places[i].at;
    if (!format->store)
        return f->sink.write_at(&f->sink, job, placed.file, placed.at, (size_t)t->bytes ? src : "", (size_t)t->bytes);
    return format->store(job, index, &f->sink, &placed, &coder, 0, (size_t)(t->dims[1] * t->dims[2] * t->dims[3]), src);
}
