/* Kernels of the K-quants, built once per CPU level. */
#include "layout.h"
#include "qcore/dot.h"
#include "qcore/variant.h"
#include "search_affine.h"
#include "search_signed.h"
#include <stddef.h>

static const kq_type *type_of(const qc_coder *e)
{
    return (const kq_type *)e->desc->params;
}

/* Step and offset of a sub-block as decode computes them. */
static void grid_of_sub(const kq_type *t, const kq_state *s, uint32_t j, float *step, float *offset)
{
    for (size_t l = 0; l < QC_LANES; l++) {
        step[l] = s->d[l] * s->scale[j][l];
        offset[l] = t->has_min ? -(s->dm[l] * s->min[j][l]) : -0.0f; /* -0 adds nothing, not even to -0 */
    }
}

static void fit(const qc_coder *e, qc_grid *g, const float *x, const float *importance, uint32_t sub, uint32_t n_subs)
{
    const kq_type *t = type_of(e);
    if (t->has_min)
        kqa_fit(t, (kq_state *)g->state, x, importance, sub, n_subs);
    else
        kq_fit_signed(t, (kq_state *)g->state, x, importance, sub, n_subs);
    for (uint32_t j = sub; j < sub + n_subs; j++)
        grid_of_sub(t, (const kq_state *)g->state, j, g->step + j * QC_LANES, g->offset + j * QC_LANES);
}

static void snap(const qc_coder *e, qc_grid *g, float *value, int32_t *code, const float *x, const float *importance,
                 uint32_t col)
{
    (void)importance;
    size_t at = (size_t)(col / e->desc->sub_cols) * QC_LANES;
    qc_lanes_snap(x, 1, (float)e->desc->lowest, (float)e->desc->highest, g->step + at, g->offset + at, value, code);
}

/* Stored numbers of a tile, lane by lane; absent lanes are 0. */
static void get_rows(const qc_coder *e, kq_row *rows, const uint8_t *src, size_t n_rows)
{
    const kq_layout *layout = &kq_layouts[type_of(e)->layout];
    memset(rows, 0, QC_LANES * sizeof *rows);
    for (size_t lane = 0; lane < n_rows; lane++)
        layout->get(&rows[lane], src + lane * e->row_bytes);
}

static uint8_t *codes_of(kq_row *rows)
{
    return (uint8_t *)rows + offsetof(kq_row, code);
}

/* Integers of sub-blocks, [sub-block][lane] counted from `lowest`, to bytes of rows and back. */
static void put_integers(uint8_t *first, const float (*number)[QC_LANES], float lowest, uint32_t n_subs)
{
    uint8_t bytes[KQ_MAX_SUBS * QC_LANES] = {0};
    for (size_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++)
            bytes[j * QC_LANES + l] = (uint8_t)(int32_t)(number[j][l] - lowest);
    qc_transpose16_bytes(first, sizeof(kq_row), bytes, QC_LANES);
}

static void get_integers(float (*number)[QC_LANES], const uint8_t *first, float lowest, uint32_t n_subs)
{
    uint8_t bytes[KQ_MAX_SUBS * QC_LANES];
    qc_transpose16_bytes(bytes, QC_LANES, first, sizeof(kq_row));
    for (size_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++)
            number[j][l] = (float)bytes[j * QC_LANES + l] + lowest;
}

/* Writes rows whose codes are in place, with the scales of the state. */
static void put_rows(const qc_coder *e, uint8_t *dst, kq_row *rows, const kq_state *s, size_t n_rows)
{
    const kq_type *t = type_of(e);
    uint16_t d[QC_LANES], dm[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++) {
        d[l] = qc_f16_from_f32(s->d[l]);
        dm[l] = qc_f16_from_f32(s->dm[l]);
    }
    put_integers((uint8_t *)rows + offsetof(kq_row, scale), s->scale, t->scale_lowest, kq_n_subs(t));
    if (t->has_min)
        put_integers((uint8_t *)rows + offsetof(kq_row, min), s->min, 0.0f, kq_n_subs(t));
    for (size_t lane = 0; lane < n_rows; lane++) {
        rows[lane].d = d[lane];
        rows[lane].dm = dm[lane];
        kq_layouts[t->layout].put(dst + lane * e->row_bytes, &rows[lane]);
    }
}

