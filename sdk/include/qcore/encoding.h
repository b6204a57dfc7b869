/* Encodings: how a row of weights becomes bytes and comes back. Kind "qcore.encoding/1".
 *
 * An encoding works on tiles of QC_LANES rows, one block of columns at a time, lanes across rows:
 *     x[col * QC_LANES + lane]      the weight at block column `col` of the tile's row `lane`
 * Lanes never mix, so a result does not depend on how rows were cut into tiles, and one plain C source built for
 * several CPU levels gives the same bytes on each. Absent lanes of the last tile are zero; nothing of them is written.
 *
 * value = step * level(code) + offset, in float32 with two roundings and no FMA. decode(pack(grid, codes)) equals the
 * grid's values bit for bit.
 */
#ifndef QCORE_ENCODING_H
#define QCORE_ENCODING_H

#include "qcore/host.h"
#include "qcore/tile.h"
#include <string.h>

#define QC_KIND_ENCODING "qcore.encoding/1"

typedef struct qc_encoding_desc qc_encoding_desc;
typedef struct qc_ops_encoding qc_ops_encoding;

/* Flags of a descriptor. */
enum {
    /* value = step * (code - zero): a sub-block has a float16 step of its own and a whole zero, 0 where codes are signed
     * (lowest < 0), lowest .. highest where they are not. Such codes move between encodings and checkpoint layouts
     * without being rounded again. */
    QC_ENCODING_INTEGER = 1 << 16
};

/* One encoding in use on one tensor. Made by the host; const; borrowed. */
typedef struct qc_coder {
    uint32_t size, block_cols; /* block_cols: the descriptor's, or cols where that is 0 */
    size_t cols, row_bytes;
    const qc_encoding_desc *desc; /* desc->params lets one function serve a family */
    const qc_ops_encoding *ops; /* complete: reference, overlaid by the best variant of this CPU */
    const uint32_t *order; /* column i of a row is input column order[i]; NULL: i */
    const void *shared; /* the tensor's own bytes (a scale, a codebook), or NULL */
} qc_coder;

/* The levels one block of a tile may take, scales fixed in stored precision. Arrays are [sub-block][lane]. */
typedef struct qc_grid {
    uint32_t size;
    float *step, *offset; /* qc_n_subs * QC_LANES each */
    void *state; /* desc->state_bytes of the encoding's own: stored scales, for pack */
} qc_grid;

/* Inputs of linears, rounded to 8 bits: x = scale * code, one scale for QC_ACTIVATION_COLS columns. What one piece of a
 * row meets follows each other, token after token. Since ABI 0.4. */
#define QC_ACTIVATION_COLS 32
typedef struct qc_activations {
    uint32_t size;
    size_t cols, tokens; /* cols: a multiple of QC_ACTIVATION_COLS */
    const int8_t *code; /* [cols / 32][tokens][32], -127 .. 127 */
    const float *scale; /* [cols / 32][tokens], >= 0 */
    const int16_t *sum; /* [cols / 16][tokens]: of 16 codes */
} qc_activations;

/* All calls: [any-thread]; pointers borrowed; they cannot fail. x, value: [col][lane] float32, finite;
 * code: [col][lane]; importance: one per column of the block, >= 0 and finite, or NULL (all 1).
 * dst, src: the block in the tile's first row; rows are coder->row_bytes apart. n_rows: 1 .. QC_LANES.
 * n_cols: block_cols, except that plain encodings (block_cols 1) take any number of columns at once. */
