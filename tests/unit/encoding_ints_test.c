/* What is particular to whole numbers: whole rows as blocks, steps that bfloat16 keeps, zero points. */
#include "qcore/number.h"
#include "test_host.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_COLS = 28672, ROW_BYTES = MAX_COLS + 3 };

static float rows[QC_LANES * MAX_COLS], back[QC_LANES * MAX_COLS], importance[MAX_COLS];
static unsigned char bytes[QC_LANES * ROW_BYTES];

static const qc_encoding_desc *next_desc(uint32_t *i)
{
    const qc_plugin *plugin = test_plugin_open("ints");
    return *i < plugin->n_descs ? (const qc_encoding_desc *)(const void *)plugin->descs[(*i)++] : NULL;
}

static int has_zero(const qc_encoding_desc *d)
{
    return d->lowest == 0;
}

static double relative_error(size_t n)
{
    double error = 0.0, square = 0.0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)rows[i] - (double)back[i]) * ((double)rows[i] - (double)back[i]);
        square += (double)rows[i] * (double)rows[i];
    }
    return error / square;
}

static void round_trip(qc_job *job, const qc_coder *e, int kind, size_t n_rows)
{
    rows_fill(rows, n_rows, e->cols, kind, 3);
    rows_importance(importance, e->cols, 4);
    memset(bytes, 0xCD, sizeof bytes);
    assert_int_equal(qc_encode_rows(job, e, bytes, rows, importance, n_rows), QC_OK);
    assert_int_equal(e->desc->validate(job, e, bytes, n_rows), QC_OK);
    assert_int_equal(qc_decode_rows(job, e, back, bytes, n_rows), QC_OK);
    if (n_rows < QC_LANES)
        assert_int_equal(bytes[n_rows * e->row_bytes], 0xCD);
}

/* Any width is a channel, and bits behind the last code are 0. */
static void test_channels_of_any_width(void **state)
{
    (void)state;
    static const size_t widths[] = {1, 3, 7, 127, 129, 203, 1000, MAX_COLS};
    static const double most[] = {1.0, 0.2, 0.06, 0.02, 5e-3, 1.5e-3, 4e-4}; /* of 2, 3, … bits */
    test_host host;
    qc_coder e;
    qc_ops_encoding ops;
    for (uint32_t i = 0; i < 56;) {
        const qc_encoding_desc *d = next_desc(&i);
        for (size_t w = 0; d->block_cols == 0 && w < sizeof widths / sizeof *widths; w++) {
            qc_job *job = test_host_begin(&host);
            size_t bits = widths[w] * d->code_bits, n_rows = widths[w] == MAX_COLS ? 2 : QC_LANES - 1;
            assert_true(test_coder(&e, &ops, d, "reference", widths[w]));
            assert_int_equal(e.row_bytes, d->block_bytes + (bits + 7) / 8);
            round_trip(job, &e, ROWS_GAUSS, n_rows);
            for (size_t r = 0; bits % 8 && r < n_rows; r++)
                assert_int_equal(bytes[(r + 1) * e.row_bytes - 1] >> bits % 8, 0);
            if (relative_error(n_rows * widths[w]) > 2.0 * most[d->code_bits - 2])
                fail_msg("%s, %zu weights: error %g", d->base.id, widths[w], relative_error(n_rows * widths[w]));
            test_host_end(&host);
        }
    }
}

/* fit chooses steps that a bfloat16 and a normal float16 hold, of any weights. */
static void test_steps_are_in_both_halves(void **state)
{
    (void)state;
    enum { COLS = 256 };
    test_host host;
    qc_coder e;
    qc_ops_encoding ops;
    for (uint32_t i = 0; i < 56;) {
        const qc_encoding_desc *d = next_desc(&i);
        qc_job *job = test_host_begin(&host);
        assert_true(test_coder(&e, &ops, d, "reference", COLS));
        for (int kind = 0; kind < ROWS_KINDS; kind++) {
            round_trip(job, &e, kind, QC_LANES);
            for (size_t r = 0; r < QC_LANES; r++)
                for (size_t c = 0; c < COLS; c += e.block_cols) {
                    float step = qc_f32_from_f16(qc_load_le16(bytes + r * e.row_bytes + qc_piece_at(&e, c)));
                    float size = step < 0.0f ? -step : step;
                    assert_int_equal(qc_float_bits(step) & 0xffff, 0);
                    assert_true(size == 0.0f || (size >= 0x1p-14f && size <= 65504.0f));
                    assert_true(!has_zero(d) || step >= 0.0f);
                }
        }
        test_host_end(&host);
    }
}

