/* q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl: six rows of a table. */
#include "legacy.h"

static qc_status validate(qc_job *job, const qc_coder *e, const void *src, size_t n_rows)
{
    const legacy_type *t = (const legacy_type *)e->desc->params;
    for (size_t row = 0; row < n_rows; row++)
        for (size_t col = 0; col < e->cols; col += LEGACY_COLS) {
            const uint8_t *p = (const uint8_t *)src + row * e->row_bytes + qc_piece_at(e, col);
            for (uint32_t i = 0; i <= t->has_offset; i++)
                if (!qc_is_finite(qc_f32_from_f16(qc_load_le16(p + 2 * i))))
                    return qc_fail(job, QC_E_NUMERIC, "%s has a NaN or Inf %s at row %zu, block of column %zu",
                                   e->desc->base.id, i ? "offset" : "scale", row, col);
        }
    return QC_OK;
}

#if defined(QC_VARIANTS_X86)
static const qc_variant variants[] = {{"x86-v4", &legacy_ops_x86_v4}, {"x86-v3", &legacy_ops_x86_v3}, {NULL, NULL}};
#define VARIANTS variants
#else
#define VARIANTS NULL
#endif

/* Of ggml: denser near 0, where most weights are; fewer above 0 than below, for d may be negative. */
static const float levels[LEGACY_LEVELS] = {-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f,
                                            1.0f,    13.0f,   25.0f,  38.0f,  53.0f,  69.0f,  89.0f,  113.0f};

/* Codes run from `low` up through 2^n_bits of them; kind: QC_ENCODING_INTEGER where the step alone makes their values;
 * tries: see qc_search. */
#define LEGACY(name, n_bits, offset, low, kind_flags, level_table, ...)                                         \
    static const legacy_type type_##name = {                                                                    \
        .bits = n_bits,                                                                                         \
        .has_offset = offset,                                                                                   \
        .search = {.lowest = low, .highest = (low) + (1 << (n_bits)) - 1, __VA_ARGS__}};                        \
    static const qc_encoding_desc name = {                                                                      \
        .base = {.size = sizeof(qc_encoding_desc), .flags = kind_flags, .kind = QC_KIND_ENCODING, .id = #name}, \
        .block_cols = LEGACY_COLS,                                                                              \
        .block_bytes = 2 + 2 * (offset) + LEGACY_COLS * (n_bits) / 8,                                           \
        .sub_cols = LEGACY_COLS,                                                                                \
        .snap_cols = 1,                                                                                         \
        .lowest = low,                                                                                          \
        .highest = (low) + (1 << (n_bits)) - 1,                                                                 \
        .levels = level_table,                                                                                  \
        .params = &type_##name,                                                                                 \
        .reference = &legacy_ops_reference,                                                                     \
        .variants = VARIANTS,                                                                                   \
        .validate = validate};

LEGACY(q4_0, 4, 0, -8, QC_ENCODING_INTEGER, NULL, .first = 0.0f, .stride = 0.9f, .n_tries = {2, 8}, .n_refits = 1)
LEGACY(q4_1, 4, 1, 0, 0, NULL, .first = -1.5f, .stride = 0.5f, .n_tries = {5, 6}, .n_refits = 2, .n_offsets = 5,
       .shrink = 0.025f)
LEGACY(q5_0, 5, 0, -16, QC_ENCODING_INTEGER, NULL, .first = 0.0f, .stride = 0.9f, .n_tries = {2, 8}, .n_refits = 1)
LEGACY(q5_1, 5, 1, 0, 0, NULL, .first = -1.5f, .stride = 0.5f, .n_tries = {5, 6}, .n_refits = 2, .n_offsets = 5,
       .shrink = 0.0125f)
/* Without importance a search would save hardly anything. */
LEGACY(q8_0, 8, 0, -128, QC_ENCODING_INTEGER, NULL, .first = 0.0f, .stride = -1.0f, .n_tries = {0, 2}, .n_refits = 1)
LEGACY(iq4_nl, 4, 0, 0, 0, levels, .first = -20.0f, .stride = 5.0f, .n_tries = {12, 16}, .n_refits = 2)

QC_PLUGIN(&q4_0.base, &q4_1.base, &q5_0.base, &q5_1.base, &q8_0.base, &iq4_nl.base);
