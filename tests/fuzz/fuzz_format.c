/* Every format reads every input. What it accepts must be consistent, loadable, and readable again after having been
 * written; no allocation may be out of proportion to the input.
 *
 * An input is one file, or a folder of several: "QCF1", then { u8 length; name; u32 length; bytes } each. */
#include "fuzz.h"
#include "memory_source.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

static const struct target {
    const char *plugin, *file_name;
} targets[] = {{"gguf", "model.gguf"},
               {"safetensors", "model.safetensors"},
               {"imatrix_dat", "imatrix.dat"},
               {"llama_logits", "base.kld"}};
enum { N_TARGETS = sizeof targets / sizeof *targets, N_WRITERS = 3 };

static const test_setting settings[] = {{"alignment", 32, NULL}, {"shard_bytes", 1000, NULL}, {NULL, 0, NULL}};

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

/* The test host's alloc, but bounded by the input's size. */
static size_t alloc_limit;
static void *(*unbounded_alloc)(const qc_host *host, size_t bytes);

static void *bounded_alloc(const qc_host *host, size_t bytes)
{
    expect(bytes <= alloc_limit, "an allocation is in proportion to the input");
    return unbounded_alloc(host, bytes);
}

static void begin_host(test_host *th, size_t input_size)
{
    test_host_begin(th);
    unbounded_alloc = th->host.alloc;
    th->host.alloc = bounded_alloc;
    alloc_limit = 64 * input_size + (1 << 17);
}

static int add_files(memory_folder *f, const uint8_t *data, size_t size)
{
    size_t at = 4;
    while (at < size) {
        char name[256];
        size_t name_length = data[at++];
        if (size - at < name_length + 4)
            break;
        memcpy(name, data + at, name_length);
        name[name_length] = '\0';
        at += name_length;
        size_t length = data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16 | (size_t)data[at + 3] << 24;
        at += 4;
        length = length < size - at ? length : size - at;
        memory_folder_add(f, name, data + at, length);
        at += length;
    }
    return f->n_files > 0;
}

static void check_tensor(const memory_folder *f, const qc_tensor *t)
{
    uint64_t rows = t->dims[1] * t->dims[2] * t->dims[3];
    expect(t->n_dims <= QC_MAX_DIMS, "at most four dimensions");
    for (uint32_t i = t->n_dims; i < QC_MAX_DIMS; i++)
        expect(t->dims[i] == 1, "missing dimensions are 1");
    expect(t->bytes == t->row_bytes * rows, "rows make the tensor");
    if (t->file == QC_FILE_PARTS)
        return;
    uint64_t length = f->files[t->file].length;
    expect(t->at <= length && t->bytes <= length - t->at, "a tensor lies in its file");
}

static int has_parts(const memory_model *m)
{
    for (size_t i = 0; i < m->model.n_tensors; i++)
        if (m->tensors[i]->file == QC_FILE_PARTS)
            return 1;
    return 0;
}

/* Codes that a format takes as they are, and the numbers they stand for. */
static qc_status load_codes(qc_job *job, const qc_format_desc *format, const void *index, const memory_folder *f,
                            const qc_tensor *t, const qc_encoding_desc *desc)
{
    qc_coder coder;
    qc_ops_encoding ops;
    size_t rows = (size_t)t->dims[1], cols = (size_t)t->dims[0];
    expect(test_coder(&coder, &ops, desc, "reference", cols), "an encoding has its reference");
    expect(coder.block_cols > 0 && cols % coder.block_cols == 0, "blocks make the row");
    unsigned char *data = malloc(rows * coder.row_bytes + 1);
    float *values = malloc(rows * cols * sizeof *values + 1);
    qc_status status = data && values ? format->load(job, index, &f->source, t, &coder, 0, rows, data) : QC_E_NOMEM;
    if (status == QC_OK) {
        expect(desc->validate(job, &coder, data, rows) == QC_OK, "codes that were taken are valid");
        status = qc_decode_rows(job, &coder, values, data, rows);
    }
    free(data);
    free(values);
    return status;
}

static const qc_encoding_desc *find_ints(const char *id)
{
    static const qc_plugin *ints;
    ints = ints ? ints : test_plugin_open("ints");
    return test_find_encoding(ints, id);
}

/* A number that is NaN may show only when it is looked at. */
static void load_all(qc_job *job, const qc_format_desc *format, const void *index, const memory_folder *f,
                     const memory_model *m)
{
    for (size_t i = 0; i < m->model.n_tensors; i++) {
        const qc_tensor *t = m->tensors[i];
        int in_parts = t->file == QC_FILE_PARTS;
        const qc_encoding_desc *codes = in_parts && strcmp(t->encoding, QC_ENCODING_F32) ? find_ints(t->encoding)
                                                                                         : NULL;
        unsigned char *data = malloc(memory_tensor_bytes(t) + 1);
        check_tensor(f, t);
        qc_status status = !data   ? QC_E_NOMEM
                           : codes ? load_codes(job, format, index, f, t, codes)
                                   : memory_load(job, format, index, f, t, data);
        expect(status == QC_OK || (in_parts && status == QC_E_NUMERIC), "what was reported can be loaded");
        free(data);
    }
}

/* Lays the model out in `format` (if that can hold it) and scans the result. */
static void write_and_read(test_host *th, const qc_format_desc *format, const char *file_name, const memory_model *m)
{
    memory_folder f;
    memory_model again;
    void *index = NULL;
    test_host_reset(th);
    memory_folder_begin(&f);
    memory_model_begin(&again);
    if (format->layout(&th->job, &m->model, test_settings(settings), &f.layout, &index) == QC_OK) {
        if (!f.files[0].name)
            memory_folder_rename(&f, 0, file_name);
        qc_status status = format->scan(&th->job, &f.source, &again.scan, &index);
        expect(status == QC_OK, th->message);
        expect(again.model.n_tensors == m->model.n_tensors, "all tensors were written");
        load_all(&th->job, format, index, &f, &again);
    }
    memory_model_end(&again);
    memory_folder_end(&f);
}

static void run_target(const qc_format_desc *const *formats, size_t i, const uint8_t *data, size_t size)
{
    test_host th;
    memory_folder f;
    memory_model m;
    void *index = NULL;
    int folder = size > 4 && !memcmp(data, "QCF1", 4);
    begin_host(&th, size);
    memory_folder_begin(&f);
    memory_model_begin(&m);
    formats[i]->probe(targets[i].file_name, data, size);
    if (!folder)
        memory_folder_add(&f, targets[i].file_name, data, size);
    if (!folder || add_files(&f, data, size)) {
        qc_status status = formats[i]->scan(&th.job, &f.source, &m.scan, &index);
        expect((status == QC_OK) == (th.status == QC_OK), "a failure has a message, a success none");
        if (status == QC_OK)
            load_all(&th.job, formats[i], index, &f, &m);
        for (size_t k = 0; k < N_WRITERS && status == QC_OK && !has_parts(&m); k++)
            write_and_read(&th, formats[k], targets[k].file_name, &m);
        if (status == QC_OK && formats[i]->release)
            formats[i]->release(&th.host, index);
    }
    memory_model_end(&m);
    memory_folder_end(&f);
    test_host_end(&th);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const qc_format_desc *formats[N_TARGETS];
    for (size_t i = 0; i < N_TARGETS && !formats[N_TARGETS - 1]; i++)
        formats[i] = test_format_open(targets[i].plugin);
    for (size_t i = 0; i < N_TARGETS; i++)
        run_target(formats, i, data, size);
    return 0;
}