static void test_flags(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 56;) {
        const qc_encoding_desc *d = next_desc(&i);
        int32_t span = d->highest - d->lowest + 1;
        assert_true(d->base.flags & QC_ENCODING_INTEGER);
        assert_int_equal(1 << (d->base.id[3] - '0'), span);
        assert_int_equal(has_zero(d), strstr(d->base.id, "_asym") != NULL);
        assert_int_equal(d->lowest, has_zero(d) ? 0 : -span / 2);
    }
}

/* A zero point past the codes is refused by its place; one behind the last row is nobody's. */
static void test_zero_points(void **state)
{
    (void)state;
    enum { COLS = 256 };
    test_host host;
    qc_coder e;
    qc_ops_encoding ops;
    for (uint32_t i = 0; i < 56;) {
        const qc_encoding_desc *d = next_desc(&i);
        if (!has_zero(d) || d->highest == 255)
            continue;
        qc_job *job = test_host_begin(&host);
        assert_true(test_coder(&e, &ops, d, "reference", COLS));
        memset(bytes, 0, sizeof bytes);
        bytes[2 * e.row_bytes + qc_piece_at(&e, COLS - e.block_cols) + 2] = (unsigned char)(d->highest + 1);
        assert_int_equal(d->validate(job, &e, bytes, 2), QC_OK);
        assert_int_equal(d->validate(job, &e, bytes, 3), QC_E_CORRUPT);
        assert_non_null(strstr(host.message, "zero point"));
        assert_non_null(strstr(host.message, "row 2"));
        test_host_end(&host);
    }
}

/* Zero points move by whole numbers inside their range. */
static void test_zero_point_neighbours(void **state)
{
    (void)state;
    float step[QC_LANES], offset[QC_LANES];
    test_host host;
    qc_coder e;
    qc_ops_encoding ops;
    qc_job *job = test_host_begin(&host);
    assert_true(test_coder(&e, &ops, test_find_encoding(test_plugin_open("ints"), "int4_g32_asym"), "reference", 32));
    qc_grid *g = qc_grid_new(job, &e);
    assert_non_null(g);
    for (size_t l = 0; l < QC_LANES; l++) {
        g->step[l] = 0.5f;
        g->offset[l] = -0.5f * (float)l;
    }
    assert_int_equal(ops.adopt(&e, g), 1);
    ops.neighbour(&e, g, 0, 0, 2, step, offset);
    for (size_t l = 0; l < QC_LANES; l++) {
        assert_true(step[l] == (l + 2 <= 15 ? 0.5f : 0.0f));
        assert_true(step[l] == 0.0f || offset[l] == -0.5f * (float)(l + 2));
    }
    g->offset[3] = 0.5f; /* a zero point of -1 */
    assert_int_equal(ops.adopt(&e, g), 0);
    g->offset[3] = -8.0f; /* 16 */
    assert_int_equal(ops.adopt(&e, g), 0);
    g->offset[3] = -1.25f; /* 2.5 */
    assert_int_equal(ops.adopt(&e, g), 0);
    test_host_end(&host);
}

/* Codes and float16 steps made elsewhere come in as they are, those that fit would not choose among them. */
static void test_adopts_any_half(void **state)
{
    (void)state;
    test_host host;
    qc_coder e;
    qc_ops_encoding ops;
    static int32_t code[32 * QC_LANES];
    qc_job *job = test_host_begin(&host);
    assert_true(test_coder(&e, &ops, test_find_encoding(test_plugin_open("ints"), "int4_g32"), "reference", 32));
    qc_grid *g = qc_grid_new(job, &e);
    assert_non_null(g);
    for (uint32_t half = 0; half < 65536; half += QC_LANES) {
        for (uint32_t l = 0; l < QC_LANES; l++) {
            float step = qc_f32_from_f16((uint16_t)(half + l));
            g->step[l] = qc_is_finite(step) ? step : 0.0f;
            g->offset[l] = 0.0f;
        }
        assert_int_equal(ops.adopt(&e, g), 1);
        ops.pack(&e, bytes, g, code, QC_LANES);
        for (uint32_t l = 0; l < QC_LANES; l++)
            assert_int_equal(qc_load_le16(bytes + l * e.row_bytes),
                             (half & 0x7fff) >= 0x7c00 ? 0 : (uint16_t)(half + l));
    }
    g->step[7] = NAN;
    assert_int_equal(ops.adopt(&e, g), 0);
    test_host_end(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channels_of_any_width),
        cmocka_unit_test(test_steps_are_in_both_halves),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_zero_points),
        cmocka_unit_test(test_zero_point_neighbours),
        cmocka_unit_test(test_adopts_any_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
