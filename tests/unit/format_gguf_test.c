/* The gguf format: writing and reading again, and split files. */
#include "format_check.h"
#include "gguf_bytes.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const qc_format_desc *gguf;
static const test_setting standard[] = {{"alignment", 32, NULL}, {NULL, 0, NULL}};

/* A small model of all value types, and of tensors plain and in blocks. */
static void add_everything(memory_model *m)
{
    static const uint8_t u8[] = {0, 255};
    static const int8_t i8[] = {-128, 127};
    static const uint16_t u16[] = {0, 65535, 7};
    static const int16_t i16[] = {-32768, 32767};
    static const uint32_t u32[] = {0, UINT32_MAX};
    static const int32_t i32[] = {INT32_MIN, INT32_MAX};
    static const float f32[] = {0.5f, -1e30f, 1e-40f};
    static const uint8_t flags[] = {1, 0, 1};
    static const uint64_t u64[] = {0, UINT64_MAX};
    static const int64_t i64[] = {INT64_MIN, INT64_MAX};
    static const double f64[] = {0.1, -1e300};
    static const qc_text texts[] = {{"a", 1}, {"", 0}, {"with \0 zero", 11}, {"\xc3\xbc", 2}};
    static const struct {
        const void *data;
        uint64_t count;
    } values[QC_N_TYPES] = {{u8, 2},    {i8, 2},    {u16, 3},  {i16, 2}, {u32, 2}, {i32, 2}, {f32, 3},
                            {flags, 3}, {texts, 4}, {NULL, 0}, {u64, 2}, {i64, 2}, {f64, 2}};
    format_add_text(m, "general.architecture", "llama");
    for (uint32_t type = 0; type < QC_N_TYPES; type++) {
        char key[32];
        if (!values[type].data)
            continue;
        snprintf(key, sizeof key, "one.%u", type);
        format_add_meta(m, key, type, 0, 1, values[type].data);
        snprintf(key, sizeof key, "many.%u", type);
        format_add_meta(m, key, type, 1, values[type].count, values[type].data);
        snprintf(key, sizeof key, "none.%u", type);
        format_add_meta(m, key, type, 1, 0, values[type].data);
    }
    format_add_tensor(m, "token_embd.weight", "q4_k", 256, 144, (const uint64_t[]){512, 7, 0});
    format_add_tensor(m, "blk.0.attn_norm.weight", "f32", 1, 4, (const uint64_t[]){5, 0});
    format_add_tensor(m, "blk.0.ffn_up_exps.weight", "nvfp4", 64, 36, (const uint64_t[]){64, 3, 2, 0});
    format_add_tensor(m, "scalar", "f64", 1, 8, (const uint64_t[]){0});
    format_add_tensor(m, "one_row", "f16", 1, 2, (const uint64_t[]){9, 1, 1, 1});
    format_add_tensor(m, "last", "q8_0", 32, 34, (const uint64_t[]){32, 0});
}

static void writes_what_it_reads(void **state)
{
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    for (uint32_t alignment = 8; alignment <= 65536; alignment *= 2) {
        const test_setting settings[] = {{"alignment", alignment, NULL}, {NULL, 0, NULL}};
        format_round_trip(gguf, &m.model, settings, &f);
        assert_int_equal(f.files[0].length % alignment, 0); /* padded after the last tensor too */
        memory_folder_end(&f);
    }
    memory_model_end(&m);
}

static void reads_version_2(void **state)
{
    memory_model m, again;
    memory_folder f;
    test_host th;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    format_write(gguf, &m.model, standard, &f);
    memory_folder_rename(&f, 0, "two.gguf");
    assert_int_equal(f.files[0].data[4], 3);
    f.files[0].data[4] = 2;
    test_host_begin(&th);
    assert_int_equal(format_scan(&th, gguf, &f, &again), QC_OK);
    assert_int_equal(again.model.n_tensors, m.model.n_tensors);
    memory_model_end(&again);
    test_host_end(&th);
    memory_folder_end(&f);
    memory_model_end(&m);
}

