/* int2 … int8 in groups of 32, 64, 128 or whole channels, each with and without a zero point: one search, one table. */
#include "ints.h"

static qc_status validate_block(qc_job *job, const qc_coder *e, const uint8_t *p, size_t row, size_t col)
{
    const ints_type *t = (const ints_type *)e->desc->params;
    if (!qc_is_finite(qc_f32_from_f16(qc_load_le16(p))))
        return qc_fail(job, QC_E_NUMERIC, "%s has a NaN or Inf scale at row %zu, block of column %zu", e->desc->base.id,
                       row, col);
    if (t->has_zero && (float)p[2] > t->highest)
        return qc_fail(job, QC_E_CORRUPT,
                       "%s has a zero point of %u at row %zu, block of column %zu; %d is the largest", e->desc->base.id,
                       p[2], row, col, e->desc->highest);
    return QC_OK;
}

static qc_status validate(qc_job *job, const qc_coder *e, const void *src, size_t n_rows)
{
    qc_status status = QC_OK;
    for (size_t row = 0; row < n_rows; row++)
        for (size_t col = 0; status == QC_OK && col < e->cols; col += e->block_cols)
            status = validate_block(job, e, (const uint8_t *)src + row * e->row_bytes + qc_piece_at(e, col), row, col);
    return status;
}

#if defined(QC_VARIANTS_X86)
static const qc_variant variants[] = {{"x86-v4", &ints_ops_x86_v4}, {"x86-v3", &ints_ops_x86_v3}, {NULL, NULL}};
#define VARIANTS variants
#else
#define VARIANTS NULL
#endif

/* cols: of a group, 0: the row */
#define INTS_ENCODING(name, n_bits, cols, zero, low, high)                                           \
    static const qc_encoding_desc name = {.base = {.size = sizeof(qc_encoding_desc),                 \
                                                   .flags = QC_ENCODING_INTEGER,                     \
                                                   .kind = QC_KIND_ENCODING,                         \
                                                   .id = #name},                                     \
                                          .block_cols = (cols),                                      \
                                          .block_bytes = 2 + (zero) + (cols) * (n_bits) / 8,         \
                                          .sub_cols = (cols),                                        \
                                          .snap_cols = 1,                                            \
                                          .state_bytes = (zero) ? sizeof(ints_state) : 0,            \
                                          .lowest = (low),                                           \
                                          .highest = (high),                                         \
                                          .params = (zero) ? &type_##n_bits##_asym : &type_##n_bits, \
                                          .reference = &ints_ops_reference,                          \
                                          .variants = VARIANTS,                                      \
                                          .validate = validate,                                      \
                                          .code_bits = (cols) ? 0 : (n_bits)};

#define INTS_WIDTH(b, width, cols)                                                   \
    INTS_ENCODING(int##b##_##width, b, cols, 0, -(1 << ((b)-1)), (1 << ((b)-1)) - 1) \
    INTS_ENCODING(int##b##_##width##_asym, b, cols, 1, 0, (1 << (b)) - 1)

/* All encodings of b bits; first, stride, growth, notches, tries: see ints_type. */
#define INTS(b, ...)                                                                            \
    static const ints_type type_##b = {b, 0, -(1 << ((b)-1)), (1 << ((b)-1)) - 1, __VA_ARGS__}; \
    static const ints_type type_##b##_asym = {b, 1, 0, (1 << (b)) - 1, __VA_ARGS__};            \
    INTS_WIDTH(b, g32, 32)                                                                      \
    INTS_WIDTH(b, g64, 64)                                                                      \
    INTS_WIDTH(b, g128, 128)                                                                    \
    INTS_WIDTH(b, channel, 0)

INTS(2, -0.5f, 0.17f, 1.11f, 2, {14, 20})
INTS(3, -0.6f, 0.38f, 1.11f, 2, {13, 20})
INTS(4, -0.8f, 0.72f, 1.1f, 2, {12, 20})
INTS(5, -1.0f, 1.0f, 1.1f, 2, {10, 20})
INTS(6, -1.0f, 1.0f, 1.15f, 2, {8, 18})
INTS(7, -1.0f, 1.0f, 1.2f, 3, {7, 18})
INTS(8, -1.0f, 1.0f, 1.3f, 5, {6, 16})

#define ALL_WIDTHS(b, asym) \
    &int##b##_g32##asym.base, &int##b##_g64##asym.base, &int##b##_g128##asym.base, &int##b##_channel##asym.base
#define ALL(b) ALL_WIDTHS(b, ), ALL_WIDTHS(b, _asym)

QC_PLUGIN(ALL(2), ALL(3), ALL(4), ALL(5), ALL(6), ALL(7), ALL(8));
