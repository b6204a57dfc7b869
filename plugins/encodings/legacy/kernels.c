/* Kernels of the legacy blocks, built once per CPU level. */
#include "layout.h"
#include "levels.h"
#include "q8_rows.h"
#include "qcore/affine.h"
#include "qcore/dot.h"
#include "qcore/variant.h"

static const legacy_type *type_of(const qc_coder *e)
{
    return (const legacy_type *)e->desc->params;
}

/* One of the two f16 numbers around v: i = 0 the nearest, 1 the other. Far apart only where f16 is subnormal. */
static float stored(float v, int i)
{
    float nearest = qc_round_f16(v);
    return i == 0 ? nearest : qc_next_f16(nearest, v > nearest ? 1 : -1);
}

/* Whether the nearest f16 number is as good as any: 11 bits of a step that has at most 8 bits of codes. */
static int is_fine(float step)
{
    return step == 0.0f || qc_abs(step) >= 0x1p-14f;
}

/* The nearest stored step; where f16 is coarse, the one of two that fits better by its true error. */
static void store_step(const float *x, const float *w, const float *levels, const qc_search *p, const float *step,
                       qc_grid *g)
{
    float tried[QC_LANES], least[QC_LANES];
    qc_sums sums;
    int all_fine = 1;
    for (size_t l = 0; l < QC_LANES; l++) {
        g->step[l] = qc_round_f16(step[l]);
        all_fine &= is_fine(step[l]);
    }
    for (int i = 0; i < 2 && !all_fine; i++) {
        for (size_t l = 0; l < QC_LANES; l++)
            tried[l] = stored(step[l], i);
        if (levels)
            try_levels(x, w, levels, tried, &sums);
        else
            qc_try_step(x, w, LEGACY_COLS, p->lowest, p->highest, tried, &sums);
        for (size_t l = 0; l < QC_LANES; l++) {
            int better = i == 0 || (sums.rr[l] < least[l] && !is_fine(step[l]));
            g->step[l] = better ? tried[l] : g->step[l];
            least[l] = better ? sums.rr[l] : least[l];
        }
    }
}

/* Without a search: the weight of the largest magnitude becomes the lowest code. */
static void put_peak_lowest(const float *x, float lowest, float *step)
{
    float low[QC_LANES], high[QC_LANES];
    qc_lanes_range(x, LEGACY_COLS, low, high);
    for (size_t l = 0; l < QC_LANES; l++)
        step[l] = (-low[l] > high[l] ? low[l] : high[l]) / lowest;
}

static void fit_symmetric(const float *x, const float *w, int weighted, const float *levels, const qc_search *p,
                          qc_grid *g)
{
    float step[QC_LANES];
    if (levels)
        search_levels(x, w, levels, p, weighted, step);
    else
        qc_search_step(x, w, LEGACY_COLS, p, weighted, step);
    store_step(x, w, levels, p, step, g);
    for (size_t l = 0; l < QC_LANES; l++)
        g->offset[l] = -0.0f; /* adds nothing, not even to -0 */
}

/* The same for a step and an offset: an offset of many steps is coarse too. */
static int is_fine_pair(float step, float offset)
{
    return is_fine(step) && qc_abs(offset) <= 64.0f * qc_abs(step);
}

/* Each step with the offset rounded as it came, and with the one that suits it. */
static void store_affine(const float *x, const float *w, const qc_search *p, const float *step, const float *offset,
                         qc_grid *g)
{
    float s[QC_LANES], o[QC_LANES], least[QC_LANES];
    float total = 0.0f;
    qc_sums sums;
    int all_fine = 1;
    for (size_t l = 0; l < QC_LANES; l++) {
        g->step[l] = qc_round_f16(step[l]);
        g->offset[l] = qc_round_f16(offset[l]);
        all_fine &= is_fine_pair(step[l], offset[l]);
    }
    for (size_t c = 0; c < LEGACY_COLS; c++)
        total += w[c];
    for (int i = 0; i < 4 && !all_fine; i++) {
        for (size_t l = 0; l < QC_LANES; l++) {
            s[l] = stored(step[l], i / 2);
            o[l] = qc_round_f16(i % 2 ? o[l] + sums.r[l] / total : offset[l]);
        }
        qc_try_affine(x, w, LEGACY_COLS, p->highest, s, o, &sums);
        for (size_t l = 0; l < QC_LANES; l++) {
            int better = i == 0 || (sums.rr[l] < least[l] && !is_fine_pair(step[l], offset[l]));
            g->step[l] = better ? s[l] : g->step[l];
            g->offset[l] = better ? o[l] : g->offset[l];
            least[l] = better ? sums.rr[l] : least[l];
        }
    }
}

