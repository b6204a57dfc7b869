/* Kernels of the whole-number encodings, built once per CPU level. */
#include "layout.h"
#include "qcore/dot.h"
#include "qcore/variant.h"
#include "search.h"

static const ints_type *type_of(const qc_coder *e)
{
    return (const ints_type *)e->desc->params;
}

static ints_state *state_of(const qc_grid *g)
{
    return (ints_state *)g->state;
}

/* Bytes before the codes of a block. */
static size_t header_bytes(const ints_type *t)
{
    return 2 + t->has_zero;
}

/* -0 without a zero: it adds nothing, not even to -0. */
static float offset_of(float step, float zero)
{
    return -(step * zero);
}

static size_t piece_of(size_t n_cols, size_t col)
{
    return n_cols - col < INTS_PIECE ? n_cols - col : INTS_PIECE;
}

static void fit(const qc_coder *e, qc_grid *g, const float *x, const float *importance, uint32_t sub, uint32_t n_subs)
{
    (void)sub, (void)n_subs; /* one sub-block is the block */
    const ints_type *t = type_of(e);
    ints_cols cols;
    float zero[QC_LANES];
    ints_begin(&cols, x, importance, e->block_cols);
    ints_search(t, &cols, g->step, zero);
    for (size_t l = 0; l < QC_LANES; l++)
        g->offset[l] = t->has_zero ? offset_of(g->step[l], zero[l]) : -0.0f;
    if (t->has_zero)
        memcpy(state_of(g)->zero, zero, sizeof zero);
}

static void snap(const qc_coder *e, qc_grid *g, float *value, int32_t *code, const float *x, const float *importance,
                 uint32_t col)
{
    (void)importance, (void)col;
    qc_lanes_snap(x, 1, (float)e->desc->lowest, (float)e->desc->highest, g->step, g->offset, value, code);
}

static void pack_header(const qc_coder *e, uint8_t *p, const qc_grid *g, size_t lane)
{
    qc_store_le16(p, qc_f16_from_f32(g->step[lane]));
    if (type_of(e)->has_zero)
        p[2] = (uint8_t)(int32_t)state_of(g)->zero[lane];
}

/* Where the codes of columns from `col` on are in a block; col is a multiple of INTS_PIECE. */
static size_t codes_at(const ints_type *t, size_t col)
{
    return header_bytes(t) + col / 8 * t->bits;
}

/* Codes counted from 0, [lane][INTS_PIECE]. */
static void pack_bytes(const qc_coder *e, uint8_t *dst, const uint8_t *rows, size_t col, size_t n_cols, size_t n_rows)
{
    const ints_type *t = type_of(e);
    uint8_t *at = dst + codes_at(t, col);
    for (size_t lane = 0; lane < n_rows; lane++)
        put_codes(at + lane * e->row_bytes, rows + lane * INTS_PIECE, n_cols, t->bits);
}

static void unpack_bytes(const qc_coder *e, uint8_t *rows, const uint8_t *src, size_t col, size_t n_cols, size_t n_rows)
{
    const ints_type *t = type_of(e);
    const uint8_t *at = src + codes_at(t, col);
    for (size_t lane = 0; lane < n_rows; lane++)
        get_codes(rows + lane * INTS_PIECE, at + lane * e->row_bytes, n_cols, t->bits);
}

/* Up to INTS_PIECE columns of a tile; the last few of a channel one by one. */
static void pack_codes(const qc_coder *e, uint8_t *dst, const int32_t *code, size_t col, size_t n_cols, size_t n_rows)
{
    uint8_t rows[QC_LANES * INTS_PIECE];
    const size_t whole = n_cols / 16 * 16;
    qc_bytes_from_codes(rows, INTS_PIECE, code, e->desc->lowest, whole);
    for (size_t c = whole; c < n_cols; c++)
        for (size_t l = 0; l < QC_LANES; l++)
            rows[l * INTS_PIECE + c] = (uint8_t)(code[c * QC_LANES + l] - e->desc->lowest);
    pack_bytes(e, dst, rows, col, n_cols, n_rows);
}

static void unpack_codes(const qc_coder *e, int32_t *code, const uint8_t *src, size_t col, size_t n_cols, size_t n_rows)
{
    uint8_t rows[QC_LANES * INTS_PIECE];
    const size_t whole = n_cols / 16 * 16;
    if (n_rows < QC_LANES)
        memset(rows, -e->desc->lowest, sizeof rows); /* absent lanes: 0 */
    unpack_bytes(e, rows, src, col, n_cols, n_rows);
    qc_codes_from_bytes(code, rows, INTS_PIECE, e->desc->lowest, whole);
    for (size_t c = whole; c < n_cols; c++)
        for (size_t l = 0; l < QC_LANES; l++)
            code[c * QC_LANES + l] = rows[l * INTS_PIECE + c] + e->desc->lowest;
}