static void pack(const qc_coder *e, void *dst, const qc_grid *g, const int32_t *code, size_t n_rows)
{
    kq_row rows[QC_LANES];
    qc_bytes_from_codes(codes_of(rows), sizeof *rows, code, e->desc->lowest, KQ_COLS);
    put_rows(e, (uint8_t *)dst, rows, (const kq_state *)g->state, n_rows);
}

/* Scales of a tile and what grid they make. */
static void grid_of_rows(const kq_type *t, kq_state *s, const kq_row *rows, float *step, float *offset)
{
    memset(s, 0, sizeof *s);
    for (size_t l = 0; l < QC_LANES; l++) {
        s->d[l] = qc_f32_from_f16(rows[l].d);
        s->dm[l] = qc_f32_from_f16(rows[l].dm);
    }
    get_integers(s->scale, (const uint8_t *)rows + offsetof(kq_row, scale), t->scale_lowest, kq_n_subs(t));
    get_integers(s->min, (const uint8_t *)rows + offsetof(kq_row, min), 0.0f, kq_n_subs(t));
    for (uint32_t j = 0; j < kq_n_subs(t); j++)
        grid_of_sub(t, s, j, step + j * QC_LANES, offset + j * QC_LANES);
}

static void unpack(const qc_coder *e, qc_grid *g, int32_t *code, const void *src, size_t n_rows)
{
    kq_row rows[QC_LANES];
    get_rows(e, rows, (const uint8_t *)src, n_rows);
    grid_of_rows(type_of(e), (kq_state *)g->state, rows, g->step, g->offset);
    qc_codes_from_bytes(code, codes_of(rows), sizeof *rows, e->desc->lowest, KQ_COLS);
}

/* 256 codes as numbers. A loop of its own: one of 16 columns would be unrolled before it is vectorized. */
static void levels_of(float *level, const uint8_t *code, float lowest)
{
    for (size_t i = 0; i < 256; i++)
        level[i] = (float)code[i] + lowest;
}

static void decode(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)
{
    const kq_type *t = type_of(e);
    const float lowest = (float)e->desc->lowest;
    kq_row rows[QC_LANES];
    kq_state state;
    float step[KQ_MAX_SUBS * QC_LANES], offset[KQ_MAX_SUBS * QC_LANES];
    uint8_t code[KQ_COLS * QC_LANES];
    float level[16 * QC_LANES];
    get_rows(e, rows, (const uint8_t *)src, n_rows);
    grid_of_rows(t, &state, rows, step, offset);
    for (size_t c = 0; c < KQ_COLS; c += 16)
        qc_transpose16_bytes(code + c * QC_LANES, QC_LANES, codes_of(rows) + c, sizeof *rows);
    for (size_t c = 0; c < n_cols; c++) {
        const size_t sub = c / t->sub_cols * QC_LANES;
        if (c % 16 == 0)
            levels_of(level, code + c * QC_LANES, lowest);
        for (size_t l = 0; l < QC_LANES; l++)
            x[c * QC_LANES + l] = step[sub + l] * level[c % 16 * QC_LANES + l] + offset[sub + l];
    }
}

static void encode(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, size_t n_cols)
{
    const kq_type *t = type_of(e);
    const float lowest = (float)e->desc->lowest, highest = (float)e->desc->highest;
    kq_state state = {0};
    kq_row rows[QC_LANES];
    float step[KQ_MAX_SUBS * QC_LANES] = {0}, offset[KQ_MAX_SUBS * QC_LANES] = {0};
    uint8_t code[KQ_COLS * QC_LANES];
    qc_grid g = {.size = sizeof g, .step = step, .offset = offset, .state = &state};
    fit(e, &g, x, importance, 0, kq_n_subs(t));
    qc_lanes_codes(x, kq_n_subs(t), t->sub_cols, lowest, highest, step, offset, code);
    for (size_t c = 0; c < n_cols; c += 16)
        qc_transpose16_bytes(codes_of(rows) + c, sizeof *rows, code + c * QC_LANES, QC_LANES);
    put_rows(e, (uint8_t *)dst, rows, &state, n_rows);
}

/* The integer scale moved by a, the integer min by b. */
static void neighbour(const qc_coder *e, const qc_grid *g, uint32_t sub, int32_t a, int32_t b, float *step,
                      float *offset)
{
    const kq_type *t = type_of(e);
    const kq_state *s = (const kq_state *)g->state;
    for (size_t l = 0; l < QC_LANES; l++) {
        float scale = s->scale[sub][l] + (float)a, min = s->min[sub][l] + (float)b;
        int storable = scale >= t->scale_lowest && scale <= t->scale_highest;
        storable &= t->has_min ? min >= 0.0f && min <= t->scale_highest : b == 0;
        step[l] = storable ? s->d[l] * scale : 0.0f;
        offset[l] = t->has_min ? -(s->dm[l] * min) : -0.0f;
    }
}