struct qc_ops_encoding {
    uint32_t size;
    void (*decode)(const qc_coder *e, float *x, const void *src, size_t n_rows, size_t n_cols);
    /* Best plain rounding of a block, scale search included. NULL: fit, snap, pack (qc_encode_rows does that). */
    void (*encode)(const qc_coder *e, void *dst, const float *x, const float *importance, size_t n_rows, size_t n_cols);
    /* Chooses the scales of sub-blocks [sub, sub + n_subs); x and importance are the whole block's. sub > 0 or
     * n_subs < all: the block's own scales are kept. */
    void (*fit)(const qc_coder *e, qc_grid *g, const float *x, const float *importance, uint32_t sub, uint32_t n_subs);
    /* The grid's nearest value and code for snap_cols columns from block column `col`. NULL: qc_snap_nearest. */
    void (*snap)(const qc_coder *e, qc_grid *g, float *value, int32_t *code, const float *x, const float *importance,
                 uint32_t col);
    void (*pack)(const qc_coder *e, void *dst, const qc_grid *g, const int32_t *code, size_t n_rows);
    void (*unpack)(const qc_coder *e, qc_grid *g, int32_t *code, const void *src, size_t n_rows);
    /* Step and offset of sub-block `sub` with its stored scale moved by a and its stored offset by b; step is 0 in a
     * lane where that cannot be stored. For local scale search. May be NULL. */
    void (*neighbour)(const qc_coder *e, const qc_grid *g, uint32_t sub, int32_t a, int32_t b, float *step,
                      float *offset);
    /* Since ABI 0.3. Takes the step and offset that stand in the grid as the block's own, so that pack stores them: how
     * codes that were chosen elsewhere come in, and how a neighbour is kept. 1: every lane's can be stored exactly;
     * 0: not, and the grid is as before. Encodings with two levels of scales keep the block's own. May be NULL. */
    int (*adopt)(const qc_coder *e, qc_grid *g);
    /* Since ABI 0.4; each may be NULL. Whole rows at once, for the same bytes as piece by piece: for encodings that can
     * do without tiles, and so that moving rows into tiles is built for the CPU level too. rows: [n_rows][cols]; any
     * n_rows; importance: one per column of the row. */
    void (*encode_rows)(const qc_coder *e, void *dst, const float *rows, const float *importance, size_t n_rows);
    void (*decode_rows)(const qc_coder *e, float *rows, const void *src, size_t n_rows);
    /* y[t * ldy + r] = row r times activations of token t, for n_tokens tokens from `token` on; n_rows: 1 .. QC_LANES.
     * For each piece of a row that shares a step and a scale of activations, columns rising, float32 without FMA:
     *     y += step * (scale * sum of code * activation) + offset * (scale * sum of activation)
     * the two products added one after the other (the first alone in encodings without offsets), from y = 0; the sums
     * in integers, so that they are exact. See qcore/dot.h. */
    void (*dot)(const qc_coder *e, float *y, size_t ldy, const void *src, size_t n_rows, const qc_activations *a,
                size_t token, size_t n_tokens);
};

/* The same source built for a CPU level ("x86-v3", "x86-v4"). A list of these ends with {NULL, NULL}. */
typedef struct qc_variant {
    const char *cpu;
    const qc_ops_encoding *ops;
} qc_variant;

struct qc_encoding_desc {
    qc_desc base;
    uint32_t block_cols; /* weights of a block; 1: plain numbers, no grid; 0: the whole row is one (code_bits is set) */
    uint32_t block_bytes; /* bytes of a block; where block_cols is 0: without its codes */
    uint32_t sub_cols; /* weights that share a step and an offset; divides block_cols; 0: all of the block */
    uint32_t snap_cols; /* columns that `snap` takes at once, usually 1 */
    uint32_t state_bytes; /* of qc_grid.state */
    int32_t lowest, highest; /* codes; both 0: plain numbers */
    const float *levels; /* level(code) = levels[code - lowest], rising; NULL: level(code) = code */
    const void *params; /* the encoding's own; static */
    const qc_ops_encoding *reference; /* portable C: the definition */
    const qc_variant *variants; /* or NULL */
    /* Are these bytes ones that decode can take and that decode to finite numbers? Never reads past
     * n_rows * row_bytes. NULL: any bytes are fine. Fails with QC_E_CORRUPT or QC_E_NUMERIC. [job-thread] */
    qc_status (*validate)(qc_job *job, const qc_coder *e, const void *src, size_t n_rows);
    uint32_t
        code_bits; /* since ABI 0.3: where block_cols is 0, a row has block_bytes + (cols * code_bits + 7) / 8 bytes */
};

/* Weights that share a step and an offset, and how often a block has such. */
static inline uint32_t qc_sub_cols(const qc_coder *e)
{
    return e->desc->sub_cols ? e->desc->sub_cols : e->block_cols;
}

static inline uint32_t qc_n_subs(const qc_coder *e)
{
    uint32_t sub_cols = qc_sub_cols(e);
    return sub_cols ? e->block_cols / sub_cols : 1;
}

/* Columns that one call takes from column `col` on: a block, or up to QC_PLAIN_COLS plain numbers. */
#define QC_PLAIN_COLS 256
static inline size_t qc_piece_cols(const qc_coder *e, size_t col)
{
    size_t cols = e->block_cols == 1 ? QC_PLAIN_COLS : e->block_cols;
    return e->cols - col < cols ? e->cols - col : cols;
}

