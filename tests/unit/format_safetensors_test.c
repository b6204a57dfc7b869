/* The safetensors format: writing and reading again, shards, and every refusal with its message. */
#include "bytes.h"
#include "format_check.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const qc_format_desc *safetensors;
static const test_setting one_file[] = {{"shard_bytes", 5e9, NULL}, {NULL, 0, NULL}};

#define INDEX "model.safetensors.index.json"

/* A file of this header and n bytes of data. */
static void put_file(byte_buffer *b, const char *header, size_t n)
{
    put_u64(b, strlen(header));
    put_bytes(b, header, strlen(header));
    put_zeros(b, n);
}

static void add_file(memory_folder *f, const char *name, const char *header, size_t n)
{
    byte_buffer b = {0};
    put_file(&b, header, n);
    memory_folder_add(f, name, b.data, b.n);
    buffer_end(&b);
}

static void add_everything(memory_model *m)
{
    static const struct {
        const char *encoding;
        uint32_t bytes;
    } types[] = {{"f64", 8}, {"f32", 4}, {"f16", 2}, {"bf16", 2}, {"f8_e4m3", 1}, {"f8_e5m2", 1},
                 {"i64", 8}, {"i32", 4}, {"i16", 2}, {"i8", 1},   {"u8", 1},      {"bool", 1}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%zu.\"quoted\" \xc3\xbc.weight", i);
        format_add_tensor(m, name, types[i].encoding, 1, types[i].bytes, (const uint64_t[]){3 + i, 5, 2, 0});
    }
    format_add_tensor(m, "scalar", "f32", 1, 4, (const uint64_t[]){0});
    format_add_tensor(m, "one_row", "f16", 1, 2, (const uint64_t[]){9, 1, 0});
    format_add_tensor(m, "four", "f16", 1, 2, (const uint64_t[]){2, 3, 4, 5});
    format_add_text(m, "safetensors.format", "np");
    format_add_text(m, "safetensors.note", "a \"b\"\n\xe4\xb8\xad");
}