/* The writer decides about alignment and splitting, whatever the model it was given says. */
static void leaves_out_its_own_keys(void **state)
{
    const uint32_t alignment = 64;
    const uint16_t count = 3;
    memory_model m, again;
    memory_folder f;
    test_host th;
    (void)state;
    memory_model_begin(&m);
    format_add_meta(&m, "general.alignment", QC_U32, 0, 1, &alignment);
    format_add_meta(&m, "split.count", QC_U16, 0, 1, &count);
    format_add_text(&m, "general.name", "tiny");
    format_add_tensor(&m, "a.weight", "f32", 1, 4, (const uint64_t[]){3, 0});
    format_write(gguf, &m.model, standard, &f);
    memory_folder_rename(&f, 0, "m.gguf");
    test_host_begin(&th);
    assert_int_equal(format_scan(&th, gguf, &f, &again), QC_OK);
    assert_int_equal(again.model.n_metas, 1);
    assert_string_equal(again.metas[0]->key, "general.name");
    assert_int_equal(again.tensors[0]->at % 32, 0);
    memory_model_end(&again);
    test_host_end(&th);
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void drops_trailing_ones(void **state)
{
    memory_model m, again;
    memory_folder f;
    test_host th;
    (void)state;
    memory_model_begin(&m);
    format_add_tensor(&m, "row", "f32", 1, 4, (const uint64_t[]){8, 1, 1, 1});
    format_add_tensor(&m, "middle", "f32", 1, 4, (const uint64_t[]){8, 1, 2, 1});
    format_add_tensor(&m, "scalar", "f32", 1, 4, (const uint64_t[]){0});
    format_write(gguf, &m.model, standard, &f);
    memory_folder_rename(&f, 0, "m.gguf");
    test_host_begin(&th);
    assert_int_equal(format_scan(&th, gguf, &f, &again), QC_OK);
    assert_int_equal(memory_model_tensor(&again, "row")->n_dims, 1);
    assert_int_equal(memory_model_tensor(&again, "middle")->n_dims, 3);
    assert_int_equal(memory_model_tensor(&again, "scalar")->n_dims, 1);
    memory_model_end(&again);
    test_host_end(&th);
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void refuses_to_write(void **state)
{
    static const struct {
        const char *name, *encoding, *words;
        uint64_t cols;
    } cases[] = {
        {"a", "int4_g128", "no type for this encoding", 128},
        {"a", "q4_k", "not whole blocks", 128},
        {"a_name_of_sixty_four_bytes_is_one_byte_longer_than_ggml_can_take", "f32", "1 to 63 bytes", 4},
        {"", "f32", "1 to 63 bytes", 4},
    };
    memory_model m;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_model_begin(&m);
        format_add_tensor(&m, cases[i].name, cases[i].encoding, 1, 1, (const uint64_t[]){cases[i].cols, 0});
        format_expect_unwritable(gguf, &m.model, standard, QC_E_UNSUPPORTED, cases[i].words);
        assert_non_null(strstr(gguf->refuses(m.tensors[0]), cases[i].words));
        memory_model_end(&m);
    }
    memory_model_begin(&m);
    for (double alignment = 0; alignment < 200000; alignment = alignment * 2 + 12) {
        const test_setting settings[] = {{"alignment", alignment, NULL}, {NULL, 0, NULL}};
        format_expect_unwritable(gguf, &m.model, settings, QC_E_INVALID, "must be a power of two");
    }
    memory_model_end(&m);
}

/* Split files */

enum { N_SHARDS = 3 };
static const char *const shard_names[N_SHARDS] = {"big-00001-of-00003.gguf", "big-00002-of-00003.gguf",
                                                  "big-00003-of-00003.gguf"};

/* Shard `no`: one tensor "t<no>" of 8 numbers `no`; the model's metadata in the first only. */
static void put_shard(byte_buffer *b, uint32_t no, uint32_t says_no, uint32_t count, uint32_t total)
{
    const char name[] = {'t', (char)('0' + no), '\0'};
    put_head(b, 3, 1, no == 0 ? 5 : 4);
    if (no == 0)
        put_key(b, "general.quantization_version", QC_U32, 2, 4);
    put_key(b, "split.no", QC_U16, says_no, 2);
    put_key(b, "split.count", QC_U16, count, 2);
    put_key(b, "split.tensors.count", QC_I32, total, 4);
    put_key(b, "general.alignment", QC_U32, 8u << no, 4);
    put_tensor(b, name, 1, 8, 1, GGUF_F32, 0);
    put_padding(b, 8u << no);
    for (int i = 0; i < 8; i++)
        put_f32(b, (float)no);
}

/* All shards but `missing`, the given one first. */
static void split_folder(memory_folder *f, uint32_t first, uint32_t missing, uint32_t total)
{
    memory_folder_begin(f);
    for (uint32_t i = 0; i < N_SHARDS; i++) {
        uint32_t no = (first + i) % N_SHARDS;
        byte_buffer b = {0};
        put_shard(&b, no, no, N_SHARDS, total);
        if (no != missing)
            memory_folder_add(f, shard_names[no], b.data, b.n);
        buffer_end(&b);
    }
}

static void reads_split_files_from_any_shard(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < N_SHARDS; first++) {
        memory_folder f;
        memory_model m;
        test_host th;
        split_folder(&f, first, UINT32_MAX, N_SHARDS);
        test_host_begin(&th);
        assert_int_equal(format_scan(&th, gguf, &f, &m), QC_OK);
        assert_int_equal(m.model.n_metas, 1);
        assert_int_equal(m.model.n_tensors, N_SHARDS);
        for (uint32_t no = 0; no < N_SHARDS; no++) {
            const qc_tensor *t = m.tensors[no];
            float value;
            memcpy(&value, f.files[t->file].data + t->at + 28, sizeof value);
            assert_int_equal(t->name[1], '0' + (int)no);
            assert_string_equal(f.files[t->file].name, shard_names[no]);
            assert_true(value == (float)no);
        }
        memory_model_end(&m);
        test_host_end(&th);
        memory_folder_end(&f);
    }
}