/* Byte offset in a row of the block that begins at column `col`. */
static inline size_t qc_piece_at(const qc_coder *e, size_t col)
{
    return col / e->block_cols * e->desc->block_bytes;
}

/* Round to nearest, ties to even, for |v| < 2^22: exact in the default rounding mode on every CPU. */
static inline int32_t qc_round_even(float v)
{
    float shifted = v + 12582912.0f; /* 1.5 * 2^23: the mantissa's last bit is then worth 1 */
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (bits & 0x007fffff) - 0x00400000;
}

/* The default snap: clamp(rne((x - offset) / step)), code 0 (clamped) where step is 0; with levels, the nearest value,
 * the lower on a tie. One column. */
static inline void qc_snap_nearest(const qc_coder *e, const qc_grid *g, float *value, int32_t *code, const float *x,
                                   uint32_t col)
{
    const qc_encoding_desc *d = e->desc;
    const float *step = g->step + (size_t)(col / qc_sub_cols(e)) * QC_LANES;
    const float *offset = g->offset + (size_t)(col / qc_sub_cols(e)) * QC_LANES;
    int32_t lo = d->lowest, hi = d->highest, zero = lo > 0 ? lo : hi < 0 ? hi : 0;
    for (size_t r = 0; r < QC_LANES; r++) {
        float t = step[r] != 0.0f ? (x[r] - offset[r]) / step[r] : 0.0f;
        int32_t best = zero;
        if (step[r] != 0.0f && d->levels) {
            best = lo;
            while (best < hi && t - d->levels[best - lo] > d->levels[best + 1 - lo] - t)
                best++;
        } else if (step[r] != 0.0f) {
            t = t < (float)lo ? (float)lo : t > (float)hi ? (float)hi : t;
            best = qc_round_even(t);
        }
        float scaled = step[r] * (d->levels ? d->levels[best - lo] : (float)best);
        code[r] = best;
        value[r] = scaled + offset[r];
    }
}

static inline void qc_snap(const qc_coder *e, qc_grid *g, float *value, int32_t *code, const float *x,
                           const float *importance, uint32_t col)
{
    if (e->ops->snap)
        e->ops->snap(e, g, value, code, x, importance, col);
    else
        qc_snap_nearest(e, g, value, code, x, col);
}

/* A grid for one block of a tile, from the job's scratch; NULL when out of memory. */
static inline qc_grid *qc_grid_new(qc_job *job, const qc_coder *e)
{
    const qc_encoding_desc *d = e->desc;
    size_t n_subs = qc_n_subs(e);
    qc_grid *g = (qc_grid *)job->scratch(job, sizeof *g);
    float *scales = (float *)job->scratch(job, 2 * n_subs * QC_LANES * sizeof(float));
    void *state = job->scratch(job, d->state_bytes ? d->state_bytes : 1);
    if (!g || !scales || !state)
        return NULL;
    g->size = sizeof *g;
    g->step = scales;
    g->offset = scales + n_subs * QC_LANES;
    g->state = state;
    return g;
}

/* Rounds rows to their encoding, each block on its own: what `rtn` and `imatrix` do. rows: [n_rows][cols] float32;
 * dst: n_rows * row_bytes; importance: one per column, or NULL. */