static void fit_affine(const float *x, const float *w, int weighted, const qc_search *p, qc_grid *g)
{
    float step[QC_LANES], offset[QC_LANES];
    qc_search_affine(x, w, LEGACY_COLS, p, weighted, FLT_MAX, step, offset);
    store_affine(x, w, p, step, offset, g);
}

static void fit_without_search(const float *x, const qc_search *p, qc_grid *g)
{
    float step[QC_LANES];
    put_peak_lowest(x, p->lowest, step);
    for (size_t l = 0; l < QC_LANES; l++) {
        g->step[l] = qc_round_f16(step[l]);
        g->offset[l] = -0.0f;
    }
}

static void fit(const qc_coder *e, qc_grid *g, const float *x, const float *importance, uint32_t sub, uint32_t n_subs)
{
    (void)sub, (void)n_subs; /* one sub-block is the block */
    const legacy_type *t = type_of(e);
    float w[LEGACY_COLS], tame[LEGACY_COLS * QC_LANES];
    int weighted = qc_lanes_weights(w, importance, LEGACY_COLS);
    if (t->search.n_tries[weighted] == 0) {
        fit_without_search(x, &t->search, g);
        return;
    }
    qc_lanes_clamp(tame, x, LEGACY_COLS);
    if (t->has_offset)
        fit_affine(tame, w, weighted, &t->search, g);
    else
        fit_symmetric(tame, w, weighted, e->desc->levels, &t->search, g);
}

static void snap_levels(const float *x, size_t n, const float *levels, const float *step, float *value, int32_t *code)
{
    for (size_t c = 0; c < n; c++, x += QC_LANES, value += QC_LANES, code += QC_LANES) {
        float t[QC_LANES], level[QC_LANES];
        int32_t nearest[QC_LANES];
        for (size_t l = 0; l < QC_LANES; l++)
            t[l] = x[l] / (step[l] != 0.0f ? step[l] : 1.0f);
        nearest_levels(t, levels, level, nearest);
        for (size_t l = 0; l < QC_LANES; l++) {
            code[l] = step[l] != 0.0f ? nearest[l] : 0;
            value[l] = step[l] != 0.0f ? step[l] * level[l] : step[l] * levels[0];
        }
    }
}

static void snap_columns(const qc_coder *e, const float *x, size_t n, const float *step, const float *offset,
                         float *value, int32_t *code)
{
    if (e->desc->levels)
        snap_levels(x, n, e->desc->levels, step, value, code);
    else
        qc_lanes_snap(x, n, (float)e->desc->lowest, (float)e->desc->highest, step, offset, value, code);
}

static void snap(const qc_coder *e, qc_grid *g, float *value, int32_t *code, const float *x, const float *importance,
                 uint32_t col)
{
    (void)importance, (void)col;
    snap_columns(e, x, 1, g->step, g->offset, value, code);
}

/* Codes counted from 0, [lane][LEGACY_COLS]. */
static void pack_rows(const qc_coder *e, uint8_t *p, const qc_grid *g, const uint8_t *code, size_t n_rows)
{
    const legacy_type *t = type_of(e);
    const size_t header = 2 + 2 * t->has_offset;
    uint16_t step[QC_LANES], offset[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++) {
        step[l] = qc_f16_from_f32(g->step[l]);
        offset[l] = qc_f16_from_f32(g->offset[l]);
    }
    for (size_t lane = 0; lane < n_rows; lane++, p += e->row_bytes, code += LEGACY_COLS) {
        qc_store_le16(p, step[lane]);
        if (t->has_offset)
            qc_store_le16(p + 2, offset[lane]);
        put_codes(p + header, code, t->bits);
    }
}

static void pack(const qc_coder *e, void *dst, const qc_grid *g, const int32_t *code, size_t n_rows)
{
    uint8_t rows[QC_LANES * LEGACY_COLS];
    qc_bytes_from_codes(rows, LEGACY_COLS, code, e->desc->lowest, LEGACY_COLS);
    pack_rows(e, (uint8_t *)dst, g, rows, n_rows);
}

/* Numbers in f16 at p, one a lane. */
static void load_halves(float *x, const uint8_t *p, size_t row_bytes, size_t n_rows)
{
    uint16_t half[QC_LANES] = {0};
    for (size_t lane = 0; lane < n_rows; lane++)
        half[lane] = qc_load_le16(p + lane * row_bytes);
    for (size_t lane = 0; lane < QC_LANES; lane++)
        x[lane] = qc_f32_from_f16(half[lane]);
}

