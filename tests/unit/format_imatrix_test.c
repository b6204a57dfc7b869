/* The imatrix format: the layout of older llama-imatrix programs, seen as the GGUF layout's tensors. */
#include "bytes.h"
#include "format_check.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const qc_format_desc *imatrix;

static void put_entry(byte_buffer *b, const char *name, uint32_t calls, uint32_t n_values)
{
    put_u32(b, (uint32_t)strlen(name));
    put_bytes(b, name, strlen(name));
    put_u32(b, calls);
    put_u32(b, n_values);
    for (uint32_t i = 0; i < n_values; i++)
        put_f32(b, (float)(i + 1) * (float)calls);
}

/* Two entries; the values are 1, 2, 3, ... times the calls. */
static void put_entries(byte_buffer *b)
{
    put_u32(b, 2);
    put_entry(b, "blk.0.attn_q.weight", 12, 4);
    put_entry(b, "blk.0.ffn_down_exps.weight", 3, 6);
}

static void put_end(byte_buffer *b)
{
    put_u32(b, 55);
    put_u32(b, 8);
    put_bytes(b, "wiki.txt", 8);
}

/* Scans a file and loads a tensor of it as f32; returns how many values. */
static size_t load(const byte_buffer *b, const char *tensor, float *values, memory_model *m)
{
    test_host th;
    memory_folder f;
    void *index = NULL;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    memory_model_begin(m);
    memory_folder_add(&f, "imatrix.dat", b->data, b->n);
    if (imatrix->scan(job, &f.source, &m->scan, &index) != QC_OK)
        fail_msg("scan: %s", th.message);
    const qc_tensor *t = memory_model_tensor(m, tensor);
    assert_non_null(t);
    assert_string_equal(t->encoding, "f32");
    assert_int_equal(memory_load(job, imatrix, index, &f, t, values), QC_OK);
    size_t n = (size_t)t->dims[0];
    memory_folder_end(&f);
    test_host_end(&th);
    return n;
}

static void reports_sums_and_counts(void **state)
{
    byte_buffer b = {0};
    memory_model m;
    float values[8];
    (void)state;
    put_entries(&b);
    put_end(&b);
    assert_int_equal(load(&b, "blk.0.ffn_down_exps.weight.in_sum2", values, &m), 6);
    for (int i = 0; i < 6; i++)
        assert_true(values[i] == 3.0f * (float)(i + 1));
    assert_int_equal(m.model.n_tensors, 4);
    const qc_meta *chunks = memory_model_meta(&m, "imatrix.chunk_count");
    const qc_meta *datasets = memory_model_meta(&m, "imatrix.datasets");
    assert_int_equal(*(const uint32_t *)chunks->data, 55);
    assert_true(datasets->is_array && datasets->count == 1);
    assert_memory_equal(((const qc_text *)datasets->data)->data, "wiki.txt", 8);
    assert_non_null(memory_model_meta(&m, "general.type"));
    memory_model_end(&m);
    assert_int_equal(load(&b, "blk.0.attn_q.weight.counts", values, &m), 1);
    assert_true(values[0] == 12.0f);
    memory_model_end(&m);
    buffer_end(&b);
}

static void takes_values_without_calls_as_they_are(void **state)
{
    byte_buffer b = {0};
    memory_model m;
    float count;
    (void)state;
    put_u32(&b, 1);
    put_entry(&b, "output.weight", 0, 2);
    load(&b, "output.weight.counts", &count, &m);
    assert_true(count == 1.0f);
    assert_null(memory_model_meta(&m, "imatrix.chunk_count"));
    memory_model_end(&m);
    buffer_end(&b);
}

static void refuses_every_part_of_a_file(void **state)
{
    byte_buffer b = {0};
    (void)state;
    put_entries(&b);
    format_expect_no_part(imatrix, "part.dat", b.data, b.n);
    size_t entries = b.n;
    put_end(&b);
    for (size_t n = entries + 8; n < b.n; n++)
        format_expect_bad_file(imatrix, "part.dat", b.data, n, QC_E_CORRUPT, "cut short");
    buffer_end(&b);
}

/* Overwrites the four bytes at `at` of a good file. */
static void refuses_bad_numbers(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
        const char *words;
    } cases[] = {
        {0, 0, "number of entries is 0"},
        {0, 1u << 30, "number of entries is 1073741824"},
        {0, UINT32_MAX, "number of entries is -1"},
        {4, 0, "length of a name is 0"},
        {4, 256, "length of a name is 256"},
        {4, UINT32_MAX, "length of a name is -1"},
        {8, 0x0a, "unprintable name"},
        {27, UINT32_MAX, "'blk.0.attn_q.weight' was seen -1 times"},
        {31, 0, "number of values is 0"},
        {31, UINT32_MAX, "number of values is -1"},
        {31, INT32_MAX, "cut short"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        byte_buffer b = {0}, number = {0};
        put_entries(&b);
        put_u32(&number, cases[i].value);
        memcpy(b.data + cases[i].at, number.data, 4);
        format_expect_bad_file(imatrix, "bad.dat", b.data, b.n, QC_E_CORRUPT, cases[i].words);
        buffer_end(&number);
        buffer_end(&b);
    }
}

static void refuses_entries_that_occur_twice(void **state)
{
    byte_buffer b = {0};
    (void)state;
    put_u32(&b, 2);
    put_entry(&b, "output.weight", 1, 2);
    put_entry(&b, "output.weight", 1, 2);
    format_expect_bad_file(imatrix, "twice.dat", b.data, b.n, QC_E_CORRUPT, "occurs twice");
    buffer_end(&b);
}