static inline qc_status qc_encode_rows(qc_job *job, const qc_coder *e, void *dst, const float *rows,
                                       const float *importance, size_t n_rows)
{
    if (QC_HAS(e->ops, qc_ops_encoding, encode_rows) && e->ops->encode_rows) {
        e->ops->encode_rows(e, dst, rows, importance, n_rows);
        return QC_OK;
    }
    size_t piece = e->block_cols == 1 ? QC_PLAIN_COLS : e->block_cols;
    float *tile = (float *)job->scratch(job, piece * QC_LANES * sizeof(float));
    float *value = (float *)job->scratch(job, piece * QC_LANES * sizeof(float));
    int32_t *code = (int32_t *)job->scratch(job, piece * QC_LANES * sizeof(int32_t));
    qc_grid *grid = e->ops->encode ? NULL : qc_grid_new(job, e);
    if (!tile || !value || !code || (!e->ops->encode && !grid))
        return job->fail(job, QC_E_NOMEM, "out of memory for a tile");
    for (size_t row = 0; row < n_rows; row += QC_LANES) {
        size_t n = n_rows - row < QC_LANES ? n_rows - row : QC_LANES;
        for (size_t col = 0, n_cols; col < e->cols; col += n_cols) {
            n_cols = qc_piece_cols(e, col);
            unsigned char *at = (unsigned char *)dst + row * e->row_bytes + qc_piece_at(e, col);
            const float *weight = importance ? importance + col : NULL;
            qc_tile_from_rows(tile, rows + row * e->cols + col, e->cols, n, n_cols);
            if (!grid) {
                e->ops->encode(e, at, tile, weight, n, n_cols);
                continue;
            }
            e->ops->fit(e, grid, tile, weight, 0, qc_n_subs(e));
            for (size_t c = 0; c < n_cols; c += e->desc->snap_cols)
                qc_snap(e, grid, value + c * QC_LANES, code + c * QC_LANES, tile + c * QC_LANES, weight, (uint32_t)c);
            e->ops->pack(e, at, grid, code, n);
        }
    }
    return QC_OK;
}

/* The reverse: src holds n_rows * row_bytes; rows: [n_rows][cols] float32. */
static inline qc_status qc_decode_rows(qc_job *job, const qc_coder *e, float *rows, const void *src, size_t n_rows)
{
    if (QC_HAS(e->ops, qc_ops_encoding, decode_rows) && e->ops->decode_rows) {
        e->ops->decode_rows(e, rows, src, n_rows);
        return QC_OK;
    }
    size_t piece = e->block_cols == 1 ? QC_PLAIN_COLS : e->block_cols;
    float *tile = (float *)job->scratch(job, piece * QC_LANES * sizeof(float));
    if (!tile)
        return job->fail(job, QC_E_NOMEM, "out of memory for a tile");
    for (size_t row = 0; row < n_rows; row += QC_LANES) {
        size_t n = n_rows - row < QC_LANES ? n_rows - row : QC_LANES;
        for (size_t col = 0, n_cols; col < e->cols; col += n_cols) {
            n_cols = qc_piece_cols(e, col);
            e->ops->decode(e, tile, (const unsigned char *)src + row * e->row_bytes + qc_piece_at(e, col), n, n_cols);
            qc_rows_from_tile(rows + row * e->cols + col, e->cols, tile, n, n_cols);
        }
    }
    return QC_OK;
}

/* Bodies of encode_rows and decode_rows for kernels that work on tiles of at most QC_PLAIN_COLS columns: called there
 * with the kernel's own functions, moving rows is built for its CPU level as well. */
static inline void qc_encode_rows_in_tiles(const qc_coder *e, void *dst, const float *rows, const float *importance,
                                           size_t n_rows,
                                           void (*encode)(const qc_coder *e, void *dst, const float *x,
                                                          const float *importance, size_t n_rows, size_t n_cols))
{
    float tile[QC_PLAIN_COLS * QC_LANES];
    for (size_t row = 0; row < n_rows; row += QC_LANES) {
        size_t n = n_rows - row < QC_LANES ? n_rows - row : QC_LANES;
        for (size_t col = 0, n_cols; col < e->cols; col += n_cols) {
            n_cols = qc_piece_cols(e, col);
            qc_tile_from_rows(tile, rows + row * e->cols + col, e->cols, n, n_cols);
            encode(e, (unsigned char *)dst + row * e->row_bytes + qc_piece_at(e, col), tile,
                   importance ? importance + col : NULL, n, n_cols);
        }
    }
}

static inline void qc_decode_rows_in_tiles(const qc_coder *e, float *rows, const void *src, size_t n_rows,
                                           void (*decode)(const qc_coder *e, float *x, const void *src, size_t n_rows,
                                                          size_t n_cols))
{
    float tile[QC_PLAIN_COLS * QC_LANES];
    for (size_t row = 0; row < n_rows; row += QC_LANES) {
        size_t n = n_rows - row < QC_LANES ? n_rows - row : QC_LANES;
        for (size_t col = 0, n_cols; col < e->cols; col += n_cols) {
            n_cols = qc_piece_cols(e, col);
            decode(e, tile, (const unsigned char *)src + row * e->row_bytes + qc_piece_at(e, col), n, n_cols);
            qc_rows_from_tile(rows + row * e->cols + col, e->cols, tile, n, n_cols);
        }
    }
}

#endif
