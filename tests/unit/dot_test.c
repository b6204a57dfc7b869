/* Rows in every blocked encoding times activations in 8 bits: the bits that encoding.h defines at `dot`, at every CPU
 * level, for any number of rows and tokens, however they are cut; nothing else of y is written. */
#include "test_host.h"
#include "test_ops.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOKENS = 133, COLS_MAX = 768 };
static const char *const plugins[] = {"legacy", "kquants", "ints"};
static const char *const levels[] = {"reference", "x86-v3", "x86-v4"};

typedef struct rounded {
    int8_t code[TOKENS * COLS_MAX];
    float scale[TOKENS * COLS_MAX / QC_ACTIVATION_COLS];
    int16_t sum[TOKENS * COLS_MAX / 16];
    qc_activations api;
} rounded;

static const qc_ops_row *row_ops(void)
{
    for (const test_table *t = test_ops("scalar"); t->id; t++)
        if (!strcmp(t->id, QC_OPS_ROW))
            return t->table;
    return NULL;
}

/* Ordinary inputs, the last token the largest numbers that codes can be. */
static void round_all(rounded *a, size_t cols)
{
    static float x[TOKENS * COLS_MAX];
    rows_fill(x, TOKENS, cols, ROWS_HEAVY, 5);
    for (size_t c = 0; c < cols; c++)
        x[(TOKENS - 1) * cols + c] = c / 32 % 2 ? 3.0f : -3.0f;
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t c = 0; c < cols; c += QC_ACTIVATION_COLS) {
            const size_t at = c / QC_ACTIVATION_COLS * TOKENS + t;
            int16_t sum[2];
            row_ops()->round_activations(a->code + at * QC_ACTIVATION_COLS, a->scale + at, sum, x + t * cols + c,
                                         QC_ACTIVATION_COLS);
            a->sum[c / 16 * TOKENS + t] = sum[0];
            a->sum[(c / 16 + 1) * TOKENS + t] = sum[1];
        }
    a->api = (qc_activations){sizeof a->api, cols, TOKENS, a->code, a->scale, a->sum};
}

/* ---- the definition ---- */

static float level_of(const qc_coder *e, int32_t code)
{
    return e->desc->levels ? e->desc->levels[code - e->desc->lowest] : (float)code;
}

/* Lane `lane` of a block whose first column is `col`. */
static float add_block(const qc_coder *e, const qc_grid *g, const int32_t *code, size_t lane, size_t col,
                       const qc_activations *a, size_t token, float y)
{
    const size_t sub_cols = qc_sub_cols(e), piece = sub_cols < QC_ACTIVATION_COLS ? sub_cols : QC_ACTIVATION_COLS;
    for (size_t c = 0; c < e->block_cols; c += piece) {
        const size_t met = (col + c) / QC_ACTIVATION_COLS * a->tokens + token;
        const int8_t *x = a->code + met * QC_ACTIVATION_COLS + (col + c) % QC_ACTIVATION_COLS;
        const float scale = a->scale[met];
        const size_t at = c / sub_cols * QC_LANES + lane;
        int64_t products = 0, own = 0;
        for (size_t i = 0; i < piece; i++) {
            products += (int64_t)level_of(e, code[(c + i) * QC_LANES + lane]) * x[i];
            own += x[i];
        }
        const float scaled = scale * (float)products, shifted = scale * (float)own;
        const float first = g->step[at] * scaled, second = g->offset[at] * shifted;
        y = y + first;
        y = y + second;
    }
    return y;
}

static void define(qc_job *job, const qc_coder *e, const unsigned char *bytes, size_t n_rows, const qc_activations *a,
                   float y[TOKENS][QC_LANES])
{
    static int32_t code[COLS_MAX * QC_LANES];
    qc_grid *g = qc_grid_new(job, e);
    memset(y, 0, TOKENS * sizeof *y);
    for (size_t col = 0; col < e->cols; col += e->block_cols) {
        e->ops->unpack(e, g, code, bytes + qc_piece_at(e, col), n_rows);
        for (size_t t = 0; t < TOKENS; t++)
            for (size_t r = 0; r < n_rows; r++)
                y[t][r] = add_block(e, g, code, r, col, a, t, y[t][r]);
    }
}

/* ---- the test ---- */

typedef struct tried {
    const qc_encoding_desc *desc;
    test_host host;
    qc_job *job;
    unsigned char *bytes; /* on the heap: reading past them is seen */
    float right[TOKENS][QC_LANES];
} tried;

