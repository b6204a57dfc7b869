/* Decode and encode of plain numbers. Built once per CPU level; a row is converted in one vectorizable loop and turned
 * into lanes from a small buffer. */
#include "convert.h"
#include "floats.h"
#include "qcore/variant.h"

typedef float (*read_fn)(const uint8_t *p);
typedef void (*write_fn)(uint8_t *p, float v);

static inline void decode_rows(read_fn read, size_t bytes, const qc_coder *e, float *x, const void *src, size_t n_rows,
                               size_t n_cols)
{
    float row[QC_PLAIN_COLS];
    for (size_t first = 0; first < n_cols; first += QC_PLAIN_COLS)
        for (size_t r = 0; r < QC_LANES; r++) {
            size_t n = n_cols - first < QC_PLAIN_COLS ? n_cols - first : QC_PLAIN_COLS;
            const uint8_t *from = (const uint8_t *)src + r * e->row_bytes + first * bytes;
            for (size_t c = 0; c < n; c++)
                row[c] = r < n_rows ? read(from + c * bytes) : 0.0f;
            for (size_t c = 0; c < n; c++)
                x[(first + c) * QC_LANES + r] = row[c];
        }
}

static inline void encode_rows(write_fn write, size_t bytes, const qc_coder *e, void *dst, const float *x,
                               size_t n_rows, size_t n_cols)
{
    float row[QC_PLAIN_COLS];
    for (size_t first = 0; first < n_cols; first += QC_PLAIN_COLS)
        for (size_t r = 0; r < n_rows; r++) {
            size_t n = n_cols - first < QC_PLAIN_COLS ? n_cols - first : QC_PLAIN_COLS;
            uint8_t *to = (uint8_t *)dst + r * e->row_bytes + first * bytes;
            for (size_t c = 0; c < n; c++)
                row[c] = x[(first + c) * QC_LANES + r];
            for (size_t c = 0; c < n; c++)
                write(to + c * bytes, row[c]);
        }
}

#define FLOATS_DEFINE(type, bytes)                                                                                  \
    static void decode_##type(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)           \
    {                                                                                                               \
        decode_rows(read_##type, bytes, e, x, src, n_rows, n_cols);                                                 \
    }                                                                                                               \
    static void encode_##type(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, \
                              size_t n_cols)                                                                        \
    {                                                                                                               \
        (void)importance; /* nearest is best whatever the importance */                                             \
        encode_rows(write_##type, bytes, e, dst, x, n_rows, n_cols);                                                \
    }
FLOATS(FLOATS_DEFINE)

#define FLOATS_OPS(type, bytes) \
    [FLOATS_##type] = {.size = sizeof(qc_ops_encoding), .decode = decode_##type, .encode = encode_##type},
const qc_ops_encoding QC_VARIANT_NAME(floats_ops)[FLOATS_COUNT] = {FLOATS(FLOATS_OPS)};