static void writes_what_it_reads(void **state)
{
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    format_round_trip(safetensors, &m.model, one_file, &f);
    assert_int_equal(f.n_files, 1);
    assert_string_equal(f.files[0].name, "model.safetensors");
    assert_int_equal(f.files[0].data[0] % 8, 0);
    assert_int_equal(f.files[0].data[8], '{');
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void writes_shards(void **state)
{
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    for (double shard_bytes = 1; shard_bytes < 2000; shard_bytes = shard_bytes * 3 + 100) {
        const test_setting settings[] = {{"shard_bytes", shard_bytes, NULL}, {NULL, 0, NULL}};
        format_round_trip(safetensors, &m.model, settings, &f); /* file 0 is a shard: its index is found */
        assert_true(f.n_files > 2);
        assert_non_null(memory_folder_find(&f, INDEX));
        memory_folder_end(&f);
    }
    memory_model_end(&m);
}

static void says_its_format_to_hugging_face(void **state)
{
    memory_model m;
    memory_folder f;
    const uint32_t number = 5;
    (void)state;
    memory_model_begin(&m);
    format_add_text(&m, "general.name", "not for the header");
    format_add_meta(&m, "safetensors.number", QC_U32, 0, 1, &number);
    format_add_tensor(&m, "a", "f32", 1, 4, (const uint64_t[]){2, 0});
    format_write(safetensors, &m.model, one_file, &f);
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],"
                                 "\"data_offsets\":[0,8]}}";
    size_t padded = (sizeof header - 1 + 7) / 8 * 8;
    assert_int_equal(f.files[0].length, 8 + padded + 8);
    assert_int_equal(f.files[0].data[0], padded);
    assert_memory_equal(f.files[0].data + 8, header, sizeof header - 1);
    for (size_t i = sizeof header - 1; i < padded; i++)
        assert_int_equal(f.files[0].data[8 + i], ' ');
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void refuses_to_write(void **state)
{
    static const struct {
        const char *name, *encoding, *words;
        qc_status status;
    } cases[] = {
        {"a", "q4_k", "no dtype for this encoding", QC_E_UNSUPPORTED},
        {"__metadata__", "f32", "this name is reserved", QC_E_UNSUPPORTED},
        {"a\xff", "f32", "not UTF-8", QC_E_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_model m;
        memory_model_begin(&m);
        format_add_tensor(&m, cases[i].name, cases[i].encoding, 1, 1, (const uint64_t[]){256, 0});
        format_expect_unwritable(safetensors, &m.model, one_file, cases[i].status, cases[i].words);
        memory_model_end(&m);
    }
    const qc_text text = {"zero \0 byte", 11};
    memory_model m;
    memory_model_begin(&m);
    format_add_meta(&m, "safetensors.note", QC_TEXT, 0, 1, &text);
    format_expect_unwritable(safetensors, &m.model, one_file, QC_E_INVALID, "a name or text that is not UTF-8");
    memory_model_end(&m);
}

static void reads_empty_tensors(void **state)
{
    test_host th;
    memory_folder f;
    memory_model m;
    (void)state;
    memory_folder_begin(&f);
    add_file(&f, "m.safetensors",
             "{\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
             "\"a\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}}   ",
             4);
    test_host_begin(&th);
    assert_int_equal(format_scan(&th, safetensors, &f, &m), QC_OK);
    assert_int_equal(memory_model_tensor(&m, "a")->bytes, 0);
    assert_int_equal(memory_model_tensor(&m, "a")->row_bytes, 12);
    memory_model_end(&m);
    test_host_end(&th);
    memory_folder_end(&f);
}

#define TENSOR(fields) "{\"some.weight\":{" fields "}}"

static void refuses_to_read(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        qc_status status;
        const char *words;
    } cases[] = {
        {"{", 0, QC_E_CORRUPT, "bad.safetensors:1:"},
        {"[]", 0, QC_E_CORRUPT, "not a JSON object"},
        {"{\"a\":1,\"a\":2}", 0, QC_E_CORRUPT, "duplicate"},
        {"{\"\xff\":1}", 0, QC_E_CORRUPT, "unable to decode byte 0xff"},
        {"{}", 8, QC_E_CORRUPT, "8 bytes after the last tensor belong to none"},
        {"{\"some.weight\":1}", 0, QC_E_CORRUPT, "bad.safetensors: tensor 'some.weight': no \"dtype\""},
        {"{\"a\\nb\":1}", 0, QC_E_CORRUPT, "unprintable name"},
        {"{\"\":1}", 0, QC_E_CORRUPT, "empty or unprintable name"},
        {TENSOR("\"dtype\":7"), 0, QC_E_CORRUPT, "tensor 'some.weight': no \"dtype\""},
        {TENSOR("\"dtype\":\"F4\""), 0, QC_E_UNSUPPORTED, "tensor 'some.weight' has the unknown dtype \"F4\""},
        {TENSOR("\"dtype\":\"F32\""), 0, QC_E_CORRUPT, "\"shape\" is not a list"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1]"), 0, QC_E_UNSUPPORTED, "has 5 dimensions, at most 4"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[-1]"), 0, QC_E_CORRUPT, "something else than whole numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1.5]"), 0, QC_E_CORRUPT, "something else than whole numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[\"2\"]"), 0, QC_E_CORRUPT, "something else than whole numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[99999999999999999999]"), 0, QC_E_CORRUPT, "whole numbers"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]"), 0, QC_E_CORRUPT, "dimensions are absurd"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1]"), 0, QC_E_CORRUPT, "\"data_offsets\" is not a pair"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 0, QC_E_CORRUPT, "not a pair"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]"), 4, QC_E_CORRUPT, "not a pair"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, QC_E_CORRUPT, "end before they begin"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 4, QC_E_CORRUPT,
         "cut short: tensor 'some.weight' ends at byte 8 of the data, the file has 4"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, QC_E_CORRUPT,
         "shape and dtype make 8 bytes, \"data_offsets\" 4"},
        {TENSOR("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8, QC_E_CORRUPT,
         "tensors leave a gap at byte 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
         6, QC_E_CORRUPT, "tensors overlap at byte 2"},
        {"{\"__metadata__\":7}", 0, QC_E_CORRUPT, "\"__metadata__\" is not an object"},
        {"{\"__metadata__\":{\"k\":7}}", 0, QC_E_CORRUPT, "'k' is not a text"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_folder f;
        memory_folder_begin(&f);
        add_file(&f, "bad.safetensors", cases[i].header, cases[i].data);
        format_expect_refusal(safetensors, &f, cases[i].status, cases[i].words);
        memory_folder_end(&f);
    }
}

static void refuses_deep_nesting(void **state)
{
    enum { DEPTH = 500000 };
    static char header[DEPTH + 16];
    memory_folder f;
    (void)state;
    memcpy(header, "{\"a\":", 5);
    memset(header + 5, '[', DEPTH);
    memory_folder_begin(&f);
    add_file(&f, "deep.safetensors", header, 0);
    format_expect_refusal(safetensors, &f, QC_E_CORRUPT, "maximum parsing depth");
    memory_folder_end(&f);
}

static void refuses_absurd_header_lengths(void **state)
{
    (void)state;
    for (int bit = 4; bit < 64; bit++) {
        byte_buffer b = {0};
        put_file(&b, "{}", 0);
        b.data[bit / 8] = (unsigned char)(b.data[bit / 8] | 1 << bit % 8);
        format_expect_bad_file(safetensors, "bad.safetensors", b.data, b.n, QC_E_CORRUPT, "header");
        buffer_end(&b);
    }
}

