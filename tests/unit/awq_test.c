/* awq: what it leaves alone, what it refuses, and that neither threads nor chunks nor failures change what it does. That its
 * searches find what they should, awq_reference_test.py says.
 */
#include "core/job.h"
#include "made_axis.h"
#include "test_ops.h"
#include "test_plugin.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 512, ROWS = 150, SAMPLES = 24, MOST_BYTES = ROWS * COLS };

static const test_setting usual[] = {{"grid", 6, NULL},     {"weights", 1, NULL}, {"rows", 70, NULL},
                                     {"power", 0.5, NULL},  {"clip", 3, NULL},    {"clip_to", 0.75, NULL},
                                     {"shrink", 0.5, NULL}, {NULL, 0, NULL}};

static const qc_method_desc *method(void)
{
    return (const qc_method_desc *)(const void *)test_plugin_open("awq")->descs[0];
}

static qc_status transform_with(qc_job *job, const made_axis *a, float *factor)
{
    void *state = NULL;
    for (size_t i = 0; i < a->axis.n_channels; i++)
        factor[i] = 1;
    qc_status status = method()->create(job, test_settings(usual), &state);
    if (status == QC_OK)
        status = method()->transform(job, state, &a->axis, factor);
    method()->destroy(job->host, state);
    return status;
}

/* All of one reader, in chunks. */
static qc_status round_with(qc_job *job, const made_axis *a, size_t chunk, unsigned char *dst)
{
    static float rows[ROWS * COLS];
    const qc_linear *linear = &a->readers[0].linear;
    const qc_method_desc *m = method();
    void *state = NULL, *prepared = NULL;
    qc_status status = m->create(job, test_settings(usual), &state);
    if (status == QC_OK)
        status = m->prepare(job, state, linear->input, linear->coder->desc, NULL, &prepared);
    for (size_t row = 0; row < ROWS && status == QC_OK; row += chunk) {
        size_t n = ROWS - row < chunk ? ROWS - row : chunk;
        memcpy(rows, a->readers[0].w + row * COLS, n * COLS * sizeof *rows);
        status = m->round(job, state, prepared, linear, rows, n, dst + row * linear->coder->row_bytes);
    }
    m->release(job->host, prepared);
    m->destroy(job->host, state);
    return status;
}

static qc_job *begin(test_host *host)
{
    qc_job *job = test_host_begin(host);
    host->tables = test_ops("scalar");
    return job;
}

static void transform(const made_axis *a, float *factor)
{
    test_host host;
    if (transform_with(begin(&host), a, factor) != QC_OK)
        fail_msg("%s", host.message);
    test_host_end(&host);
}

static void expect_ones(const made_axis *a)
{
    float factor[COLS];
    transform(a, factor);
    for (size_t i = 0; i < a->axis.n_channels; i++)
        assert_true(factor[i] == 1.0f);
}

static void test_what_is_left_alone(void **state)
{
    (void)state;
    made_axis a;
    made_axis_begin(&a, COLS, SAMPLES); /* plain numbers */
    made_axis_read(&a, ROWS, "floats", "f16");
    expect_ones(&a);
    made_axis_read(&a, ROWS, "legacy", "q4_0");
    a.axis.input = NULL; /* nothing known */
    expect_ones(&a);
    a.axis.input = &a.input;
    a.input.samples = NULL;
    expect_ones(&a);
    a.input.samples = a.samples;
    memset(a.mean_square, 0, COLS * sizeof(float)); /* an input that never came */
    expect_ones(&a);
    made_axis_end(&a);
}

static void test_dead_channels(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    made_axis_begin(&a, COLS, SAMPLES);
    made_axis_read(&a, ROWS, "kquants", "q3_k");
    for (size_t row = 0; row < SAMPLES; row++)
        a.samples[row * COLS + 9] = 0;
    a.mean_square[9] = 0;
    for (size_t row = 0; row < ROWS; row++)
        a.readers[0].w[row * COLS + 10] = 0;
    transform(&a, factor);
    int moved = 0;
    for (size_t i = 0; i < COLS; i++) {
        assert_true(factor[i] > 1e-4f && factor[i] < 1e4f);
        moved |= factor[i] != 1.0f;
    }
    assert_true(moved);
    made_axis_end(&a);
}

static void expect_refused(const made_axis *a, int rounding, qc_status status, const char *why)
{
    static unsigned char bytes[MOST_BYTES];
    float factor[COLS];
    test_host host;
    qc_job *job = begin(&host);
    assert_int_equal(rounding ? round_with(job, a, ROWS, bytes) : transform_with(job, a, factor), status);
    if (!strstr(host.message, why))
        fail_msg("%s", host.message);
    test_host_end(&host);
}