static void check_dot(tried *t, const char *level, size_t n_rows, const qc_activations *a, size_t token,
                      size_t n_tokens)
{
    enum { LDY = QC_LANES + 3 };
    static float y[TOKENS * LDY];
    qc_coder coder;
    qc_ops_encoding ops;
    if (!test_cpu_runs(level) || !test_coder(&coder, &ops, t->desc, level, a->cols))
        return;
    for (size_t i = 0; i < TOKENS * LDY; i++)
        y[i] = 12345.0f;
    ops.dot(&coder, y, LDY, t->bytes, n_rows, a, token, n_tokens);
    for (size_t i = 0; i < TOKENS; i++)
        for (size_t r = 0; r < LDY; r++) {
            int written = i < n_tokens && r < n_rows;
            float right = written ? t->right[token + i][r] : 12345.0f;
            if (memcmp(&y[i * LDY + r], &right, sizeof right) != 0)
                fail_msg("%s, %s, %zu rows, %zu columns: token %zu, row %zu: %a, not %a", t->desc->base.id, level,
                         n_rows, a->cols, token + i, r, (double)y[i * LDY + r], (double)right);
        }
}

static void try_rows(const qc_encoding_desc *desc, int kind, size_t n_rows, const rounded *a)
{
    static float rows[QC_LANES * COLS_MAX];
    tried *t = calloc(1, sizeof *t);
    qc_coder coder;
    qc_ops_encoding ops;
    t->desc = desc;
    t->job = test_host_begin(&t->host);
    assert_true(test_coder(&coder, &ops, desc, "reference", a->api.cols));
    t->bytes = malloc(n_rows * coder.row_bytes);
    rows_fill(rows, n_rows, a->api.cols, kind, 3);
    qc_encode_rows(t->job, &coder, t->bytes, rows, NULL, n_rows);
    define(t->job, &coder, t->bytes, n_rows, &a->api, t->right);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        check_dot(t, levels[i], n_rows, &a->api, 0, TOKENS);
        check_dot(t, levels[i], n_rows, &a->api, 5, 1);
        check_dot(t, levels[i], n_rows, &a->api, TOKENS - 3, 3);
    }
    free(t->bytes);
    test_host_end(&t->host);
    free(t);
}

static size_t block_cols(const qc_encoding_desc *desc, size_t cols)
{
    return desc->block_cols ? desc->block_cols : cols;
}

static void try_all(void (*try)(const qc_encoding_desc *desc, const rounded *a), size_t cols)
{
    rounded *a = calloc(1, sizeof *a);
    round_all(a, cols);
    for (size_t p = 0; p < sizeof plugins / sizeof *plugins; p++) {
        const qc_plugin *plugin = test_plugin_open(plugins[p]);
        for (uint32_t i = 0; i < plugin->n_descs; i++) {
            const qc_encoding_desc *desc = (const void *)plugin->descs[i];
            assert_non_null(desc->reference->dot);
            if (cols % block_cols(desc, cols) == 0)
                try(desc, a);
        }
    }
    free(a);
}

static void try_kinds(const qc_encoding_desc *desc, const rounded *a)
{
    static const int kinds[] = {ROWS_HEAVY, ROWS_POSITIVE, ROWS_SIGNS, ROWS_TINY, ROWS_ZERO};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        try_rows(desc, kinds[k], QC_LANES, a);
}

static void try_few_rows(const qc_encoding_desc *desc, const rounded *a)
{
    try_rows(desc, ROWS_HEAVY, 1, a);
    try_rows(desc, ROWS_HEAVY, 11, a);
}

static void products_are_as_defined(void **state)
{
    (void)state;
    try_all(try_kinds, COLS_MAX);
}

static void of_few_rows_too(void **state)
{
    (void)state;
    try_all(try_few_rows, 512);
}

static void of_short_rows_too(void **state)
{
    (void)state;
    try_all(try_few_rows, 32);
    try_all(try_few_rows, 320);
}

/* ---- the activations ---- */

static void activations_are_rounded_in_blocks(void **state)
{
    (void)state;
    float x[64];
    int8_t code[64];
    float scale[2];
    int16_t sum[4];
    for (int i = 0; i < 64; i++)
        x[i] = i < 32 ? (float)(i - 15) : 0.0f;
    row_ops()->round_activations(code, scale, sum, x, 64);
    assert_int_equal(code[31], 127);
    assert_int_equal(code[0], -119); /* -15 * 127 / 16 = -119.06 */
    assert_true(scale[0] == 16.0f / 127.0f && scale[1] == 0.0f);
    int all = 0;
    for (int i = 0; i < 32; i++)
        all += code[i];
    assert_int_equal(sum[0] + sum[1], all);
    assert_int_equal(sum[2] | sum[3] | code[40], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_as_defined),
        cmocka_unit_test(of_few_rows_too),
        cmocka_unit_test(of_short_rows_too),
        cmocka_unit_test(activations_are_rounded_in_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
