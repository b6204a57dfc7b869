/* q2_k, q3_k, q4_k, q5_k, q6_k: two searches (search_affine.h, search_signed.h), a layout each (layout.h). */
#include "kquants.h"

static qc_status validate(qc_job *job, const qc_coder *e, const void *src, size_t n_rows)
{
    const kq_type *t = (const kq_type *)e->desc->params;
    for (size_t row = 0; row < n_rows; row++)
        for (size_t col = 0; col < e->cols; col += KQ_COLS) {
            const uint8_t *d = (const uint8_t *)src + row * e->row_bytes + qc_piece_at(e, col) + t->d_at;
            if (!qc_is_finite(qc_f32_from_f16(qc_load_le16(d))) ||
                (t->has_min && !qc_is_finite(qc_f32_from_f16(qc_load_le16(d + 2)))))
                return qc_fail(job, QC_E_NUMERIC, "%s has a NaN or Inf scale at row %zu, block of column %zu",
                               e->desc->base.id, row, col);
        }
    return QC_OK;
}

#if defined(QC_VARIANTS_X86)
static const qc_variant variants[] = {{"x86-v4", &kquants_ops_x86_v4}, {"x86-v3", &kquants_ops_x86_v3}, {NULL, NULL}};
#define VARIANTS variants
#else
#define VARIANTS NULL
#endif

/* name, bytes, byte of d, columns of a sub-block, mins?, scales from … to, codes from … to, tries (see kq_type and
 * qc_search) */
#define KQUANT(name, bytes, d_place, sub, mins, scale_low, scale_high, low, high, ...)           \
    static const kq_type type_##name = {.sub_cols = sub,                                         \
                                        .has_min = mins,                                         \
                                        .scale_lowest = scale_low,                               \
                                        .scale_highest = scale_high,                             \
                                        .search = {.lowest = low, .highest = high, __VA_ARGS__}, \
                                        .layout = KQ_##name,                                     \
                                        .d_at = d_place};                                        \
    static const qc_encoding_desc name = {                                                       \
        .base = {.size = sizeof(qc_encoding_desc), .kind = QC_KIND_ENCODING, .id = #name},       \
        .block_cols = KQ_COLS,                                                                   \
        .block_bytes = bytes,                                                                    \
        .sub_cols = sub,                                                                         \
        .snap_cols = 1,                                                                          \
        .state_bytes = sizeof(kq_state),                                                         \
        .lowest = low,                                                                           \
        .highest = high,                                                                         \
        .params = &type_##name,                                                                  \
        .reference = &kquants_ops_reference,                                                     \
        .variants = VARIANTS,                                                                    \
        .validate = validate};

KQUANT(q2_k, 84, 80, 16, 1, 0, 15, 0, 3, .first = -0.4f, .stride = 0.4f, .n_tries = {4, 6}, .n_refits = 1,
       .n_offsets = 4, .shrink = 0.1f)
KQUANT(q3_k, 110, 108, 16, 0, -32, 31, -4, 3, .first = 0.0f, .stride = 0.75f, .n_tries = {2, 10})
KQUANT(q4_k, 144, 0, 32, 1, 0, 63, 0, 15, .first = -1.5f, .stride = 0.5f, .n_tries = {5, 6}, .n_refits = 1,
       .n_offsets = 4, .shrink = 0.03f)
KQUANT(q5_k, 176, 0, 32, 1, 0, 63, 0, 31, .first = -1.5f, .stride = 0.5f, .n_tries = {5, 6}, .n_refits = 1,
       .n_offsets = 4, .shrink = 0.015f)
KQUANT(q6_k, 210, 208, 16, 0, -128, 127, -32, 31, .first = -6.0f, .stride = 1.0f, .n_tries = {7, 7})

QC_PLUGIN(&q2_k.base, &q3_k.base, &q4_k.base, &q5_k.base, &q6_k.base);