static void unpack_header(const qc_coder *e, float *step, float *zero, const uint8_t *src, size_t n_rows)
{
    const int has_zero = type_of(e)->has_zero != 0;
    for (size_t lane = 0; lane < QC_LANES; lane++) {
        const uint8_t *p = src + lane * e->row_bytes;
        step[lane] = lane < n_rows ? qc_f32_from_f16(qc_load_le16(p)) : 0.0f;
        zero[lane] = lane < n_rows && has_zero ? (float)p[2] : 0.0f;
    }
}

static void pack(const qc_coder *e, void *dst, const qc_grid *g, const int32_t *code, size_t n_rows)
{
    for (size_t lane = 0; lane < n_rows; lane++)
        pack_header(e, (uint8_t *)dst + lane * e->row_bytes, g, lane);
    for (size_t col = 0, n; col < e->block_cols; col += n) {
        n = piece_of(e->block_cols, col);
        pack_codes(e, (uint8_t *)dst, code + col * QC_LANES, col, n, n_rows);
    }
}

static void unpack(const qc_coder *e, qc_grid *g, int32_t *code, const void *src, size_t n_rows)
{
    float zero[QC_LANES];
    unpack_header(e, g->step, zero, (const uint8_t *)src, n_rows);
    for (size_t l = 0; l < QC_LANES; l++)
        g->offset[l] = type_of(e)->has_zero ? offset_of(g->step[l], zero[l]) : -0.0f;
    if (type_of(e)->has_zero)
        memcpy(state_of(g)->zero, zero, sizeof zero);
    for (size_t col = 0, n; col < e->block_cols; col += n) {
        n = piece_of(e->block_cols, col);
        unpack_codes(e, code + col * QC_LANES, (const uint8_t *)src, col, n, n_rows);
    }
}

typedef struct ints_buffer {
    ints_state state;
    float step[QC_LANES], offset[QC_LANES], value[INTS_PIECE * QC_LANES];
    int32_t code[INTS_PIECE * QC_LANES];
} ints_buffer;

static qc_grid grid_in(ints_buffer *b)
{
    return (qc_grid){.size = sizeof(qc_grid), .step = b->step, .offset = b->offset, .state = &b->state};
}

/* Step and offset of one block. */
static void read_scale(const ints_type *t, const uint8_t *p, float *step, float *offset)
{
    *step = qc_f32_from_f16(qc_load_le16(p));
    *offset = t->has_zero ? offset_of(*step, (float)p[2]) : -0.0f;
}

/* n columns of one row from `col` of a block on; x has room for whole eights. */
static void decode_piece(const qc_coder *e, float *x, const uint8_t *block, size_t col, size_t n)
{
    const ints_type *t = type_of(e);
    uint8_t code[INTS_PIECE];
    float step, offset;
    read_scale(t, block, &step, &offset);
    get_codes(code, block + codes_at(t, col), n, t->bits);
    qc_values_from_bytes(x, code, (n + 7) / 8 * 8, e->desc->lowest, step, offset);
}

static void decode(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols)
{
    float rows[QC_LANES * INTS_PIECE];
    for (size_t col = 0, n; col < n_cols; col += n) {
        n = piece_of(n_cols, col);
        for (size_t lane = 0; lane < n_rows; lane++)
            decode_piece(e, rows + lane * INTS_PIECE, (const uint8_t *)src + lane * e->row_bytes, col, n);
        qc_tile_from_rows(x + col * QC_LANES, rows, INTS_PIECE, n_rows, n);
    }
}

static void decode_block(const qc_coder *e, float *x, const uint8_t *block)
{
    float last[INTS_PIECE];
    const size_t whole = e->block_cols / 8 * 8;
    for (size_t col = 0, n; col < whole; col += n) {
        n = piece_of(whole, col);
        decode_piece(e, x + col, block, col, n);
    }
    if (whole < e->block_cols) { /* of a channel */
        const size_t col = whole / INTS_PIECE * INTS_PIECE;
        decode_piece(e, last, block, col, e->block_cols - col);
        memcpy(x + whole, last + whole - col, (e->block_cols - whole) * sizeof *x);
    }
}

static void decode_rows(const qc_coder *e, float *rows, const void *src, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++)
        for (size_t col = 0; col < e->cols; col += e->block_cols)
            decode_block(e, rows + row * e->cols + col,
                         (const uint8_t *)src + row * e->row_bytes + qc_piece_at(e, col));
}

static void encode(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, size_t n_cols)
{
    ints_buffer b;
    qc_grid g = grid_in(&b);
    fit(e, &g, x, importance, 0, 1);
    for (size_t lane = 0; lane < n_rows; lane++)
        pack_header(e, (uint8_t *)dst + lane * e->row_bytes, &g, lane);
    for (size_t col = 0, n; col < n_cols; col += n) {
        n = piece_of(n_cols, col);
        qc_lanes_snap(x + col * QC_LANES, n, (float)e->desc->lowest, (float)e->desc->highest, b.step, b.offset, b.value,
                      b.code);
        pack_codes(e, (uint8_t *)dst, b.code, col, n, n_rows);
    }
}

