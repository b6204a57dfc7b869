/* What a scan may report, and what is refused. */
#include "core/contents.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const qc_tensor good = {.size = sizeof(qc_tensor),
                               .name = "blk.0.attn_q.weight",
                               .encoding = "f16",
                               .n_dims = 2,
                               .dims = {4, 3, 1, 1},
                               .bytes = 24,
                               .row_bytes = 8};

static void expect_refused(scratch_folder *s, const qc_tensor *t, const char *words)
{
    contents c;
    contents_init(&c, NULL);
    assert_int_not_equal(c.scan.tensor(&c.scan, s->job, t), QC_OK);
    assert_non_null(strstr(job_message(s->job), words));
    job_clear(s->job);
    contents_free(&c);
}

static void tensors_are_copied(void **state)
{
    scratch_folder *s = *state;
    char name[] = "first";
    uint32_t order[4] = {3, 1, 2, 0};
    contents c;
    qc_tensor t = good;
    t.name = name;
    t.n_dims = 1; /* dims beyond are 1, whatever was in them */
    t.bytes = 8;
    t.order = order;
    contents_init(&c, NULL);
    assert_int_equal(c.scan.tensor(&c.scan, s->job, &t), QC_OK);
    name[0] = 'X';
    order[0] = 9;
    assert_string_equal(c.tensors[0]->name, "first");
    assert_int_equal(c.tensors[0]->order[0], 3);
    assert_int_equal(c.tensors[0]->dims[1], 1);
    assert_int_equal(tensor_rows(c.tensors[0]), 1);
    contents_free(&c);
}

static void absurd_tensors_are_refused(void **state)
{
    scratch_folder *s = *state;
    qc_tensor t = good;
    t.name = "";
    expect_refused(s, &t, "without a name");
    t = good;
    t.n_dims = 5;
    expect_refused(s, &t, "5 dimensions");
    t = good;
    t.dims[1] = 0;
    expect_refused(s, &t, "no elements");
    t = good;
    t.dims[1] = UINT64_MAX / 2;
    expect_refused(s, &t, "absurd");
    t = good;
    t.bytes = 23;
    expect_refused(s, &t, "do not make its rows");
    t = good;
    t.encoding = NULL;
    expect_refused(s, &t, "no encoding");
}

static void twins_are_refused(void **state)
{
    scratch_folder *s = *state;
    contents c;
    contents_init(&c, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(c.scan.tensor(&c.scan, s->job, &good), QC_OK);
    assert_int_equal(contents_check(&c, s->job), QC_E_CORRUPT);
    assert_non_null(strstr(job_message(s->job), "'blk.0.attn_q.weight' occurs twice"));
    contents_free(&c);
    job_clear(s->job);
    contents_init(&c, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(qc_meta_u32(&c.scan, s->job, "k", 1), QC_OK);
    assert_int_equal(contents_check(&c, s->job), QC_E_CORRUPT);
    contents_free(&c);
}

static void texts_are_copied_with_any_bytes(void **state)
{
    scratch_folder *s = *state;
    char word[] = "a\0b";
    const qc_text texts[] = {{word, 3}, {NULL, 0}};
    const qc_meta meta = {sizeof meta, "tokens", QC_TEXT, 1, 2, texts};
    contents c;
    contents_init(&c, NULL);
    assert_int_equal(c.scan.meta(&c.scan, s->job, &meta), QC_OK);
    word[0] = 'X';
    const qc_text *copy = c.metas[0]->data;
    assert_int_equal(copy[0].length, 3);
    assert_memory_equal(copy[0].data, "a\0b", 3);
    assert_int_equal(copy[1].length, 0);
    contents_free(&c);
}

static void counts_are_found_for_scalar_and_layer(void **state)
{
    scratch_folder *s = *state;
    const uint32_t heads[] = {8, 4};
    const qc_meta per_layer = {sizeof per_layer, "llama.attention.head_count_kv", QC_U32, 1, 2, heads};
    contents c;
    contents_init(&c, NULL);
    assert_int_equal(metas_count(c.metas, c.n_metas, "block_count", 0, 7), 7);
    qc_meta_text(&c.scan, s->job, "general.architecture", "llama");
    qc_meta_u32(&c.scan, s->job, "llama.block_count", 2);
    c.scan.meta(&c.scan, s->job, &per_layer);
    assert_int_equal(metas_count(c.metas, c.n_metas, "block_count", 5, 0), 2);
    assert_int_equal(metas_count(c.metas, c.n_metas, "attention.head_count_kv", 1, 0), 4);
    assert_int_equal(metas_count(c.metas, c.n_metas, "attention.head_count_kv", 2, 9), 9);
    assert_int_equal(metas_count(c.metas, c.n_metas, "expert_count", 0, 3), 3);
    contents_free(&c);
}

/* Compared as C strings, "a" began with this family and was then read far past its end. */
static void a_zero_byte_in_a_family_matches_no_key(void **state)
{
    scratch_folder *s = *state;
    const char family[] = "a\0a family with a zero byte in its name";
    const qc_text text = {family, sizeof family - 1};
    const qc_meta meta = {sizeof meta, "general.architecture", QC_TEXT, 0, 1, &text};
    contents c;
    contents_init(&c, NULL);
    qc_meta_u32(&c.scan, s->job, "a", 1);
    assert_int_equal(c.scan.meta(&c.scan, s->job, &meta), QC_OK);
    assert_int_equal(metas_count(c.metas, c.n_metas, "block_count", 0, 7), 7);
    contents_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tensors_are_copied),
        TEST(absurd_tensors_are_refused),
        TEST(twins_are_refused),
        TEST(texts_are_copied_with_any_bytes),
        TEST(counts_are_found_for_scalar_and_layer),
        TEST(a_zero_byte_in_a_family_matches_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