static void test_refuses_what_is_no_number(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -1};
    for (size_t i = 0; i < 3; i++) {
        made_axis a;
        made_axis_begin(&a, COLS, SAMPLES);
        made_axis_read(&a, ROWS, "legacy", "q4_0");
        if (i < 2) {
            a.readers[0].w[0 * COLS + 9] = bad[i];
            expect_refused(&a, 0, QC_E_NUMERIC, "row 0 of the chunk, column 9");
            expect_refused(&a, 1, QC_E_NUMERIC, "row 0 of the chunk, column 9");
        }
        a.mean_square[13] = bad[i];
        expect_refused(&a, 0, QC_E_NUMERIC, "mean square of column 13");
        expect_refused(&a, 1, QC_E_NUMERIC, "mean square of column 13");
        a.mean_square[13] = 1;
        a.input.cols = COLS / 2;
        expect_refused(&a, 0, QC_E_INVALID, "statistics are of 256 columns");
        expect_refused(&a, 1, QC_E_INVALID, "statistics are of 256 columns");
        made_axis_end(&a);
    }
}

/* The k-th allocation fails, for all k. */
static void expect_survives(const made_axis *a, int rounding)
{
    static unsigned char bytes[MOST_BYTES];
    float factor[COLS];
    qc_status status = QC_E_NOMEM;
    size_t k = 0;
    while (status != QC_OK && k < 5000) {
        test_host host;
        qc_job *job = begin(&host);
        host.fail_at = ++k;
        status = rounding ? round_with(job, a, ROWS, bytes) : transform_with(job, a, factor);
        assert_true(status == QC_OK || (status == QC_E_NOMEM && host.message[0]));
        test_host_end(&host);
        k += k > 40 ? 17 : 0; /* the same few places over and over */
    }
    assert_true(k > 8 && k < 5000);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    made_axis a;
    made_axis_begin(&a, COLS / 8, SAMPLES / 4);
    made_axis_read(&a, ROWS, "legacy", "q4_0");
    expect_survives(&a, 0);
    made_axis_end(&a);
    made_axis_begin(&a, COLS, SAMPLES / 4);
    made_axis_read(&a, ROWS, "legacy", "q4_0");
    expect_survives(&a, 1);
    made_axis_end(&a);
}

static void test_threads(void **state)
{
    (void)state;
    float one[COLS], many[COLS];
    test_host host;
    made_axis a;
    made_axis_begin(&a, COLS, SAMPLES);
    made_axis_read(&a, ROWS, "legacy", "q4_0");
    made_axis_read(&a, 30, "kquants", "q2_k");
    transform(&a, one);
    begin(&host);
    pool *p = pool_new(&host.host, 3);
    assert_int_equal(transform_with(pool_job(p), &a, many), QC_OK);
    pool_free(p);
    test_host_end(&host);
    assert_memory_equal(one, many, sizeof one);
    made_axis_end(&a);
}

static void test_chunks(void **state)
{
    (void)state;
    static const char *const encodings[][2] = {{"legacy", "q4_0"}, {"kquants", "q3_k"}, {"ints", "int3_g128"}};
    static unsigned char whole[MOST_BYTES], cut[MOST_BYTES];
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        made_axis a;
        test_host host;
        made_axis_begin(&a, COLS, SAMPLES);
        made_axis_read(&a, ROWS, encodings[i][0], encodings[i][1]);
        memset(whole, 0x55, sizeof whole);
        memset(cut, 0x55, sizeof cut);
        qc_job *job = begin(&host);
        assert_int_equal(round_with(job, &a, ROWS, whole), QC_OK);
        assert_int_equal(round_with(job, &a, QC_LANES, cut), QC_OK);
        test_host_end(&host);
        assert_memory_equal(whole, cut, sizeof whole);
        made_axis_end(&a);
    }
}

/* Plain importance where blocks cannot be clipped: one for a whole row, wider than all that are. */
static void test_whole_rows_are_not_clipped(void **state)
{
    (void)state;
    static unsigned char got[MOST_BYTES], expected[MOST_BYTES];
    float importance[COLS];
    test_host host;
    made_axis a;
    made_axis_begin(&a, COLS, SAMPLES);
    const made_reader *r = made_axis_read(&a, ROWS, "ints", "int4_channel");
    qc_job *job = begin(&host);
    for (size_t i = 0; i < COLS; i++)
        importance[i] = (float)sqrt((double)a.mean_square[i]);
    assert_int_equal(round_with(job, &a, ROWS, got), QC_OK);
    assert_int_equal(qc_encode_rows(job, &r->coder, expected, r->w, importance, ROWS), QC_OK);
    assert_memory_equal(got, expected, ROWS * r->coder.row_bytes);
    a.readers[0].linear.input = NULL;
    assert_int_equal(round_with(job, &a, ROWS, got), QC_OK);
    assert_int_equal(qc_encode_rows(job, &r->coder, expected, r->w, NULL, ROWS), QC_OK);
    assert_memory_equal(got, expected, ROWS * r->coder.row_bytes);
    test_host_end(&host);
    made_axis_end(&a);
}

static void test_needs_kernels(void **state)
{
    (void)state;
    test_host host;
    void *made = NULL;
    qc_job *job = test_host_begin(&host);
    assert_int_equal(method()->create(job, test_settings(usual), &made), QC_E_UNSUPPORTED);
    method()->destroy(&host.host, made);
    test_host_end(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_left_alone),
        cmocka_unit_test(test_dead_channels),
        cmocka_unit_test(test_refuses_what_is_no_number),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_whole_rows_are_not_clipped),
        cmocka_unit_test(test_needs_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