/* The step moved by 3 % a notch, to numbers that fit may choose; the zero by whole numbers. */
static void neighbour(const qc_coder *e, const qc_grid *g, uint32_t sub, int32_t a, int32_t b, float *step,
                      float *offset)
{
    (void)sub;
    const ints_type *t = type_of(e);
    const float factor = 1.0f + 0.03f * (float)a;
    for (size_t l = 0; l < QC_LANES; l++) {
        float moved = g->step[l] * factor;
        float zero = t->has_zero ? state_of(g)->zero[l] + (float)b : 0.0f;
        int storable = factor > 0.0f && qc_abs(moved) >= INTS_SMALLEST_STEP && qc_abs(moved) <= INTS_LARGEST_STEP;
        storable = a == 0 || storable;
        storable &= t->has_zero ? zero >= t->lowest && zero <= t->highest : b == 0;
        moved = a == 0 ? g->step[l] : ints_round_step(moved, 0);
        step[l] = storable ? moved : 0.0f;
        offset[l] = t->has_zero ? offset_of(step[l], storable ? zero : 0.0f) : -0.0f;
    }
}

/* The zero point that makes `offset` of `step`; negative: there is none. */
static float zero_for(const ints_type *t, float step, float offset, float present)
{
    float zero = step != 0.0f ? qc_rne(qc_clamp(-offset / step, -1.0f, t->highest + 1.0f)) : present;
    return zero >= t->lowest && zero <= t->highest && -(step * zero) == offset ? zero : -1.0f;
}

static int adopt(const qc_coder *e, qc_grid *g)
{
    const ints_type *t = type_of(e);
    float zero[QC_LANES];
    int fits = 1;
    for (size_t l = 0; l < QC_LANES; l++) {
        zero[l] = t->has_zero ? zero_for(t, g->step[l], g->offset[l], state_of(g)->zero[l]) : 0.0f;
        fits &= qc_round_f16(g->step[l]) == g->step[l] && (t->has_zero ? zero[l] >= 0.0f : g->offset[l] == 0.0f);
    }
    for (size_t l = 0; fits && l < QC_LANES; l++)
        g->offset[l] = t->has_zero ? offset_of(g->step[l], zero[l]) : -0.0f;
    if (fits && t->has_zero)
        memcpy(state_of(g)->zero, zero, sizeof zero);
    return fits;
}

/* Columns of one block, whose step stands for each of its pieces. */
static void fill_dot_block(const qc_coder *e, qc_dot_span *s, size_t at, const uint8_t *block, size_t col,
                           size_t n_cols, size_t n_rows)
{
    float step[QC_LANES], zero[QC_LANES];
    int32_t code[INTS_PIECE * QC_LANES];
    unpack_header(e, step, zero, block, n_rows);
    for (size_t c = 0; c < n_cols; c += QC_ACTIVATION_COLS)
        for (size_t l = 0; l < QC_LANES; l++) {
            s->step[(at + c) / QC_ACTIVATION_COLS][l] = step[l];
            s->offset[(at + c) / QC_ACTIVATION_COLS][l] = offset_of(step[l], zero[l]);
        }
    for (size_t c = 0, n; c < n_cols; c += n) {
        n = piece_of(n_cols, c);
        unpack_codes(e, code, block, col + c, n, n_rows);
        for (size_t i = 0; i < n * QC_LANES && n_rows < QC_LANES; i++)
            code[i] = i % QC_LANES < n_rows ? code[i] : e->desc->lowest;
        qc_dot_words_from_codes(s->word + (at + c) / 4, code, e->desc->lowest, n);
    }
}

static void fill_dot(const qc_coder *e, qc_dot_span *s, const uint8_t *src, size_t col, size_t n_cols, size_t n_rows)
{
    for (size_t at = 0, n; at < n_cols; at += n) {
        const size_t in_block = (col + at) % e->block_cols, left = e->block_cols - in_block;
        n = n_cols - at < left ? n_cols - at : left;
        fill_dot_block(e, s, at, src + qc_piece_at(e, col + at), in_block, n, n_rows);
    }
}

static void dot(const qc_coder *e, float *y, size_t ldy, const void *src, size_t n_rows, const qc_activations *a,
                size_t token, size_t n_tokens)
{
    const qc_encoding_desc *d = e->desc;
    const qc_dot_kind kind = {QC_ACTIVATION_COLS, d->lowest, d->highest - d->lowest, type_of(e)->has_zero != 0,
                              fill_dot};
    qc_dot_tile(e, &kind, y, ldy, src, n_rows, a, token, n_tokens);
}

const qc_ops_encoding QC_VARIANT_NAME(ints_ops) = {
    .size = sizeof(qc_ops_encoding),
    .decode = decode,
    .encode = encode,
    .fit = fit,
    .snap = snap,
    .pack = pack,
    .unpack = unpack,
    .neighbour = neighbour,
    .adopt = adopt,
    .decode_rows = decode_rows,
    .dot = dot,
};
