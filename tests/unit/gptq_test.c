/* gptq with a host made by hand: chunks, odd shapes, inputs that are no use, and no memory. What it computes is compared
 * with a reference in integration/gptq_test.py. */
#include "qcore/method.h"
#include "qcore/ops.h"
#include "test_host.h"
#include "test_ops.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 40, COLS = 512, TOKENS = 640 };

typedef struct fixture {
    test_host host;
    qc_job *job;
    const qc_encoding_desc *encoding;
    qc_coder coder;
    qc_ops_encoding ops;
    qc_input input;
    qc_linear linear;
    size_t rows, cols, chunk;
    int search, refine, act_order;
    float *gram, *w, *values;
    uint32_t *order; /* or NULL */
    unsigned char *bytes;
} fixture;

static double told_damping, told_dead;

static void take_figure(qc_job *job, const char *name, double value)
{
    (void)job;
    if (!strcmp(name, "damping"))
        told_damping = value;
    if (!strcmp(name, "dead columns"))
        told_dead = value;
}

static const qc_method_desc *gptq(void)
{
    return (const qc_method_desc *)(const void *)test_plugin_open("gptq")->descs[0];
}

/* Of tokens whose columns go together in threes. */
static void fill_gram(float *gram, size_t n)
{
    float *x = malloc(TOKENS * n * sizeof *x);
    uint32_t seed = 5;
    for (size_t i = 0; i < TOKENS * n; i++)
        x[i] = (float)(rows_random(&seed) >> 8) * 0x1p-23f - 1.0f + (i % 3 ? 0.7f * x[i - 1] : 0.0f);
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                gram[i * n + j] += x[t * n + i] * x[t * n + j] / TOKENS;
    free(x);
}

static void begin(fixture *f, const char *plugin, const char *encoding, size_t rows, size_t cols)
{
    memset(f, 0, sizeof *f);
    f->job = test_host_begin(&f->host);
    f->host.tables = test_ops("scalar");
    f->job->figure = take_figure;
    f->rows = rows;
    f->cols = cols;
    f->chunk = rows;
    f->search = 2;
    f->refine = 1;
    f->encoding = test_find_encoding(test_plugin_open(plugin), encoding);
    assert_non_null(f->encoding);
    assert_true(test_coder(&f->coder, &f->ops, f->encoding, "reference", cols));
    f->gram = calloc(cols * cols, sizeof *f->gram);
    f->w = calloc(rows * cols, sizeof *f->w);
    f->values = calloc(rows * cols, sizeof *f->values);
    f->bytes = calloc(rows, f->coder.row_bytes);
    fill_gram(f->gram, cols);
    rows_fill(f->w, rows, cols, ROWS_GAUSS, 1);
    f->input = (qc_input){.size = sizeof f->input, .cols = cols, .n_tokens = TOKENS, .gram = f->gram};
    f->linear = (qc_linear){.size = sizeof f->linear,
                            .name = "blk.0.attn_q.weight",
                            .role = "attn_q",
                            .rows = rows,
                            .cols = cols,
                            .input = &f->input,
                            .coder = &f->coder};
    told_damping = told_dead = -1.0;
}

static void end(fixture *f)
{
    test_host_end(&f->host);
    free(f->gram);
    free(f->w);
    free(f->values);
    free(f->bytes);
    free(f->order);
}

static qc_status round_chunks(fixture *f, const void *state, const void *prepared)
{
    qc_status status = QC_OK;
    float *w = malloc(f->rows * f->cols * sizeof *w); /* round may overwrite it */
    memcpy(w, f->w, f->rows * f->cols * sizeof *w);
    for (size_t row = 0; status == QC_OK && row < f->rows; row += f->chunk) {
        size_t n = f->rows - row < f->chunk ? f->rows - row : f->chunk;
        status = gptq()->round(f->job, state, prepared, &f->linear, w + row * f->cols, n,
                               f->bytes + row * f->coder.row_bytes);
    }
    free(w);
    return status;
}

