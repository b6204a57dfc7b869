/* Moving rows into tiles and back, floats and bytes: every number of rows, odd columns, rows that are not aligned, and
 * nothing written or read beside what is there. */
#include "qcore/tile.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST_COLS = 70, STRIDE = MOST_COLS + 3 };

/* Exactly what the call may touch, so that a sanitizer sees more. */
static float *rows_of(size_t n_rows, size_t n_cols)
{
    float *rows = malloc(((n_rows - 1) * STRIDE + n_cols) * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < (n_rows - 1) * STRIDE + n_cols; i++)
        rows[i] = (float)(i + 1);
    return rows;
}

static void check_floats(size_t n_rows, size_t n_cols)
{
    float *rows = rows_of(n_rows, n_cols), *back = rows_of(n_rows, n_cols);
    float *tile = malloc(n_cols * QC_LANES * sizeof *tile);
    assert_non_null(tile);
    qc_tile_from_rows(tile, rows, STRIDE, n_rows, n_cols);
    for (size_t c = 0; c < n_cols; c++)
        for (size_t r = 0; r < QC_LANES; r++)
            if (tile[c * QC_LANES + r] != (r < n_rows ? rows[r * STRIDE + c] : 0.0f))
                fail_msg("%zu x %zu: column %zu of row %zu is wrong in the tile", n_rows, n_cols, c, r);
    for (size_t i = 0; i < n_cols * QC_LANES; i++)
        tile[i] += 0.5f;
    qc_rows_from_tile(back, STRIDE, tile, n_rows, n_cols);
    for (size_t i = 0; i < (n_rows - 1) * STRIDE + n_cols; i++)
        if (back[i] != rows[i] + (i % STRIDE < n_cols ? 0.5f : 0.0f))
            fail_msg("%zu x %zu: column %zu of row %zu is wrong in the rows", n_rows, n_cols, i % STRIDE, i / STRIDE);
    free(tile);
    free(back);
    free(rows);
}

static void test_floats(void **state)
{
    (void)state;
    for (size_t n_rows = 1; n_rows <= QC_LANES; n_rows++)
        for (size_t n_cols = 1; n_cols <= MOST_COLS; n_cols++)
            check_floats(n_rows, n_cols);
}

static void check_codes(size_t n_cols, int32_t lowest)
{
    const size_t stride = n_cols + 5, n_bytes = (QC_LANES - 1) * stride + n_cols;
    uint8_t *rows = malloc(n_bytes);
    int32_t *code = malloc(n_cols * QC_LANES * sizeof *code), *back = malloc(n_cols * QC_LANES * sizeof *back);
    assert_true(rows && code && back);
    memset(rows, 0xcd, n_bytes);
    for (size_t i = 0; i < n_cols * QC_LANES; i++)
        code[i] = (int32_t)(i * 37 % 256) + lowest;
    qc_bytes_from_codes(rows, stride, code, lowest, n_cols);
    for (size_t i = 0; i < n_bytes; i++) {
        size_t c = i % stride, r = i / stride;
        assert_int_equal(rows[i], c < n_cols ? code[c * QC_LANES + r] - lowest : 0xcd);
    }
    qc_codes_from_bytes(back, rows, stride, lowest, n_cols);
    assert_memory_equal(back, code, n_cols * QC_LANES * sizeof *code);
    free(back);
    free(code);
    free(rows);
}

static void test_codes(void **state)
{
    static const int32_t lowest[] = {0, -4, -128, 1};
    (void)state;
    for (size_t n_cols = 16; n_cols <= 256; n_cols += 16)
        for (size_t i = 0; i < sizeof lowest / sizeof *lowest; i++)
            check_codes(n_cols, lowest[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_floats), cmocka_unit_test(test_codes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
