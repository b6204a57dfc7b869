/* rtn and imatrix: what they refuse, and that they do what qc_encode_rows does. */
#include "qcore/method.h"
#include "qcore/ops.h"
#include "test_host.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { ROWS = 20, COLS = 512 };

typedef struct fixture {
    test_host host;
    qc_job *job;
    qc_coder coder;
    qc_ops_encoding ops;
    qc_input input;
    qc_linear linear;
    float importance[COLS], rows[ROWS * COLS];
    unsigned char bytes[ROWS * COLS], expected[ROWS * COLS];
} fixture;

static const qc_method_desc *method(const char *name)
{
    const qc_plugin *plugin = test_plugin_open(name);
    assert_int_equal(plugin->n_descs, 1);
    assert_string_equal(plugin->descs[0]->kind, QC_KIND_METHOD);
    assert_string_equal(plugin->descs[0]->id, name);
    return (const qc_method_desc *)(const void *)plugin->descs[0];
}

static void begin(fixture *f)
{
    f->job = test_host_begin(&f->host);
    test_coder(&f->coder, &f->ops, test_find_encoding(test_plugin_open("kquants"), "q4_k"), "reference", COLS);
    f->input = (qc_input){.size = sizeof f->input, .cols = COLS, .mean_square = f->importance};
    f->linear = (qc_linear){.size = sizeof f->linear,
                            .name = "blk.0.attn_q.weight",
                            .role = "attn_q",
                            .rows = ROWS,
                            .cols = COLS,
                            .input = &f->input,
                            .coder = &f->coder};
    rows_fill(f->rows, ROWS, COLS, ROWS_HEAVY, 1);
    rows_importance(f->importance, COLS, 1);
}

/* All that a host does for one chunk. power: imatrix' setting. */
static qc_status round_with(fixture *f, const char *name, double power)
{
    const test_setting settings[] = {{.name = "power", .number = power}, {.name = NULL}};
    const qc_method_desc *m = method(name);
    void *made = NULL, *prepared = NULL;
    qc_status status = m->create ? m->create(f->job, test_settings(settings), &made) : QC_OK;
    if (status == QC_OK && m->prepare)
        status = m->prepare(f->job, made, f->linear.input, f->coder.desc, NULL, &prepared);
    if (status == QC_OK)
        status = m->round(f->job, made, prepared, &f->linear, f->rows, ROWS, f->bytes);
    if (m->release)
        m->release(&f->host.host, prepared);
    if (m->destroy)
        m->destroy(&f->host.host, made);
    return status;
}

static qc_status round_rows(fixture *f, const char *name)
{
    return round_with(f, name, 1);
}

static void expect_bytes(fixture *f, const float *importance)
{
    assert_int_equal(qc_encode_rows(f->job, &f->coder, f->expected, f->rows, importance, ROWS), QC_OK);
    assert_memory_equal(f->bytes, f->expected, ROWS * f->coder.row_bytes);
    test_host_end(&f->host);
}

static void test_rtn(void **state)
{
    (void)state;
    static fixture f;
    begin(&f);
    assert_int_equal(method("rtn")->statistics, 0);
    assert_int_equal(round_rows(&f, "rtn"), QC_OK);
    expect_bytes(&f, NULL);
}

static void test_imatrix(void **state)
{
    (void)state;
    static fixture f;
    begin(&f);
    assert_int_equal(method("imatrix")->statistics, QC_STAT_MEAN_SQUARE);
    assert_int_equal(round_rows(&f, "imatrix"), QC_OK);
    expect_bytes(&f, f.importance);
}

static void test_imatrix_of_a_power(void **state)
{
    (void)state;
    static fixture f;
    begin(&f);
    assert_int_equal(round_with(&f, "imatrix", 0.5), QC_OK);
    float importance[COLS];
    for (size_t i = 0; i < COLS; i++)
        importance[i] = (float)sqrt((double)f.importance[i]);
    expect_bytes(&f, importance);
}

static void test_imatrix_of_unknown_input_is_rtn(void **state)
{
    (void)state;
    static fixture f;
    begin(&f);
    f.linear.input = NULL;
    assert_int_equal(round_rows(&f, "imatrix"), QC_OK);
    expect_bytes(&f, NULL);
    begin(&f);
    f.input.mean_square = NULL;
    assert_int_equal(round_rows(&f, "imatrix"), QC_OK);
    expect_bytes(&f, NULL);
}

static void test_refuses_bad_importance(void **state)
{
    (void)state;
    static fixture f;
    const float bad[] = {NAN, INFINITY, -1.0f};
    for (size_t i = 0; i < 3; i++) {
        begin(&f);
        f.importance[9] = bad[i];
        assert_int_equal(round_rows(&f, "imatrix"), QC_E_NUMERIC);
        assert_non_null(strstr(f.host.message, "column 9"));
        test_host_end(&f.host);
    }
    begin(&f);
    f.input.cols = COLS - 1;
    assert_int_equal(round_rows(&f, "imatrix"), QC_E_INVALID);
    test_host_end(&f.host);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static fixture f;
    for (size_t k = 1; k <= 3; k++) {
        begin(&f);
        f.ops.encode_rows = NULL; /* tile by tile: what needs memory */
        f.host.fail_at = k;
        assert_int_equal(round_rows(&f, "rtn"), QC_E_NOMEM);
        test_host_end(&f.host);
    }
}

/* The order of sums is part of the definition: lane i mod 16, folded 8, 4, 2, 1. */
static void test_scalar_rows(void **state)
{
    (void)state;
    const qc_plugin *plugin = test_plugin_open("scalar");
    const qc_backend_desc *backend = (const qc_backend_desc *)(const void *)plugin->descs[0];
    qc_ops_row ops = {.size = sizeof ops}, untouched = ops;
    backend->overlay("reference", "com.example.unknown/1", &ops, sizeof ops);
    assert_memory_equal(&ops, &untouched, sizeof ops);
    backend->overlay("reference", QC_OPS_ROW, &ops, sizeof ops);
    assert_int_equal(ops.size, sizeof ops);

    float x[37], y[37] = {0}, f[37];
    double lane[16] = {0}, weighted[16] = {0};
    for (int i = 0; i < 37; i++) {
        x[i] = 0.1f * (float)(i + 1);
        f[i] = (float)(i % 5);
        lane[i % 16] += (double)x[i] * (double)x[i];
        weighted[i % 16] += (double)f[i] * ((double)x[i] * (double)x[i]);
    }
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++) {
            lane[l] += lane[l + half];
            weighted[l] += weighted[l + half];
        }
    assert_true(ops.sum_squares(x, NULL, 37) == lane[0]);
    assert_true(ops.sum_squares(x, f, 37) == weighted[0]);
    assert_true(ops.squared_error(x, y, f, 37) == weighted[0]);
    assert_true(ops.all_finite(x, 37));
    x[36] = NAN;
    assert_false(ops.all_finite(x, 37));
    assert_true(ops.all_finite(x, 36));
    x[0] = -INFINITY;
    assert_false(ops.all_finite(x, 1));
    assert_true(ops.all_finite(x, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rtn),
        cmocka_unit_test(test_imatrix),
        cmocka_unit_test(test_imatrix_of_a_power),
        cmocka_unit_test(test_imatrix_of_unknown_input_is_rtn),
        cmocka_unit_test(test_refuses_bad_importance),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_scalar_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