/* All that a host does for one linear. */
static qc_status run(fixture *f)
{
    const test_setting settings[] = {{.name = "damp", .number = 0.01},
                                     {.name = "shrink", .number = 0.1},
                                     {.name = "search", .number = f->search},
                                     {.name = "refine", .number = f->refine},
                                     {.name = "rescale", .number = 1},
                                     {.name = "passes", .number = 4},
                                     {.name = "by_importance", .number = 1},
                                     {.name = "act_order", .number = f->act_order},
                                     {.name = NULL}};
    const qc_method_desc *m = gptq();
    void *state = NULL, *prepared = NULL;
    qc_status status = m->create(f->job, test_settings(settings), &state);
    if (status == QC_OK && f->linear.input)
        status = m->prepare(f->job, state, f->linear.input, f->encoding, f->order, &prepared);
    if (status == QC_OK)
        status = round_chunks(f, state, prepared);
    if (status == QC_OK)
        status = qc_decode_rows(f->job, &f->coder, f->values, f->bytes, f->rows);
    m->release(&f->host.host, prepared);
    m->destroy(&f->host.host, state);
    return status;
}

static void expect_refused(fixture *f, qc_status code, const char *message)
{
    assert_int_equal(run(f), code);
    assert_non_null(strstr(f->host.message, message));
    end(f);
}

/* ---- */

static void test_descriptor(void **state)
{
    (void)state;
    assert_int_equal(gptq()->statistics, QC_STAT_GRAM);
    assert_int_equal(gptq()->chunk_rows % QC_LANES, 0);
}

static void test_chunks(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"kquants", "q3_k"}, {"legacy", "q4_1"}, {"ints", "int4_channel"}};
    for (size_t i = 0; i < 3; i++) {
        fixture whole, cut;
        begin(&whole, names[i][0], names[i][1], ROWS, COLS);
        begin(&cut, names[i][0], names[i][1], ROWS, COLS);
        cut.chunk = QC_LANES;
        assert_int_equal(run(&whole), QC_OK);
        assert_int_equal(run(&cut), QC_OK);
        assert_memory_equal(whole.bytes, cut.bytes, ROWS * whole.coder.row_bytes);
        end(&whole);
        end(&cut);
    }
}

static double squared_error(const fixture *f)
{
    double sum = 0.0;
    for (size_t i = 0; i < f->rows * f->cols; i++)
        sum += ((double)f->w[i] - (double)f->values[i]) * ((double)f->w[i] - (double)f->values[i]);
    return sum;
}

static double square(const fixture *f)
{
    double sum = 0.0;
    for (size_t i = 0; i < f->rows * f->cols; i++)
        sum += (double)f->w[i] * (double)f->w[i];
    return sum;
}

static void test_odd_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *plugin, *encoding;
        size_t rows, cols;
    } shapes[] = {{"kquants", "q4_k", 1, 256},     {"kquants", "q4_k", 17, 768},  {"legacy", "q5_0", 3, 32},
                  {"legacy", "q8_0", 33, 288},     {"ints", "int4_g128", 5, 384}, {"ints", "int8_channel", 2, 34},
                  {"ints", "int8_channel", 7, 600}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        fixture f;
        begin(&f, shapes[i].plugin, shapes[i].encoding, shapes[i].rows, shapes[i].cols);
        assert_int_equal(run(&f), QC_OK);
        assert_true(squared_error(&f) < 0.03 * square(&f));
        end(&f);
    }
}

static void test_zeros(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "kquants", "q2_k", ROWS, COLS);
    memset(f.w, 0, ROWS * COLS * sizeof *f.w);
    assert_int_equal(run(&f), QC_OK);
    assert_true(squared_error(&f) == 0.0);
    end(&f);
}

static void test_awkward_weights(void **state)
{
    (void)state;
    for (int kind = 0; kind < ROWS_KINDS; kind++) {
        fixture f;
        begin(&f, "legacy", "q4_0", 16, 64);
        rows_fill(f.w, 16, 64, kind, 1);
        assert_int_equal(run(&f), QC_OK);
        for (size_t i = 0; i < 16 * 64; i++)
            assert_true(qc_is_finite(f.values[i]));
        end(&f);
    }
}

static void test_dead_columns(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < COLS; j++)
            if (i % 7 == 0 || j % 7 == 0)
                f.gram[i * COLS + j] = 0.0f;
    assert_int_equal(run(&f), QC_OK);
    assert_true(told_dead == (COLS + 6) / 7);
    assert_true(told_damping > 0.0099 && told_damping < 0.0101);
    end(&f);
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    memset(f.gram, 0, COLS * COLS * sizeof *f.gram);
    expect_refused(&f, QC_E_NUMERIC, "no token of the calibration reached this input");
}