/* Finds the whole number of lowest .. highest that makes unit * number == product; where unit is 0 any does, and the
 * present one stays. */
static int find_number(float unit, float product, float lowest, float highest, float *number)
{
    float n = unit != 0.0f ? qc_rne(qc_clamp(product / unit, lowest - 1.0f, highest + 1.0f)) : *number;
    *number = n;
    return n >= lowest && n <= highest && unit * n == product;
}

/* d and dm stay: steps and offsets must be whole multiples of them. */
static int adopt(const qc_coder *e, qc_grid *g)
{
    const kq_type *t = type_of(e);
    kq_state s = *(const kq_state *)g->state;
    int fits = 1;
    for (uint32_t j = 0; j < kq_n_subs(t); j++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float step = g->step[j * QC_LANES + l], offset = g->offset[j * QC_LANES + l];
            fits &= find_number(s.d[l], step, t->scale_lowest, t->scale_highest, &s.scale[j][l]);
            fits &= t->has_min ? find_number(s.dm[l], -offset, 0.0f, t->scale_highest, &s.min[j][l]) : offset == 0.0f;
        }
    if (!fits)
        return 0;
    *(kq_state *)g->state = s;
    for (uint32_t j = 0; j < kq_n_subs(t); j++)
        grid_of_sub(t, &s, j, g->step + j * QC_LANES, g->offset + j * QC_LANES);
    return 1;
}

static void encode_rows(const qc_coder *e, void *dst, const float *rows, const float *importance, size_t n_rows)
{
    qc_encode_rows_in_tiles(e, dst, rows, importance, n_rows, encode);
}

/* Without tiles: the numbers of one row's block lie in a row already. Sub-blocks of 32 are two of 16. */
static void decode_block(const kq_type *t, float lowest, float *y, const uint8_t *src)
{
    kq_row row = {.dm = 0};
    float step[KQ_MAX_SUBS], offset[KQ_MAX_SUBS], level[KQ_COLS];
    const unsigned twice = t->sub_cols == 32;
    kq_layouts[t->layout].get(&row, src);
    const float d = qc_f32_from_f16(row.d), dm = qc_f32_from_f16(row.dm);
    for (size_t j = 0; j < KQ_MAX_SUBS; j++) {
        step[j] = d * ((float)row.scale[j] + t->scale_lowest);
        offset[j] = t->has_min ? -(dm * (float)row.min[j]) : -0.0f;
    }
    levels_of(level, row.code, lowest);
    for (size_t j = 0; j < KQ_COLS / 16; j++)
        for (size_t c = 0; c < 16; c++)
            y[16 * j + c] = step[j >> twice] * level[16 * j + c] + offset[j >> twice];
}

static void decode_rows(const qc_coder *e, float *rows, const void *src, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++) {
        const uint8_t *block = (const uint8_t *)src + row * e->row_bytes;
        for (size_t col = 0; col < e->cols; col += KQ_COLS, block += e->desc->block_bytes)
            decode_block(type_of(e), (float)e->desc->lowest, rows + row * e->cols + col, block);
    }
}

/* One block is a span. */
static void fill_dot(const qc_coder *e, qc_dot_span *s, const uint8_t *src, size_t col, size_t n_cols, size_t n_rows)
{
    kq_row rows[QC_LANES];
    kq_state state;
    get_rows(e, rows, src + qc_piece_at(e, col), n_rows);
    grid_of_rows(type_of(e), &state, rows, s->step[0], s->offset[0]);
    qc_dot_words_from_bytes(s->word, codes_of(rows), sizeof *rows, n_cols);
}

static void dot(const qc_coder *e, float *y, size_t ldy, const void *src, size_t n_rows, const qc_activations *a,
                size_t token, size_t n_tokens)
{
    const qc_encoding_desc *d = e->desc;
    const qc_dot_kind kind = {d->sub_cols, d->lowest, d->highest - d->lowest, type_of(e)->has_min != 0, fill_dot};
    qc_dot_tile(e, &kind, y, ldy, src, n_rows, a, token, n_tokens);
}

const qc_ops_encoding QC_VARIANT_NAME(kquants_ops) = {
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
