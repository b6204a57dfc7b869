/* equalize: its formula, what it leaves alone, and what it refuses. */
#include "core/job.h"
#include "made_axis.h"
#include "test_host.h"
#include "test_plugin.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 96, ROWS = 150, SAMPLES = 40 };

static const test_setting usual[] = {{"input", 0.25, NULL}, {"weight", 0.75, NULL}, {NULL, 0, NULL}};

static const qc_method_desc *method(void)
{
    return (const qc_method_desc *)(const void *)test_plugin_open("equalize")->descs[0];
}

static qc_status transform_with(qc_job *job, const made_axis *a, const test_setting *settings, float *factor)
{
    void *state = NULL;
    const qc_method_desc *m = method();
    for (size_t i = 0; i < a->axis.n_channels; i++)
        factor[i] = 1;
    qc_status status = m->create(job, test_settings(settings), &state);
    if (status == QC_OK)
        status = m->transform(job, state, &a->axis, factor);
    m->destroy(job->host, state);
    return status;
}

static void transform(const made_axis *a, float *factor)
{
    test_host host;
    qc_job *job = test_host_begin(&host);
    if (transform_with(job, a, usual, factor) != QC_OK)
        fail_msg("%s", host.message);
    test_host_end(&host);
}

/* The formula with libm, channel by channel. */
static double root_mean_square(const made_axis *a, size_t channel, int of_weights)
{
    double sum = 0, n = 0;
    for (size_t col = 0; col < COLS; col++) {
        if ((a->readers[0].end.map ? a->map[col] : col) != channel)
            continue;
        n++;
        if (!of_weights) {
            sum += (double)a->mean_square[col];
            continue;
        }
        for (size_t i = 0; i < a->axis.n_readers; i++) {
            const made_reader *r = &a->readers[i];
            double output = 0, own = 0;
            if (r->coder.block_cols == 1)
                continue;
            for (size_t k = 0; k < r->linear.rows * COLS; k++) {
                double square = (double)r->w[k] * (double)r->w[k];
                output += square * (a->axis.input ? (double)a->mean_square[k % COLS] : 1.0);
                own += k % COLS == col ? square : 0;
            }
            sum += own / output;
        }
    }
    return sqrt(sum / n);
}

static void expect_formula(const made_axis *a, double input, double weight, const float *factor)
{
    static double expected[COLS];
    double mean = 0;
    for (size_t i = 0; i < a->axis.n_channels; i++) {
        expected[i] = (a->axis.input ? input * log(root_mean_square(a, i, 0)) : 0) -
                      weight * log(root_mean_square(a, i, 1));
        mean += expected[i] / (double)a->axis.n_channels;
    }
    for (size_t i = 0; i < a->axis.n_channels; i++)
        if (fabs((double)factor[i] / exp(expected[i] - mean) - 1) > 1e-6)
            fail_msg("channel %zu: %.9g, expected %.9g", i, (double)factor[i], exp(expected[i] - mean));
}

static void begin(made_axis *a)
{
    made_axis_begin(a, COLS, SAMPLES);
    made_axis_read(a, ROWS, "legacy", "q4_0");
    made_axis_read(a, 40, "legacy", "q4_0");
}

static void test_formula(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    begin(&a);
    transform(&a, factor);
    expect_formula(&a, 0.25, 0.75, factor);
    made_axis_end(&a);
}

static void test_channels_that_columns_share(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    begin(&a);
    made_axis_share(&a, 8, 3); /* heads of 8 channels, 3 of which read one */
    transform(&a, factor);
    expect_formula(&a, 0.25, 0.75, factor);
    made_axis_end(&a);
}

static void test_exponents(void **state)
{
    (void)state;
    static const test_setting other[] = {{"input", 0.5, NULL}, {"weight", 0.125, NULL}, {NULL, 0, NULL}};
    float factor[COLS];
    test_host host;
    made_axis a;
    begin(&a);
    assert_int_equal(transform_with(test_host_begin(&host), &a, other, factor), QC_OK);
    expect_formula(&a, 0.5, 0.125, factor);
    test_host_end(&host);
    made_axis_end(&a);
}

/* Of an input that nothing is known of the weights alone decide, the exponents' sum as theirs. */
static void test_without_statistics(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    begin(&a);
    a.axis.input = NULL;
    transform(&a, factor);
    expect_formula(&a, 0, 1, factor);
    made_axis_end(&a);
}

