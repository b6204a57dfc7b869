/* Kernels of the K-quants, built once per CPU level. */
#include "qcore/variant.h"
#include "search.h"

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
    float w[KQ_COLS], tame[KQ_COLS * QC_LANES];
    kq_job k = {.type = t, .x = tame, .w = w};
    k.weighted = qc_lanes_weights(w, importance, KQ_COLS);
    qc_lanes_clamp(tame, x, KQ_COLS);
    for (uint32_t j = 0; j < kq_n_subs(t); j++)
        for (uint32_t c = 0; c < t->sub_cols; c++)
            k.total[j] += w[j * t->sub_cols + c];
    if (n_subs == kq_n_subs(t))
        kq_fit_block(&k, (kq_state *)g->state);
    else
        for (uint32_t j = sub; j < sub + n_subs; j++) {
            kq_aim_freely(&k, j);
            kq_round_sub(&k, j, (kq_state *)g->state);
        }
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

static void pack_row(const qc_coder *e, uint8_t *p, const kq_state *s, const int32_t *code, size_t lane)
{
    const kq_type *t = type_of(e);
    kq_row row = {.d = qc_f16_from_f32(s->d[lane]), .dm = qc_f16_from_f32(s->dm[lane])};
    for (uint32_t j = 0; j < kq_n_subs(t); j++) {
        row.scale[j] = (uint8_t)(int32_t)(s->scale[j][lane] - t->scale_lowest);
        row.min[j] = t->has_min ? (uint8_t)(int32_t)s->min[j][lane] : 0;
    }
    for (size_t c = 0; c < KQ_COLS; c++)
        row.code[c] = (uint8_t)(code[c * QC_LANES + lane] - e->desc->lowest);
    t->put(p, &row);
}

static void pack(const qc_coder *e, void *dst, const qc_grid *g, const int32_t *code, size_t n_rows)
{
    for (size_t lane = 0; lane < n_rows; lane++)
        pack_row(e, (uint8_t *)dst + lane * e->row_bytes, (const kq_state *)g->state, code, lane);
}

static void unpack(const qc_coder *e, qc_grid *g, int32_t *code, const void *src, size_t n_rows)
{
    const kq_type *t = type_of(e);
    kq_state *s = (kq_state *)g->state;
    for (size_t lane = 0; lane < QC_LANES; lane++) {
        kq_row row = {0};
        if (lane < n_rows)
            t->get(&row, (const uint8_t *)src + lane * e->row_bytes);
        s->d[lane] = qc_f32_from_f16(row.d);
        s->dm[lane] = qc_f32_from_f16(row.dm);
        for (uint32_t j = 0; j < kq_n_subs(t); j++) {
            s->scale[j][lane] = (float)row.scale[j] + t->scale_lowest;
            s->min[j][lane] = (float)row.min[j];
        }
        for (size_t c = 0; c < KQ_COLS; c++)
            code[c * QC_LANES + lane] = row.code[c] + e->desc->lowest;
    }
    for (uint32_t j = 0; j < kq_n_subs(t); j++)
        grid_of_sub(t, s, j, g->step + j * QC_LANES, g->offset + j * QC_LANES);
}

typedef struct kq_buffer {
    kq_state state;
    float step[KQ_MAX_SUBS * QC_LANES], offset[KQ_MAX_SUBS * QC_LANES];
    int32_t code[KQ_COLS * QC_LANES];
    float value[KQ_COLS * QC_LANES];
} kq_buffer;

static qc_grid grid_in(kq_buffer *b)
{
    return (qc_grid){.size = sizeof(qc_grid), .step = b->step, .offset = b->offset, .state = &b->state};
}

static void decode(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)
{
    kq_buffer b;
    qc_grid g = grid_in(&b);
    unpack(e, &g, b.code, src, n_rows);
    for (size_t c = 0; c < n_cols; c++) {
        const float *step = b.step + c / e->desc->sub_cols * QC_LANES;
        const float *offset = b.offset + c / e->desc->sub_cols * QC_LANES;
        for (size_t l = 0; l < QC_LANES; l++)
            x[c * QC_LANES + l] = step[l] * (float)b.code[c * QC_LANES + l] + offset[l];
    }
}

static void encode(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, size_t n_cols)
{
    kq_buffer b;
    qc_grid g = grid_in(&b);
    const uint32_t sub_cols = e->desc->sub_cols;
    fit(e, &g, x, importance, 0, kq_n_subs(type_of(e)));
    for (size_t j = 0; j < n_cols / sub_cols; j++) {
        size_t at = j * sub_cols * QC_LANES;
        qc_lanes_snap(x + at, sub_cols, (float)e->desc->lowest, (float)e->desc->highest, b.step + j * QC_LANES,
                      b.offset + j * QC_LANES, b.value + at, b.code + at);
    }
    pack(e, dst, &g, b.code, n_rows);
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

static void decode_rows(const qc_coder *e, float *rows, const void *src, size_t n_rows)
{
    qc_decode_rows_in_tiles(e, rows, src, n_rows, decode);
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
};
