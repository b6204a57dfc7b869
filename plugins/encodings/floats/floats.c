/* Plain numbers: f64, f32, f16, bf16, f8_e4m3, f8_e5m2 for weights, i8 … i64 for side data. */
#include "floats.h"
#include "qcore/number.h"

static qc_status refuse(qc_job *job, const qc_coder *e, size_t row, size_t col, float v)
{
    return qc_fail(job, QC_E_NUMERIC, "%s holds %s at row %zu, column %zu", e->desc->base.id, v != v ? "NaN" : "Inf",
                   row, col);
}

/* NaN and Inf are refused, f64 beyond float32 too. */
static qc_status validate(qc_job *job, const qc_coder *e, const void *src, size_t n_rows)
{
    float x[QC_PLAIN_COLS * QC_LANES];
    for (size_t row = 0; row < n_rows; row += QC_LANES) {
        size_t n = n_rows - row < QC_LANES ? n_rows - row : QC_LANES;
        for (size_t col = 0, n_cols; col < e->cols; col += n_cols) {
            n_cols = qc_piece_cols(e, col);
            const uint8_t *at = (const uint8_t *)src + row * e->row_bytes + qc_piece_at(e, col);
            e->ops->decode(e, x, at, n, n_cols);
            for (size_t i = 0; i < n_cols * QC_LANES; i++)
                if (!qc_is_finite(x[i]))
                    return refuse(job, e, row + i % QC_LANES, col + i / QC_LANES, x[i]);
        }
    }
    return QC_OK;
}

#if defined(QC_VARIANTS_X86)
#define FLOATS_VARIANTS(type, bytes)              \
    static const qc_variant variants_##type[] = { \
        {"x86-v4", &floats_ops_x86_v4[FLOATS_##type]}, {"x86-v3", &floats_ops_x86_v3[FLOATS_##type]}, {NULL, NULL}};
FLOATS(FLOATS_VARIANTS)
#define FLOATS_VARIANTS_OF(type) variants_##type
#else
#define FLOATS_VARIANTS_OF(type) NULL
#endif

#define FLOATS_DESC(type, bytes)                                                           \
    static const qc_encoding_desc desc_##type = {                                          \
        .base = {.size = sizeof(qc_encoding_desc), .kind = QC_KIND_ENCODING, .id = #type}, \
        .block_cols = 1,                                                                   \
        .block_bytes = (bytes),                                                            \
        .sub_cols = 1,                                                                     \
        .snap_cols = 1,                                                                    \
        .reference = &floats_ops_reference[FLOATS_##type],                                 \
        .variants = FLOATS_VARIANTS_OF(type),                                              \
        .validate = FLOATS_##type <= FLOATS_f8_e5m2 ? validate : NULL};
FLOATS(FLOATS_DESC)

QC_PLUGIN(&desc_f64.base, &desc_f32.base, &desc_f16.base, &desc_bf16.base, &desc_f8_e4m3.base, &desc_f8_e5m2.base,
          &desc_i8.base, &desc_i16.base, &desc_i32.base, &desc_i64.base);
