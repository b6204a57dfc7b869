/* Codes go from encoding to encoding as they are: which pairs fit, and that every value stays, bit for bit. */
#include "core/transcode.h"
#include "test_host.h"
#include "test_plugin.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 256, ROWS = 37 };

static const qc_plugin *plugins[4];

/* A coder with its ops beside it. */
typedef struct coder {
    qc_coder c;
    qc_ops_encoding ops;
} coder;

static void make_coder(coder *out, const char *id)
{
    const qc_encoding_desc *desc = NULL;
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins && !desc; i++)
        desc = test_find_encoding(plugins[i], id);
    if (!desc)
        fail_msg("no encoding %s", id);
    assert_true(test_coder(&out->c, &out->ops, desc, "reference", COLS));
}

static void fits_where_ranges_and_groups_nest(void **state)
{
    static const struct {
        const char *from, *to;
        int fits;
    } cases[] = {
        {"int4_g32", "q4_0", 1},
        {"int4_g128", "q4_0", 1},
        {"int4_channel", "q4_0", 1},
        {"int8_channel", "q8_0", 1},
        {"int3_g64", "q4_0", 1},
        {"int4_g32", "q8_0", 1},
        {"int5_g32", "q5_0", 1},
        {"q4_0", "int4_g32", 1},
        {"q8_0", "int8_g32", 1},
        {"int4_g128_asym", "int4_g32_asym", 1},
        {"int4_g64_asym", "int8_g64_asym", 1},
        {"q4_0", "int4_g64", 0},
        {"int8_g32", "q4_0", 0},
        {"int5_g32", "q4_0", 0},
        {"int4_g32_asym", "q4_0", 0},
        {"int4_g32", "int4_g32_asym", 0},
        {"int4_g32_asym", "q4_1", 0},
        {"int4_g64", "int4_channel", 0},
        {"int4_g32", "q4_k", 0},
        {"int4_g32", "f32", 0},
        {"f32", "q8_0", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        coder from, to;
        make_coder(&from, cases[i].from);
        make_coder(&to, cases[i].to);
        if (transcode_fits(&from.c, &to.c) != cases[i].fits)
            fail_msg("%s to %s: %d was expected", cases[i].from, cases[i].to, cases[i].fits);
    }
}

static void rows_of_another_length_do_not_fit(void **state)
{
    coder from, to;
    (void)state;
    make_coder(&from, "int4_g32");
    make_coder(&to, "q4_0");
    to.c.cols /= 2;
    assert_false(transcode_fits(&from.c, &to.c));
}

/* Random weights, and a few rows of zeros. */
static void make_weights(float *x)
{
    uint32_t state = 1;
    for (size_t i = 0; i < ROWS * COLS; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = i / COLS % 9 == 4 ? 0.0f : ((float)(state >> 8) * 0x1p-24f - 0.5f) * 0.1f;
    }
}

static void expect_same_values(const char *from_id, const char *to_id)
{
    coder from, to;
    test_host th;
    qc_job *job = test_host_begin(&th);
    make_coder(&from, from_id);
    make_coder(&to, to_id);
    float *x = malloc(3 * ROWS * COLS * sizeof *x), *y = x + ROWS * COLS, *z = y + ROWS * COLS;
    unsigned char *src = malloc(ROWS * from.c.row_bytes), *dst = malloc(ROWS * to.c.row_bytes + 1);
    assert_true(x && src && dst);
    make_weights(x);
    dst[ROWS * to.c.row_bytes] = 0xee;
    assert_int_equal(qc_encode_rows(job, &from.c, src, x, NULL, ROWS), QC_OK);
    assert_int_equal(transcode_rows(job, &from.c, &to.c, ROWS, src, dst), QC_OK);
    assert_int_equal(dst[ROWS * to.c.row_bytes], 0xee);
    assert_int_equal(qc_decode_rows(job, &from.c, y, src, ROWS), QC_OK);
    assert_int_equal(qc_decode_rows(job, &to.c, z, dst, ROWS), QC_OK);
    assert_memory_equal(y, z, ROWS * COLS * sizeof *y);
    free(x);
    free(src);
    free(dst);
    test_host_end(&th);
}

static void values_stay(void **state)
{
    (void)state;
    expect_same_values("int4_g32", "q4_0");
    expect_same_values("int4_g128", "q4_0");
    expect_same_values("int3_channel", "q4_0");
    expect_same_values("int8_channel", "q8_0");
    expect_same_values("int4_g128_asym", "int8_g32_asym");
    expect_same_values("int2_channel_asym", "int2_g64_asym");
    expect_same_values("q8_0", "int8_g32");
}

static void no_memory_is_said(void **state)
{
    coder from, to;
    unsigned char src[ROWS * COLS] = {0}, dst[ROWS * COLS];
    qc_status status = QC_E_NOMEM;
    (void)state;
    make_coder(&from, "int4_g32");
    make_coder(&to, "q4_0");
    for (size_t k = 1; status != QC_OK; k++) {
        test_host th;
        qc_job *job = test_host_begin(&th);
        th.fail_at = k;
        status = transcode_rows(job, &from.c, &to.c, ROWS, src, dst);
        assert_true(status == QC_OK || status == QC_E_NOMEM);
        assert_int_equal(th.status, status);
        test_host_end(&th);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_where_ranges_and_groups_nest),
        cmocka_unit_test(rows_of_another_length_do_not_fit),
        cmocka_unit_test(values_stay),
        cmocka_unit_test(no_memory_is_said),
    };
    plugins[0] = test_plugin_open("ints");
    plugins[1] = test_plugin_open("legacy");
    plugins[2] = test_plugin_open("kquants");
    plugins[3] = test_plugin_open("floats");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
