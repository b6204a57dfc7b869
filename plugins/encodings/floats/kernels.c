/* Decode and encode of plain numbers. Built once per CPU level; numbers are converted in one vectorizable loop: whole
 * rows where they lie, tiles through a small buffer. */
#include "convert.h"
#include "floats.h"
#include "qcore/variant.h"

typedef void (*decode_row_fn)(float *row, const uint8_t *from, size_t n);
typedef void (*encode_row_fn)(uint8_t *to, const float *row, size_t n);

static void decode_tile(decode_row_fn decode_row, size_t bytes, const qc_coder *e, float *x, const void *src,
                        size_t n_rows, size_t n_cols)
{
    float row[QC_PLAIN_COLS];
    for (size_t first = 0, n; first < n_cols; first += n) {
        n = n_cols - first < QC_PLAIN_COLS ? n_cols - first : QC_PLAIN_COLS;
        for (size_t r = 0; r < QC_LANES; r++) {
            if (r < n_rows)
                decode_row(row, (const uint8_t *)src + r * e->row_bytes + first * bytes, n);
            for (size_t c = 0; c < n; c++)
                x[(first + c) * QC_LANES + r] = r < n_rows ? row[c] : 0.0f;
        }
    }
}

static void encode_tile(encode_row_fn encode_row, size_t bytes, const qc_coder *e, void *dst, const float *x,
                        size_t n_rows, size_t n_cols)
{
    float row[QC_PLAIN_COLS];
    for (size_t first = 0, n; first < n_cols; first += n) {
        n = n_cols - first < QC_PLAIN_COLS ? n_cols - first : QC_PLAIN_COLS;
        for (size_t r = 0; r < n_rows; r++) {
            for (size_t c = 0; c < n; c++)
                row[c] = x[(first + c) * QC_LANES + r];
            encode_row((uint8_t *)dst + r * e->row_bytes + first * bytes, row, n);
        }
    }
}

#define FLOATS_DEFINE(type, bytes)                                                                                  \
    static void decode_row_##type(float *restrict row, const uint8_t *restrict from, size_t n)                      \
    {                                                                                                               \
        for (size_t c = 0; c < n; c++)                                                                              \
            row[c] = read_##type(from + c * (bytes));                                                               \
    }                                                                                                               \
    static void encode_row_##type(uint8_t *restrict to, const float *restrict row, size_t n)                        \
    {                                                                                                               \
        for (size_t c = 0; c < n; c++)                                                                              \
            write_##type(to + c * (bytes), row[c]);                                                                 \
    }                                                                                                               \
    static void decode_##type(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)           \
    {                                                                                                               \
        decode_tile(decode_row_##type, bytes, e, x, src, n_rows, n_cols);                                           \
    }                                                                                                               \
    static void encode_##type(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, \
                              size_t n_cols)                                                                        \
    {                                                                                                               \
        (void)importance; /* nearest is best whatever the importance */                                             \
        encode_tile(encode_row_##type, bytes, e, dst, x, n_rows, n_cols);                                           \
    }                                                                                                               \
    static void decode_rows_##type(const qc_coder *e, float *rows, const void *src, size_t n_rows)                  \
    {                                                                                                               \
        decode_row_##type(rows, (const uint8_t *)src, n_rows * e->cols); /* no gaps between rows */                 \
    }                                                                                                               \
    static void encode_rows_##type(const qc_coder *e, void *dst, const float *rows, const float *importance,        \
                                   size_t n_rows)                                                                   \
    {                                                                                                               \
        (void)importance;                                                                                           \
        encode_row_##type((uint8_t *)dst, rows, n_rows * e->cols);                                                  \
    }
FLOATS(FLOATS_DEFINE)

#define FLOATS_OPS(type, bytes)                           \
    [FLOATS_##type] = {.size = sizeof(qc_ops_encoding),   \
                       .decode = decode_##type,           \
                       .encode = encode_##type,           \
                       .encode_rows = encode_rows_##type, \
                       .decode_rows = decode_rows_##type},
const qc_ops_encoding QC_VARIANT_NAME(floats_ops)[FLOATS_COUNT] = {FLOATS(FLOATS_OPS)};