static void unpack(const qc_coder *e, qc_grid *g, int32_t *code, const void *src, size_t n_rows)
{
    const legacy_type *t = type_of(e);
    const uint8_t *p = (const uint8_t *)src;
    uint8_t rows[QC_LANES * LEGACY_COLS] = {0};
    load_halves(g->step, p, e->row_bytes, n_rows);
    if (t->has_offset)
        load_halves(g->offset, p + 2, e->row_bytes, n_rows);
    for (size_t lane = 0; lane < QC_LANES; lane++)
        g->offset[lane] = lane < n_rows && t->has_offset ? g->offset[lane] : -0.0f;
    for (size_t lane = 0; lane < n_rows; lane++)
        get_codes(rows + lane * LEGACY_COLS, p + lane * e->row_bytes + 2 + 2 * t->has_offset, t->bits);
    qc_codes_from_bytes(code, rows, LEGACY_COLS, e->desc->lowest, LEGACY_COLS);
}

/* What decoding needs to know of a type: values are step * (byte + lowest) + offset, bytes looked up where codes stand
 * for uneven levels, which are whole numbers of 8 bits. */
typedef struct legacy_reader {
    uint32_t bits, has_offset;
    const uint8_t *table; /* or NULL */
    int32_t lowest;
} legacy_reader;

static legacy_reader reader_of(const qc_coder *e, uint8_t table[LEGACY_LEVELS])
{
    const legacy_type *t = type_of(e);
    const float *levels = e->desc->levels;
    for (size_t i = 0; levels && i < LEGACY_LEVELS; i++)
        table[i] = (uint8_t)(int32_t)(levels[i] - levels[0]);
    return (legacy_reader){t->bits, t->has_offset, levels ? table : NULL,
                           levels ? (int32_t)levels[0] : e->desc->lowest};
}

static inline void decode_block(const legacy_reader *r, float *x, const uint8_t *p)
{
    uint8_t code[LEGACY_COLS];
    const float step = qc_f32_from_f16(qc_load_le16(p));
    const float offset = r->has_offset ? qc_f32_from_f16(qc_load_le16(p + 2)) : -0.0f;
    get_codes(code, p + 2 + 2 * r->has_offset, r->bits);
    if (r->table)
        qc_dot_look_up(code, r->table, LEGACY_COLS);
    qc_values_from_bytes(x, code, LEGACY_COLS, r->lowest, step, offset);
}

static void decode(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)
{
    uint8_t table[LEGACY_LEVELS];
    const legacy_reader reader = reader_of(e, table);
    float rows[QC_LANES * LEGACY_COLS];
    for (size_t lane = 0; lane < n_rows; lane++)
        decode_block(&reader, rows + lane * LEGACY_COLS, (const uint8_t *)src + lane * e->row_bytes);
    qc_tile_from_rows(x, rows, LEGACY_COLS, n_rows, n_cols);
}

static void decode_rows(const qc_coder *e, float *rows, const void *src, size_t n_rows)
{
    uint8_t table[LEGACY_LEVELS];
    const legacy_reader reader = reader_of(e, table);
    const uint8_t *p = (const uint8_t *)src; /* blocks and rows follow each other without gaps */
    for (size_t i = 0; i < n_rows * e->cols; i += LEGACY_COLS, p += e->desc->block_bytes)
        decode_block(&reader, rows + i, p);
}

/* Codes of qc_snap_nearest as bytes [col][lane]. */
static void snap_bytes(const qc_coder *e, const float *x, const qc_grid *g, uint8_t *byte)
{
    if (!e->desc->levels) {
        qc_lanes_codes(x, 1, LEGACY_COLS, (float)e->desc->lowest, (float)e->desc->highest, g->step, g->offset, byte);
        return;
    }
    float value[LEGACY_COLS * QC_LANES];
    int32_t code[LEGACY_COLS * QC_LANES];
    snap_levels(x, LEGACY_COLS, e->desc->levels, g->step, value, code);
    for (size_t i = 0; i < LEGACY_COLS * QC_LANES; i++)
        byte[i] = (uint8_t)code[i];
}

static void encode(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, size_t n_cols)
{
    float step[QC_LANES], offset[QC_LANES];
    uint8_t code[LEGACY_COLS * QC_LANES], rows[QC_LANES * LEGACY_COLS];
    qc_grid g = {.size = sizeof g, .step = step, .offset = offset};
    fit(e, &g, x, importance, 0, 1);
    snap_bytes(e, x, &g, code);
    for (size_t c = 0; c < n_cols; c += 16)
        qc_transpose16_bytes(rows + c, LEGACY_COLS, code + c * QC_LANES, QC_LANES);
    pack_rows(e, (uint8_t *)dst, &g, rows, n_rows);
}

