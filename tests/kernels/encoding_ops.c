/* Entries of encodings that take or give bytes of whole pieces and rows. Those that work on grids are in
 * encoding_grid_ops.c. */
#include "encoding_cases.h"
#include <stdlib.h>

typedef void (*decode_fn)(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols);
typedef void (*encode_fn)(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows,
                          size_t n_cols);
typedef void (*encode_rows_fn)(const qc_coder *e, void *dst, const float *rows, const float *importance, size_t n_rows);
typedef void (*decode_rows_fn)(const qc_coder *e, float *rows, const void *src, size_t n_rows);
typedef void (*dot_fn)(const qc_coder *e, float *y, size_t ldy, const void *src, size_t n_rows, const qc_activations *a,
                       size_t token, size_t n_tokens);

static float *floats_out(const call *c, size_t i)
{
    return (float *)(void *)c->buffers[i].at;
}

static const float *floats_in(const call *c, size_t i)
{
    return (const float *)(const void *)c->buffers[i].at;
}

/* ---- decode ---- */

static void run_decode(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    ((decode_fn)fn)(&e, floats_out(c, 0), c->buffers[1].at, c->number[ROWS], c->number[PIECE_COLS]);
}

static int make_decode(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!encoding_case_new(k, i, random, c, &z))
        return 0;
    call_writes(c, "x", TYPE_FLOATS, z.piece_cols * QC_LANES)->lanes = z.n_rows;
    call_reads(c, "src", TYPE_BYTES, i == BENCH_CASE ? new_bytes(&z, z.n_rows, random) : new_any_bytes(&z, random),
               piece_bytes(&z));
    return 1;
}

static const signature decode_signature = {run_decode, make_decode};

/* ---- encode: what fit, snap and pack give ---- */

static void define_encode(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows,
                          size_t n_cols)
{
    qc_grid *g = qc_grid_new(scratch_job(), e);
    float *value = scratch_job()->scratch(scratch_job(), n_cols * QC_LANES * sizeof *value);
    int32_t *code = scratch_job()->scratch(scratch_job(), n_cols * QC_LANES * sizeof *code);
    if (g && value && code) {
        e->ops->fit(e, g, x, importance, 0, qc_n_subs(e));
        for (size_t c = 0; c < n_cols; c += e->desc->snap_cols)
            qc_snap(e, g, value + c * QC_LANES, code + c * QC_LANES, x + c * QC_LANES, importance, (uint32_t)c);
        e->ops->pack(e, dst, g, code, n_rows);
    }
    scratch_end();
}

static void run_encode(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    ((encode_fn)fn)(&e, c->buffers[0].at, floats_in(c, 1), floats_in(c, 2), c->number[ROWS], c->number[PIECE_COLS]);
}

static int make_encode(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!encoding_case_new(k, i, random, c, &z))
        return 0;
    call_writes(c, "dst", TYPE_BYTES, piece_bytes(&z));
    call_reads(c, "x", TYPE_FLOATS, new_tile(&z, random), z.piece_cols * QC_LANES);
    call_reads(c, "importance", TYPE_FLOATS, new_importance(&z, z.piece_cols, random), z.piece_cols);
    return 1;
}

static const signature encode_signature = {run_encode, make_encode};

/* ---- rows: what pieces give, one after another ---- */

static void define_encode_rows(const qc_coder *e, void *dst, const float *rows, const float *importance, size_t n_rows)
{
    qc_ops_encoding ops = *e->ops;
    qc_coder pieces = *e;
    ops.encode_rows = NULL;
    pieces.ops = &ops;
    qc_encode_rows(scratch_job(), &pieces, dst, rows, importance, n_rows);
    scratch_end();
}

static void define_decode_rows(const qc_coder *e, float *rows, const void *src, size_t n_rows)
{
    qc_ops_encoding ops = *e->ops;
    qc_coder pieces = *e;
    ops.decode_rows = NULL;
    pieces.ops = &ops;
    qc_decode_rows(scratch_job(), &pieces, rows, src, n_rows);
    scratch_end();
}

static void run_encode_rows(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    ((encode_rows_fn)fn)(&e, c->buffers[0].at, floats_in(c, 1), floats_in(c, 2), c->number[ROWS]);
}

static void run_decode_rows(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    ((decode_rows_fn)fn)(&e, floats_out(c, 0), c->buffers[1].at, c->number[ROWS]);
}

