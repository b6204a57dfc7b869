#include "format_check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned char *buffer(const qc_tensor *t)
{
    unsigned char *data = malloc(memory_tensor_bytes(t) + 1);
    assert_non_null(data);
    return data;
}

/* Scan and load, whatever becomes of it. */
static qc_status try_scan(test_host *th, const qc_format_desc *format, memory_folder *f, memory_model *m)
{
    void *index = NULL;
    memory_model_begin(m);
    qc_status status = format->scan(&th->job, &f->source, &m->scan, &index);
    for (size_t i = 0; i < m->model.n_tensors && status == QC_OK; i++) {
        unsigned char *data = buffer(m->tensors[i]);
        status = memory_load(&th->job, format, index, f, m->tensors[i], data);
        free(data);
    }
    if (format->release)
        format->release(&th->host, index);
    return status;
}

qc_status format_scan(test_host *th, const qc_format_desc *format, memory_folder *f, memory_model *m)
{
    return try_scan(th, format, f, m);
}

void format_expect_refusal(const qc_format_desc *format, memory_folder *f, qc_status status, const char *words)
{
    test_host th;
    memory_model m;
    test_host_begin(&th);
    assert_int_equal(try_scan(&th, format, f, &m), status);
    if (!strstr(th.message, words))
        fail_msg("\"%s\" was expected in: %s", words, th.message);
    memory_model_end(&m);
    test_host_end(&th);
}

void format_expect_bad_file(const qc_format_desc *format, const char *name, const void *data, size_t n,
                            qc_status status, const char *words)
{
    memory_folder f;
    memory_folder_begin(&f);
    memory_folder_add(&f, name, data, n);
    format_expect_refusal(format, &f, status, words);
    memory_folder_end(&f);
}

void format_expect_no_part(const qc_format_desc *format, const char *name, const void *data, size_t whole)
{
    for (size_t n = 0; n < whole; n++)
        format_expect_bad_file(format, name, data, n, QC_E_CORRUPT, name);
}

void format_expect_nomem(const qc_format_desc *format, memory_folder *f)
{
    qc_status status = QC_E_NOMEM;
    for (size_t k = 1; status != QC_OK; k++) {
        test_host th;
        memory_model m;
        test_host_begin(&th);
        th.fail_at = k;
        status = try_scan(&th, format, f, &m);
        assert_true(status == QC_OK || status == QC_E_NOMEM);
        assert_int_equal(th.status, status);
        memory_model_end(&m);
        test_host_end(&th);
    }
}

void format_fill(const qc_tensor *t, unsigned char *data)
{
    uint32_t x = 2166136261u;
    for (const char *c = t->name; *c; c++)
        x = (x ^ (unsigned char)*c) * 16777619u;
    for (uint64_t i = 0; i < t->bytes; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (unsigned char)(x >> 24);
    }
}

void format_write(const qc_format_desc *format, const qc_model *model, const test_setting *settings,
                  memory_folder *written)
{
    test_host th;
    void *index = NULL;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(written);
    if (format->layout(job, model, test_settings(settings), &written->layout, &index) != QC_OK)
        fail_msg("layout: %s", th.message);
    for (size_t i = 0; i < model->n_tensors; i++) {
        unsigned char *data = buffer(model->tensors[i]);
        format_fill(model->tensors[i], data);
        assert_int_equal(memory_store(job, format, index, written, model->tensors[i], i, data), QC_OK);
        free(data);
    }
    if (format->release)
        format->release(&th.host, index);
    test_host_end(&th);
}

static void expect_meta(const qc_meta *want, const qc_meta *got)
{
    assert_non_null(got);
    assert_int_equal(got->type, want->type);
    assert_int_equal(got->is_array, want->is_array);
    assert_int_equal(got->count, want->count);
    const qc_text *a = want->data, *b = got->data;
    if (want->type != QC_TEXT)
        assert_memory_equal(got->data, want->data, (size_t)want->count * memory_value_bytes(want->type));
    for (uint64_t i = 0; want->type == QC_TEXT && i < want->count; i++) {
        assert_int_equal(a[i].length, b[i].length);
        assert_memory_equal(a[i].data, b[i].data, a[i].length);
    }
}

static void expect_tensor(const qc_tensor *want, const qc_tensor *got, const unsigned char *data)
{
    unsigned char *stored = buffer(want);
    assert_string_equal(got->encoding, want->encoding);
    for (size_t i = 0; i < QC_MAX_DIMS; i++)
        assert_int_equal(got->dims[i], want->dims[i]);
    assert_int_equal(got->bytes, want->bytes);
    assert_int_equal(got->row_bytes, want->row_bytes);
    format_fill(want, stored);
    assert_memory_equal(data, stored, (size_t)want->bytes);
    free(stored);
}

void format_round_trip(const qc_format_desc *format, const qc_model *model, const test_setting *settings,
                       memory_folder *written)
{
    test_host th;
    memory_model m;
    format_write(format, model, settings, written);
    if (!written->files[0].name)
        memory_folder_rename(written, 0, "model.file");
    test_host_begin(&th);
    if (format_scan(&th, format, written, &m) != QC_OK)
        fail_msg("scan: %s", th.message);
    assert_int_equal(m.model.n_tensors, model->n_tensors);
    for (size_t i = 0; i < model->n_metas; i++)
        expect_meta(model->metas[i], memory_model_meta(&m, model->metas[i]->key));
    for (size_t i = 0; i < model->n_tensors; i++) {
        const qc_tensor *got = memory_model_tensor(&m, model->tensors[i]->name);
        assert_non_null(got);
        expect_tensor(model->tensors[i], got, written->files[got->file].data + got->at);
    }
    memory_model_end(&m);
    test_host_end(&th);
}

void format_expect_unwritable(const qc_format_desc *format, const qc_model *model, const test_setting *settings,
                              qc_status status, const char *words)
{
    test_host th;
    memory_folder f;
    void *index = NULL;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    assert_int_equal(format->layout(job, model, test_settings(settings), &f.layout, &index), status);
    if (!strstr(th.message, words))
        fail_msg("\"%s\" was expected in: %s", words, th.message);
    memory_folder_end(&f);
    test_host_end(&th);
}

void format_add_tensor(memory_model *m, const char *name, const char *encoding, uint32_t cols, uint32_t block_bytes,
                       const uint64_t *dims)
{
    qc_tensor t = {.size = sizeof t, .name = name, .encoding = encoding, .dims = {1, 1, 1, 1}};
    for (; t.n_dims < QC_MAX_DIMS && dims[t.n_dims]; t.n_dims++)
        t.dims[t.n_dims] = dims[t.n_dims];
    t.row_bytes = t.dims[0] / cols * block_bytes;
    t.bytes = t.row_bytes * t.dims[1] * t.dims[2] * t.dims[3];
    memory_model_add_tensor(m, &t);
}

void format_add_meta(memory_model *m, const char *key, uint32_t type, int is_array, uint64_t count, const void *data)
{
    const qc_meta meta = {sizeof meta, key, type, is_array != 0, count, data};
    memory_model_add_meta(m, &meta);
}

void format_add_text(memory_model *m, const char *key, const char *value)
{
    const qc_text text = {value, strlen(value)};
    format_add_meta(m, key, QC_TEXT, 0, 1, &text);
}