static void encode_rows(const qc_coder *e, void *dst, const float *rows, const float *importance, size_t n_rows)
{
#if defined(LEGACY_Q8_ROWS)
    if (type_of(e)->bits == 8 && !importance) {
        encode_q8_rows((uint8_t *)dst, rows, n_rows * e->cols / LEGACY_COLS); /* rows follow each other without gaps */
        return;
    }
#endif
    qc_encode_rows_in_tiles(e, dst, rows, importance, n_rows, encode);
}

/* The f16 step moved by 3 % a notch, the f16 offset by half a step. */
static void neighbour(const qc_coder *e, const qc_grid *g, uint32_t sub, int32_t a, int32_t b, float *step,
                      float *offset)
{
    (void)sub;
    const legacy_type *t = type_of(e);
    for (size_t l = 0; l < QC_LANES; l++) {
        float moved = g->step[l] * (1.0f + 0.03f * (float)a);
        float shifted = g->offset[l] + 0.5f * g->step[l] * (float)b;
        int storable = qc_abs(moved) <= 65504.0f && qc_abs(shifted) <= 65504.0f && (b == 0 || t->has_offset);
        step[l] = storable ? qc_round_f16(moved) : 0.0f;
        offset[l] = t->has_offset ? qc_round_f16(shifted) : -0.0f;
    }
}

/* Any finite f16 step is one, and so is any f16 offset where the type has them. */
static int adopt(const qc_coder *e, qc_grid *g)
{
    const int has_offset = type_of(e)->has_offset != 0;
    int fits = 1;
    for (size_t l = 0; l < QC_LANES; l++) {
        float storable = has_offset ? qc_round_f16(g->offset[l]) : 0.0f;
        fits &= qc_round_f16(g->step[l]) == g->step[l] && storable == g->offset[l];
    }
    for (size_t l = 0; fits && !has_offset && l < QC_LANES; l++)
        g->offset[l] = -0.0f; /* as unpack has it */
    return fits;
}

/* Levels are whole numbers of 8 bits, counted from the lowest. */
static void look_up_levels(uint8_t *code, const float *levels, size_t n)
{
    uint8_t table[LEGACY_LEVELS];
    for (size_t i = 0; i < LEGACY_LEVELS; i++)
        table[i] = (uint8_t)(int32_t)(levels[i] - levels[0]);
    qc_dot_look_up(code, table, n);
}

static void fill_dot(const qc_coder *e, qc_dot_span *s, const uint8_t *src, size_t col, size_t n_cols, size_t n_rows)
{
    const legacy_type *t = type_of(e);
    uint8_t rows[QC_LANES * QC_DOT_COLS] = {0};
    for (size_t c = 0; c < n_cols; c += LEGACY_COLS) {
        const uint8_t *p = src + qc_piece_at(e, col + c);
        load_halves(s->step[c / LEGACY_COLS], p, e->row_bytes, n_rows);
        if (t->has_offset)
            load_halves(s->offset[c / LEGACY_COLS], p + 2, e->row_bytes, n_rows);
        for (size_t lane = 0; lane < n_rows; lane++)
            get_codes(rows + lane * QC_DOT_COLS + c, p + lane * e->row_bytes + 2 + 2 * t->has_offset, t->bits);
    }
    if (e->desc->levels)
        look_up_levels(rows, e->desc->levels, sizeof rows);
    qc_dot_words_from_bytes(s->word, rows, QC_DOT_COLS, n_cols);
}

static void dot(const qc_coder *e, float *y, size_t ldy, const void *src, size_t n_rows, const qc_activations *a,
                size_t token, size_t n_tokens)
{
    const qc_encoding_desc *d = e->desc;
    qc_dot_kind kind = {LEGACY_COLS, d->lowest, d->highest - d->lowest, type_of(e)->has_offset != 0, fill_dot};
    if (d->levels) {
        kind.lowest = (int32_t)d->levels[0];
        kind.top = (int32_t)d->levels[LEGACY_LEVELS - 1] - kind.lowest;
    }
    qc_dot_tile(e, &kind, y, ldy, src, n_rows, a, token, n_tokens);
}

const qc_ops_encoding QC_VARIANT_NAME(legacy_ops) = {
    .size = sizeof(qc_ops_encoding),
    .decode = decode,
    .encode = encode,
    .fit = fit,
    .snap = snap,
    .pack = pack,
    .unpack = unpack,
    .neighbour = neighbour,
    .adopt = adopt,
    .encode_rows = encode_rows,
    .decode_rows = decode_rows,
    .dot = dot,
};