static void survives_lack_of_memory(void **state)
{
    byte_buffer b = {0};
    memory_folder f;
    (void)state;
    put_entries(&b);
    put_end(&b);
    memory_folder_begin(&f);
    memory_folder_add(&f, "m.dat", b.data, b.n);
    format_expect_nomem(imatrix, &f);
    memory_folder_end(&f);
    buffer_end(&b);
}

/* ---- writing ---- */

static const float written_values[6] = {3, 6, 9, 12, 15, 18};

static void add_entry(memory_model *m, const char *stem, uint64_t cols, uint64_t matrices)
{
    char name[300];
    snprintf(name, sizeof name, "%s.in_sum2", stem);
    format_add_tensor(m, name, "f32", 1, 4, (const uint64_t[]){cols, matrices, 0});
    snprintf(name, sizeof name, "%s.counts", stem);
    format_add_tensor(m, name, "f32", 1, 4, (const uint64_t[]){1, 1, 0});
}

/* Lays out a model and stores the same sums and count for every entry; the status of the last store. */
static qc_status write_entries(const memory_model *m, float count, memory_folder *f, test_host *th)
{
    void *index = NULL;
    qc_job *job = test_host_begin(th);
    memory_folder_begin(f);
    qc_status status = imatrix->layout(job, &m->model, test_settings(NULL), &f->layout, &index);
    for (size_t i = 0; status == QC_OK && i < m->model.n_tensors; i++)
        status = memory_store(job, imatrix, index, f, m->tensors[i], i,
                              strstr(m->tensors[i]->name, ".counts") ? &count : written_values);
    return status;
}

/* The very bytes: what an older llama-imatrix would have written. */
static void writes_the_older_layout(void **state)
{
    byte_buffer wanted = {0};
    memory_model m;
    memory_folder f;
    test_host th;
    uint32_t chunks = 55;
    const qc_text dataset = {"wiki.txt", 8};
    (void)state;
    memory_model_begin(&m);
    add_entry(&m, "blk.0.ffn_down_exps.weight", 3, 2);
    add_entry(&m, "output.weight", 2, 1);
    format_add_meta(&m, "imatrix.datasets", QC_TEXT, 1, 1, &dataset);
    format_add_meta(&m, "imatrix.chunk_count", QC_U32, 0, 1, &chunks);
    assert_int_equal(write_entries(&m, 3, &f, &th), QC_OK);
    put_u32(&wanted, 2);
    put_entry(&wanted, "blk.0.ffn_down_exps.weight", 3, 6);
    put_entry(&wanted, "output.weight", 3, 2);
    put_end(&wanted);
    assert_int_equal(f.files[0].length, wanted.n);
    assert_memory_equal(f.files[0].data, wanted.data, wanted.n);
    memory_folder_end(&f);
    memory_model_end(&m);
    buffer_end(&wanted);
    test_host_end(&th);
}

static void refuses_what_the_older_layout_cannot_hold(void **state)
{
    static const struct {
        const char *name, *encoding;
        uint64_t dims[3];
        const char *words;
    } cases[] = {
        {"blk.0.attn_q.weight.gram", "f32", {4, 4, 0}, "mean squares of columns and nothing else"},
        {"blk.0.attn_q.weight.in_sum2", "f16", {4, 1, 0}, "f32 values"},
        {"blk.0.attn_q.weight.counts", "f32", {1, 4, 0}, "one count for all matrices"},
        {"blk 0.in_sum2", "f32", {4, 1, 0}, "printable names"},
        {"blk.0.attn_q.weight.in_sum2", "f32", {4, 1, 0}, "has no counts beside it"},
        {"blk.0.attn_q.weight.counts", "f32", {1, 1, 0}, "sums and as many counts"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_model m;
        memory_model_begin(&m);
        format_add_tensor(&m, cases[i].name, cases[i].encoding, 1, 4, cases[i].dims);
        qc_status status = i < 4 ? QC_E_UNSUPPORTED : QC_E_INVALID;
        format_expect_unwritable(imatrix, &m.model, NULL, status, cases[i].words);
        memory_model_end(&m);
    }
}

static void refuses_counts_that_are_no_whole_numbers(void **state)
{
    static const float counts[] = {1.5f, -1.0f, 2147483648.0f, (float)INFINITY, (float)NAN};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        memory_model m;
        memory_folder f;
        test_host th;
        memory_model_begin(&m);
        add_entry(&m, "output.weight", 2, 1);
        assert_int_equal(write_entries(&m, counts[i], &f, &th), QC_E_INVALID);
        assert_non_null(strstr(th.message, "whole numbers"));
        memory_folder_end(&f);
        memory_model_end(&m);
        test_host_end(&th);
    }
}

static void is_known_by_its_content(void **state)
{
    byte_buffer b = {0};
    (void)state;
    put_entries(&b);
    assert_true(imatrix->probe("any.name", b.data, b.n) > 50);
    assert_int_equal(imatrix->probe("imatrix.dat", b.data, 10), 0);
    assert_int_equal(imatrix->probe("imatrix.dat", "GGUF\3\0\0\0\0\0\0\0\0", 13), 0);
    assert_int_equal(imatrix->probe("imatrix.dat", "{\"model\": \"a json file\"}", 20), 0);
    buffer_end(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_sums_and_counts),
        cmocka_unit_test(takes_values_without_calls_as_they_are),
        cmocka_unit_test(refuses_every_part_of_a_file),
        cmocka_unit_test(refuses_bad_numbers),
        cmocka_unit_test(refuses_entries_that_occur_twice),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(is_known_by_its_content),
        cmocka_unit_test(writes_the_older_layout),
        cmocka_unit_test(refuses_what_the_older_layout_cannot_hold),
        cmocka_unit_test(refuses_counts_that_are_no_whole_numbers),
    };
    imatrix = test_format_open("imatrix_dat");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