/* Plain rows are longer than one piece now and then; tiles are whole, partial, or several. */
static int rows_case(const kernel *k, size_t i, uint32_t *random, call *c, encoding_case *z)
{
    if (!encoding_case_new(k, i, random, c, z))
        return 0;
    if (i != BENCH_CASE && random_next(random) % 4 == 0)
        z->n_rows = QC_LANES + random_below(random, 20);
    if (i == BENCH_CASE)
        z->n_rows = 2 * QC_LANES;
    if (z->reference->desc->block_cols == 1 && i != BENCH_CASE && random_next(random) % 4 == 0)
        z->cols += QC_PLAIN_COLS;
    z->coder = coder_for(z->reference, z->cols);
    c->number[COLS] = z->cols;
    c->number[ROWS] = z->n_rows;
    c->elements = z->cols * z->n_rows;
    snprintf(c->input, sizeof c->input, "%zu rows of %zu, %s, %s", z->n_rows, z->cols, input_name(z->kind),
             importance_name(z->importance));
    return 1;
}

static int make_encode_rows(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!rows_case(k, i, random, c, &z))
        return 0;
    call_writes(c, "dst", TYPE_BYTES, z.n_rows * z.coder.row_bytes);
    call_reads(c, "rows", TYPE_FLOATS, new_rows(&z, z.n_rows, random), z.n_rows * z.cols);
    call_reads(c, "importance", TYPE_FLOATS, new_importance(&z, z.cols, random), z.cols);
    return 1;
}

static int make_decode_rows(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!rows_case(k, i, random, c, &z))
        return 0;
    call_writes(c, "rows", TYPE_FLOATS, z.n_rows * z.cols);
    call_reads(c, "src", TYPE_BYTES, new_bytes(&z, z.n_rows, random), z.n_rows * z.coder.row_bytes);
    return 1;
}

static const signature encode_rows_signature = {run_encode_rows, make_encode_rows};
static const signature decode_rows_signature = {run_decode_rows, make_decode_rows};

/* ---- dot ---- */

/* From the grid and codes that unpack gives, piece by piece, as encoding.h has it. */
static void define_block_dot(const qc_coder *e, const qc_grid *g, const int32_t *code, size_t lane, size_t col,
                             const qc_activations *a, size_t token, float *y)
{
    const qc_encoding_desc *d = e->desc;
    const size_t sub_cols = qc_sub_cols(e), piece = sub_cols < QC_ACTIVATION_COLS ? sub_cols : QC_ACTIVATION_COLS;
    for (size_t at = 0; at < e->block_cols; at += piece) {
        const size_t activation = (col + at) / QC_ACTIVATION_COLS * a->tokens + token;
        const int8_t *x = a->code + activation * QC_ACTIVATION_COLS + (col + at) % QC_ACTIVATION_COLS;
        const float scale = a->scale[activation];
        const size_t sub = at / sub_cols * QC_LANES + lane;
        double products = 0.0, sum = 0.0; /* exact */
        for (size_t c = 0; c < piece; c++) {
            const int32_t own = code[(at + c) * QC_LANES + lane];
            products += (double)x[c] * (d->levels ? (double)d->levels[own - d->lowest] : (double)own);
            sum += x[c];
        }
        *y += g->step[sub] * (scale * (float)products);
        *y += g->offset[sub] * (scale * (float)sum);
    }
}

static void define_dot(const qc_coder *e, float *y, size_t ldy, const void *src, size_t n_rows, const qc_activations *a,
                       size_t token, size_t n_tokens)
{
    qc_grid *g = qc_grid_new(scratch_job(), e);
    int32_t *code = scratch_job()->scratch(scratch_job(), e->block_cols * QC_LANES * sizeof *code);
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * ldy + r] = 0.0f;
    for (size_t col = 0; g && code && col < e->cols; col += e->block_cols) {
        e->ops->unpack(e, g, code, (const unsigned char *)src + qc_piece_at(e, col), n_rows);
        for (size_t t = 0; t < n_tokens; t++)
            for (size_t r = 0; r < n_rows; r++)
                define_block_dot(e, g, code, r, col, a, token + t, &y[t * ldy + r]);
    }
    scratch_end();
}

static void run_dot(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    const qc_activations a = {.size = sizeof a,
                              .cols = e.cols,
                              .tokens = c->number[PLACE] + c->number[TOKENS],
                              .code = (const int8_t *)c->buffers[2].at,
                              .scale = floats_in(c, 3),
                              .sum = (const int16_t *)(const void *)c->buffers[4].at};
    ((dot_fn)fn)(&e, floats_out(c, 0), c->number[LDY], c->buffers[1].at, c->number[ROWS], &a, c->number[PLACE],
                 c->number[TOKENS]);
}