static void refuses_every_part_of_a_file(void **state)
{
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    format_write(safetensors, &m.model, one_file, &f);
    format_expect_no_part(safetensors, "part.safetensors", f.files[0].data, (size_t)f.files[0].length);
    memory_folder_end(&f);
    memory_model_end(&m);
}

/* Shards */

#define ONE(name) "{\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void add_text(memory_folder *f, const char *name, const char *text)
{
    memory_folder_add(f, name, text, strlen(text));
}

static void reads_an_index(void **state)
{
    test_host th;
    memory_folder f;
    memory_model m;
    (void)state;
    memory_folder_begin(&f);
    add_text(&f, INDEX,
             "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"b\":\"y.safetensors\",\"a\":\"x.safetensors\"}}");
    add_file(&f, "x.safetensors", ONE("a"), 4);
    add_file(&f, "y.safetensors", ONE("b"), 4);
    test_host_begin(&th);
    assert_int_equal(format_scan(&th, safetensors, &f, &m), QC_OK);
    assert_int_equal(m.model.n_tensors, 2);
    assert_int_equal(memory_model_tensor(&m, "a")->file, 1);
    assert_int_equal(memory_model_tensor(&m, "b")->file, 2);
    memory_model_end(&m);
    test_host_end(&th);
    memory_folder_end(&f);
}

static void refuses_broken_shards(void **state)
{
    static const struct {
        const char *index, *shard;
        qc_status status;
        const char *words;
    } cases[] = {
        {"{}", "a", QC_E_CORRUPT, INDEX ": no \"weight_map\""},
        {"{\"weight_map\":[]}", "a", QC_E_CORRUPT, "no \"weight_map\""},
        {"{\"weight_map\":{\"a\":7}}", "a", QC_E_CORRUPT, "tensor 'a' is not placed in a file of this folder"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "a", QC_E_CORRUPT, "not placed in a file of this folder"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "a", QC_E_CORRUPT, "not placed in a file of this folder"},
        {"{\"weight_map\":{\"a\":\"z.safetensors\"}}", "a", QC_E_IO, "z.safetensors"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"}}", ONE("a"), QC_E_CORRUPT,
         "x.safetensors: tensor 'b', which the index places here, is missing"},
        {"{\"weight_map\":{\"b\":\"x.safetensors\"}}",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         QC_E_CORRUPT, "x.safetensors: holds tensor 'a', which the index does not know"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_folder f;
        memory_folder_begin(&f);
        add_text(&f, INDEX, cases[i].index);
        add_file(&f, "x.safetensors", cases[i].shard, 4);
        format_expect_refusal(safetensors, &f, cases[i].status, cases[i].words);
        memory_folder_end(&f);
    }
}

static void wants_the_index_of_a_shard(void **state)
{
    memory_folder f;
    (void)state;
    memory_folder_begin(&f);
    add_file(&f, "model-00001-of-00002.safetensors", ONE("a"), 4);
    format_expect_refusal(safetensors, &f, QC_E_IO, "their index " INDEX " is missing");
    memory_folder_end(&f);
}

static void survives_lack_of_memory(void **state)
{
    const test_setting shards[] = {{"shard_bytes", 500, NULL}, {NULL, 0, NULL}};
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    format_write(safetensors, &m.model, shards, &f);
    format_expect_nomem(safetensors, &f);
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void is_known_by_name_and_header(void **state)
{
    static const unsigned char head[] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    (void)state;
    assert_true(safetensors->probe("model.safetensors", head, sizeof head) > 90);
    assert_true(safetensors->probe("weights.bin", head, sizeof head) > 0);
    assert_true(safetensors->probe(INDEX, "{}", 2) > 0);
    assert_int_equal(safetensors->probe("model.safetensors", "GGUF\3\0\0\0\0\0\0", 11), 0);
    assert_int_equal(safetensors->probe("model.safetensors", "", 0), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(writes_shards),
        cmocka_unit_test(says_its_format_to_hugging_face),
        cmocka_unit_test(refuses_to_write),
        cmocka_unit_test(reads_empty_tensors),
        cmocka_unit_test(refuses_to_read),
        cmocka_unit_test(refuses_deep_nesting),
        cmocka_unit_test(refuses_absurd_header_lengths),
        cmocka_unit_test(refuses_every_part_of_a_file),
        cmocka_unit_test(reads_an_index),
        cmocka_unit_test(refuses_broken_shards),
        cmocka_unit_test(wants_the_index_of_a_shard),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(is_known_by_name_and_header),
    };
    safetensors = test_format_open("safetensors");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