/* A checkpoint whose channels are scaled otherwise, its function the same, is equalized to the same weights. */
static void test_scale_of_the_checkpoint_has_no_say(void **state)
{
    (void)state;
    float factor[COLS], scale[COLS];
    made_axis a, b;
    begin(&a);
    begin(&b);
    for (size_t i = 0; i < COLS; i++)
        scale[i] = 0.3f + 0.1f * (float)(i * 41 % 29);
    made_axis_apply(&b, scale);
    transform(&a, factor);
    made_axis_apply(&a, factor);
    transform(&b, factor);
    made_axis_apply(&b, factor);
    for (size_t r = 0; r < 2; r++) {
        double ratio = (double)a.readers[0].w[0] / (double)b.readers[0].w[0]; /* the mean factor is anybody's */
        for (size_t i = 0; i < a.readers[r].linear.rows * COLS; i++)
            if (fabs((double)a.readers[r].w[i] - ratio * (double)b.readers[r].w[i]) > 1e-7)
                fail_msg("weight %zu of %zu: %g, %g", i, r, (double)a.readers[r].w[i], (double)b.readers[r].w[i]);
    }
    made_axis_end(&a);
    made_axis_end(&b);
}

/* Without input, without weights, or both: a factor as if there were a thousandth of the usual. */
static void test_dead_channels(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    begin(&a);
    a.mean_square[3] = a.mean_square[4] = 0;
    for (size_t r = 0; r < 2; r++)
        for (size_t row = 0; row < a.readers[r].linear.rows; row++)
            a.readers[r].w[row * COLS + 4] = a.readers[r].w[row * COLS + 5] = 0;
    transform(&a, factor);
    for (size_t i = 0; i < COLS; i++)
        assert_true(factor[i] > 1e-4f && factor[i] < 1e4f);
    assert_true(factor[5] > 20 * factor[6]);
    assert_true(factor[3] < factor[6]);
    made_axis_end(&a);
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
    made_axis_read(&a, ROWS, "floats", "bf16");
    expect_ones(&a);
    made_axis_end(&a);
    begin(&a); /* no weight but 0 */
    for (size_t r = 0; r < 2; r++)
        memset(a.readers[r].w, 0, a.readers[r].linear.rows * COLS * sizeof(float));
    expect_ones(&a);
    made_axis_end(&a);
    begin(&a); /* an input that never came */
    memset(a.mean_square, 0, COLS * sizeof(float));
    expect_ones(&a);
    made_axis_end(&a);
}

/* A plain reader among others has no say. */
static void test_plain_reader(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    begin(&a);
    made_axis_read(&a, ROWS, "floats", "f16");
    transform(&a, factor);
    expect_formula(&a, 0.25, 0.75, factor);
    made_axis_end(&a);
}

static void expect_refused(const made_axis *a, qc_status status, const char *why)
{
    float factor[COLS];
    test_host host;
    assert_int_equal(transform_with(test_host_begin(&host), a, usual, factor), status);
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
        begin(&a);
        if (i < 2) {
            a.readers[1].w[7 * COLS + 9] = bad[i];
            expect_refused(&a, QC_E_NUMERIC, "made.weight: a weight of column 9 is NaN or Inf");
        }
        a.mean_square[13] = bad[i];
        expect_refused(&a, QC_E_NUMERIC, "mean square of column 13");
        a.input.cols = COLS - 1;
        expect_refused(&a, QC_E_INVALID, "statistics are of 95 columns");
        made_axis_end(&a);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    float factor[COLS];
    made_axis a;
    begin(&a);
    qc_status status = QC_E_NOMEM;
    size_t k = 0;
    while (status != QC_OK && k < 100) {
        test_host host;
        qc_job *job = test_host_begin(&host);
        host.fail_at = ++k;
        status = transform_with(job, &a, usual, factor);
        assert_true(status == QC_OK || (status == QC_E_NOMEM && host.message[0]));
        test_host_end(&host);
    }
    assert_true(k > 8 && k < 100);
    made_axis_end(&a);
}

static void test_threads(void **state)
{
    (void)state;
    float one[COLS], many[COLS];
    made_axis a;
    begin(&a);
    transform(&a, one);
    test_host host; /* its settings are lists */
    test_host_begin(&host);
    pool *p = pool_new(&host.host, 3);
    assert_int_equal(transform_with(pool_job(p), &a, usual, many), QC_OK);
    pool_free(p);
    test_host_end(&host);
    assert_memory_equal(one, many, sizeof one);
    made_axis_end(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_channels_that_columns_share),
        cmocka_unit_test(test_exponents),
        cmocka_unit_test(test_without_statistics),
        cmocka_unit_test(test_scale_of_the_checkpoint_has_no_say),
        cmocka_unit_test(test_dead_channels),
        cmocka_unit_test(test_what_is_left_alone),
        cmocka_unit_test(test_plain_reader),
        cmocka_unit_test(test_refuses_what_is_no_number),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