/* All codes, the extreme ones often: +-127 throughout is what overflows. */
static void new_activations(call *c, size_t cols, size_t tokens, size_t i, uint32_t *random)
{
    const size_t n = cols * tokens, n_scales = n / QC_ACTIVATION_COLS;
    int8_t *code = case_room(n);
    float *scale = case_room(n_scales * sizeof *scale);
    int16_t *sum = case_room(n / 16 * sizeof *sum);
    const int extreme = i % 3 == 1;
    memset(sum, 0, n / 16 * sizeof *sum);
    for (size_t j = 0; j < n; j++) {
        const int any = (int)random_below(random, 255) - 127;
        const size_t group = j / QC_ACTIVATION_COLS, half = j % QC_ACTIVATION_COLS / 16;
        const size_t at = (group / tokens * 2 + half) * tokens + group % tokens;
        code[j] = (int8_t)(extreme ? (any < 0 && i % 2 ? -127 : 127) : any);
        sum[at] = (int16_t)(sum[at] + code[j]);
    }
    for (size_t j = 0; j < n_scales; j++)
        scale[j] = random_next(random) % 8 ? random_float(random, 0.0f, 0.1f) : 0.0f;
    call_reads(c, "activations", TYPE_BYTES, code, n);
    call_reads(c, "their scales", TYPE_FLOATS, scale, n_scales);
    call_reads(c, "their sums", TYPE_SHORTS, sum, n / 16);
}

static int make_dot(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!encoding_case_new(k, i, random, c, &z))
        return 0;
    const size_t block = z.reference->desc->block_cols, unit = block < QC_ACTIVATION_COLS ? QC_ACTIVATION_COLS : block;
    const size_t token = i == BENCH_CASE ? 0 : random_below(random, 3);
    const size_t n_tokens = i == BENCH_CASE
                                ? 64
                                : 1 + (i % 5 == 4 ? 128 + random_below(random, 5) : random_below(random, 9));
    z.cols = i == BENCH_CASE ? 2048 : unit * (1 + random_below(random, unit < 128 ? 20 : 3));
    z.coder = coder_for(z.reference, z.cols);
    c->number[COLS] = z.cols;
    c->number[PLACE] = token;
    c->number[TOKENS] = n_tokens;
    c->number[LDY] = z.n_rows + (i == BENCH_CASE ? 0 : random_below(random, 5));
    c->elements = z.n_rows * z.cols * n_tokens;
    call_writes(c, "y", TYPE_FLOATS, (n_tokens - 1) * c->number[LDY] + z.n_rows);
    call_reads(c, "src", TYPE_BYTES, new_bytes(&z, z.n_rows, random), z.n_rows * z.coder.row_bytes);
    new_activations(c, z.cols, token + n_tokens, i, random);
    snprintf(c->input, sizeof c->input, "%zu rows of %zu, %s, %zu tokens from %zu, ldy %zu", z.n_rows, z.cols,
             input_name(z.kind), n_tokens, token, c->number[LDY]);
    return 1;
}

static const signature dot_signature = {run_dot, make_dot};

const member encoding_members[] = {
    MEMBER(qc_ops_encoding, decode, decode_signature, NULL),
    {"encode", SLOT(qc_ops_encoding, encode), &encode_signature, (any_fn)define_encode, SLOT(qc_ops_encoding, fit)},
    MEMBER(qc_ops_encoding, fit, fit_signature, NULL),
    MEMBER(qc_ops_encoding, snap, snap_signature, NULL),
    MEMBER(qc_ops_encoding, pack, pack_signature, NULL),
    MEMBER(qc_ops_encoding, unpack, unpack_signature, NULL),
    MEMBER(qc_ops_encoding, neighbour, neighbour_signature, NULL),
    MEMBER(qc_ops_encoding, adopt, adopt_signature, NULL),
    MEMBER(qc_ops_encoding, encode_rows, encode_rows_signature, (any_fn)define_encode_rows),
    MEMBER(qc_ops_encoding, decode_rows, decode_rows_signature, (any_fn)define_decode_rows),
    {"dot", SLOT(qc_ops_encoding, dot), &dot_signature, (any_fn)define_dot, SLOT(qc_ops_encoding, unpack)},
    {0},
};