static void refuses_broken_splits(void **state)
{
    memory_folder f;
    byte_buffer b = {0};
    (void)state;
    split_folder(&f, 0, 1, N_SHARDS);
    format_expect_refusal(gguf, &f, QC_E_IO, "big-00002-of-00003.gguf");
    memory_folder_end(&f);

    split_folder(&f, 0, UINT32_MAX, N_SHARDS + 1);
    format_expect_refusal(gguf, &f, QC_E_CORRUPT, "split.tensors.count is 4, but all shards together hold 3");
    memory_folder_end(&f);

    put_shard(&b, 0, 0, N_SHARDS, N_SHARDS);
    format_expect_bad_file(gguf, "renamed.gguf", b.data, b.n, QC_E_INVALID, "shard 1 of 3");
    buffer_end(&b);

    put_shard(&b, 0, N_SHARDS, N_SHARDS, N_SHARDS);
    format_expect_bad_file(gguf, shard_names[0], b.data, b.n, QC_E_CORRUPT, "split.no is 3 of 3");
    buffer_end(&b);

    split_folder(&f, 0, 1, N_SHARDS);
    put_shard(&b, 1, 2, N_SHARDS, N_SHARDS);
    memory_folder_add(&f, shard_names[1], b.data, b.n);
    format_expect_refusal(gguf, &f, QC_E_CORRUPT, "calls itself shard 3 of 3");
    buffer_end(&b);
    memory_folder_end(&f);

    split_folder(&f, 0, 1, N_SHARDS);
    put_shard(&b, 0, 1, N_SHARDS, N_SHARDS); /* t0 once more */
    memory_folder_add(&f, shard_names[1], b.data, b.n);
    format_expect_refusal(gguf, &f, QC_E_CORRUPT, "occurs twice");
    buffer_end(&b);
    memory_folder_end(&f);
}

static void refuses_every_part_of_a_file(void **state)
{
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    format_write(gguf, &m.model, standard, &f);
    /* "last" has 34 bytes and 30 of padding, which may be missing */
    format_expect_no_part(gguf, "part.gguf", f.files[0].data, (size_t)f.files[0].length - 30);
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void survives_lack_of_memory(void **state)
{
    memory_model m;
    memory_folder f;
    (void)state;
    memory_model_begin(&m);
    add_everything(&m);
    format_write(gguf, &m.model, standard, &f);
    memory_folder_rename(&f, 0, "m.gguf");
    format_expect_nomem(gguf, &f);
    memory_folder_end(&f);
    memory_model_end(&m);
    split_folder(&f, 1, UINT32_MAX, N_SHARDS);
    format_expect_nomem(gguf, &f);
    memory_folder_end(&f);
}

/* A vocabulary much larger than the read buffer, so that texts lie across its ends. */
static void reads_large_vocabularies(void **state)
{
    enum { N = 20000 };
    static char words[N][24];
    static qc_text texts[N];
    memory_model m;
    memory_folder f;
    (void)state;
    for (int i = 0; i < N; i++)
        texts[i] = (qc_text){words[i], (size_t)snprintf(words[i], sizeof words[i], "%0*d", 1 + i % 20, i)};
    memory_model_begin(&m);
    format_add_meta(&m, "tokenizer.ggml.tokens", QC_TEXT, 1, N, texts);
    format_add_meta(&m, "bytes", QC_U8, 1, sizeof words, words);
    format_round_trip(gguf, &m.model, standard, &f);
    memory_folder_end(&f);
    memory_model_end(&m);
}

static void is_known_by_its_magic(void **state)
{
    (void)state;
    assert_int_equal(gguf->probe("any.bin", "GGUF\3\0\0\0", 8), 100);
    assert_int_equal(gguf->probe("model.gguf", "GGML", 4), 0);
    assert_int_equal(gguf->probe("model.gguf", "GG", 2), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_it_reads),    cmocka_unit_test(reads_version_2),
        cmocka_unit_test(leaves_out_its_own_keys), cmocka_unit_test(drops_trailing_ones),
        cmocka_unit_test(refuses_to_write),        cmocka_unit_test(reads_split_files_from_any_shard),
        cmocka_unit_test(refuses_broken_splits),   cmocka_unit_test(refuses_every_part_of_a_file),
        cmocka_unit_test(survives_lack_of_memory), cmocka_unit_test(reads_large_vocabularies),
        cmocka_unit_test(is_known_by_its_magic),
    };
    gguf = test_format_open("gguf");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