/* A pair of columns that go together more than they can. */
static void test_damping_is_raised(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < COLS; j++)
            f.gram[i * COLS + j] = i == j ? 1.0f : 0.0f;
    f.gram[1] = f.gram[COLS] = 1.2f; /* of which shrinking leaves 1.08 */
    assert_int_equal(run(&f), QC_OK);
    assert_true(told_damping > 0.099 && told_damping < 0.101);
    assert_int_equal(f.host.status, QC_OK);
    end(&f);
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    f.gram[1] = f.gram[COLS] = 100.0f;
    expect_refused(&f, QC_E_NUMERIC, "not positive definite after damping 1");
}

static void test_bad_numbers(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    f.w[3 * COLS + 7] = NAN;
    expect_refused(&f, QC_E_NUMERIC, "NaN in row 3");
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    f.gram[9 * (COLS + 1)] = -1.0f;
    expect_refused(&f, QC_E_NUMERIC, "column 9");
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    f.gram[9 * (COLS + 1)] = INFINITY;
    expect_refused(&f, QC_E_NUMERIC, "column 9");
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    f.gram[9 * COLS + 100] = f.gram[100 * COLS + 9] = NAN;
    expect_refused(&f, QC_E_NUMERIC, "NaN or Inf");
}

/* Of use for any number of columns. */
static void fill_evenly(fixture *f)
{
    for (size_t i = 0; i < COLS * COLS; i++)
        f->gram[i] = 1.0f;
}

static void test_unfit_inputs(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    f.input.gram = NULL;
    expect_refused(&f, QC_E_INVALID, "no Gram matrix");
    begin(&f, "kquants", "q4_k", ROWS, COLS);
    fill_evenly(&f);
    f.input.cols = COLS - 1;
    expect_refused(&f, QC_E_INVALID, "blocks of 256");
    begin(&f, "legacy", "q4_0", ROWS, COLS);
    fill_evenly(&f);
    f.input.cols = COLS - 32;
    expect_refused(&f, QC_E_INVALID, "the Gram matrix is for 480 columns, the weight has 512");
}

static void test_unknown_inputs_and_plain_numbers(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"kquants", "q4_k"}, {"floats", "bf16"}};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        begin(&f, names[i][0], names[i][1], ROWS, COLS);
        f.linear.input = i ? &f.input : NULL;
        assert_int_equal(run(&f), QC_OK);
        unsigned char *plain = calloc(ROWS, f.coder.row_bytes);
        assert_int_equal(qc_encode_rows(f.job, &f.coder, plain, f.w, NULL, ROWS), QC_OK);
        assert_memory_equal(plain, f.bytes, ROWS * f.coder.row_bytes);
        free(plain);
        end(&f);
    }
}

static void test_order(void **state)
{
    (void)state;
    fixture f;
    unsigned char seen[COLS] = {0};
    for (f.act_order = 0; f.act_order < 2;) {
        int asked = f.act_order;
        begin(&f, "ints", "int4_g128", ROWS, COLS);
        f.act_order = asked;
        f.order = malloc(COLS * sizeof *f.order);
        for (uint32_t i = 0; i < COLS; i++)
            f.order[i] = i;
        assert_int_equal(run(&f), QC_OK);
        memset(seen, 0, sizeof seen);
        for (size_t i = 0; i < COLS; i++) {
            assert_true(f.order[i] < COLS && !seen[f.order[i]]++);
            assert_true(asked || f.order[i] == i);
            assert_true(!asked || i == 0 || f.gram[f.order[i] * (COLS + 1)] <= f.gram[f.order[i - 1] * (COLS + 1)]);
        }
        end(&f);
        f.act_order = asked + 1;
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    qc_status status = QC_E_NOMEM;
    size_t k;
    for (k = 1; status != QC_OK; k++) {
        fixture f;
        begin(&f, "legacy", "q4_0", 16, 288);
        f.act_order = 1;
        f.order = calloc(288, sizeof *f.order);
        f.host.fail_at = k;
        status = run(&f);
        assert_true(status == QC_OK || status == QC_E_NOMEM);
        assert_true(status == QC_OK || strstr(f.host.message, "out of memory"));
        end(&f);
    }
    assert_true(k > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_odd_shapes),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_awkward_weights),
        cmocka_unit_test(test_dead_columns),
        cmocka_unit_test(test_damping_is_raised),
        cmocka_unit_test(test_bad_numbers),
        cmocka_unit_test(test_unfit_inputs),
        cmocka_unit_test(test_unknown_inputs_and_plain_numbers),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
