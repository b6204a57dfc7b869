/* Body of qc_ops_encoding.dot: rows in their encoding times activations in 8 bits.
 *
 * A span of up to QC_DOT_COLS columns of a tile is unpacked once for up to QC_DOT_TOKENS tokens. Codes are counted from
 * the lowest one, so that they are 0 .. 255, and stand in words of four columns, lanes across rows:
 *     word[col / 4][lane] = code of col | col + 1 << 8 | col + 2 << 16 | col + 3 << 24
 * Against four codes of a token in every lane, one multiply-add takes four columns of all rows. Sums of a piece (16 or 32
 * columns: one step, one scale of activations) are whole numbers below 2^24, so that any way to add them gives the same;
 * what happens in float32 has the order that encoding.h says.
 */
#ifndef QCORE_DOT_H
#define QCORE_DOT_H

#include "qcore/encoding.h"

enum {
    QC_DOT_COLS = 256,
    QC_DOT_TOKENS = 128, /* whose activations of a span fit in the first cache, next to their sums */
    QC_DOT_PIECES = QC_DOT_COLS / 16
};

typedef struct qc_dot_span {
    uint32_t word[QC_DOT_COLS / 4][QC_LANES];
    float step[QC_DOT_PIECES][QC_LANES], offset[QC_DOT_PIECES][QC_LANES]; /* of pieces; offset: affine encodings only */
} qc_dot_span;

/* How an encoding is multiplied. */
typedef struct qc_dot_kind {
    uint32_t piece_cols; /* 16 or 32 */
    int32_t lowest, top; /* codes are lowest .. lowest + top, top <= 255; affine encodings: lowest is 0 */
    int affine; /* are there offsets? */
    /* Fills words, steps and offsets of columns [col, col + n_cols); src: the tile's first row. Absent lanes: any codes
     * of 0 .. top, finite steps. */
    void (*fill)(const qc_coder *e, qc_dot_span *s, const uint8_t *src, size_t col, size_t n_cols, size_t n_rows);
} qc_dot_kind;

/* ---- words ---- */

/* From a tile's codes, [n_cols][QC_LANES]; n_cols: a multiple of 4. */
static inline void qc_dot_words_from_codes(uint32_t word[][QC_LANES], const int32_t *code, int32_t lowest,
                                           size_t n_cols)
{
    for (size_t c = 0; c < n_cols; c += 4, code += 4 * QC_LANES)
        for (size_t l = 0; l < QC_LANES; l++) {
            uint32_t low = (uint32_t)(code[l] - lowest) | (uint32_t)(code[QC_LANES + l] - lowest) << 8;
            uint32_t high = (uint32_t)(code[2 * QC_LANES + l] - lowest) | (uint32_t)(code[3 * QC_LANES + l] - lowest)
                                                                              << 8;
            word[c / 4][l] = low | high << 16;
        }
}

/* From rows of codes that are counted from `lowest`, [QC_LANES][stride]; n_cols: a multiple of 4. */
static inline void qc_dot_words_from_bytes(uint32_t word[][QC_LANES], const uint8_t *rows, size_t stride, size_t n_cols)
{
    size_t done = 0;
#if defined(__SSE2__)
    for (; done + 64 <= n_cols; done += 64) { /* words are moved as floats are */
        float out[16 * QC_LANES], in[QC_LANES * 16];
        for (size_t l = 0; l < QC_LANES; l++)
            memcpy(in + l * 16, rows + l * stride + done, 64);
        qc_transpose16(out, QC_LANES, in, 16);
        memcpy(word[done / 4], out, sizeof out);
    }
#endif
    for (; done < n_cols; done += 4)
        for (size_t l = 0; l < QC_LANES; l++) {
            const uint8_t *p = rows + l * stride + done;
            word[done / 4][l] = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        }
}

/* Codes of 4 bits to the bytes of a table; n: a multiple of 16. */
static inline void qc_dot_look_up(uint8_t *code, const uint8_t table[16], size_t n)
{
#if defined(__SSSE3__)
    __m128i t;
    memcpy(&t, table, sizeof t);
    for (size_t i = 0; i < n; i += 16) {
        __m128i at;
        memcpy(&at, code + i, sizeof at);
        at = _mm_shuffle_epi8(t, at);
        memcpy(code + i, &at, sizeof at);
    }
#else
    for (size_t i = 0; i < n; i++)
        code[i] = table[code[i]];
#endif
}

/* ---- one piece, all tokens ---- */

/* A piece of activations, token after token. */
typedef struct qc_dot_tokens {
    size_t n;
    const int8_t *code; /* [n][QC_ACTIVATION_COLS], from the piece's first column on */
    const float *scale;
    const float *product; /* scale * sum of codes, of affine encodings */
    const int32_t *base; /* lowest * sum of codes, of the others */
    float *y; /* [n][QC_LANES] */
} qc_dot_tokens;

#if defined(__AVX512BW__) || defined(__AVX2__)

#if defined(__AVX512BW__)
#define QC_DOT(op) _mm512_##op
#define QC_DOT_AND _mm512_and_si512
#define QC_DOT_LOAD _mm512_loadu_si512
typedef __m512i qc_dot_ints;
typedef __m512 qc_dot_floats;
#else
#define QC_DOT(op) _mm256_##op
#define QC_DOT_AND _mm256_and_si256
#define QC_DOT_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
typedef __m256i qc_dot_ints;
typedef __m256 qc_dot_floats;
#endif
enum { QC_DOT_WIDTH = sizeof(qc_dot_floats) / sizeof(float) };

static inline qc_dot_ints qc_dot_pairs(qc_dot_ints codes, const int8_t *activations)
{
    int32_t four;
    memcpy(&four, activations, sizeof four);
    return QC_DOT(maddubs_epi16)(codes, QC_DOT(set1_epi32)(four));
}

/* Sums of n_words words a lane. Sums of pairs are whole numbers of 16 bits as long as not more than `join` are added:
 * 2 * 127 * top * join < 2^15. */
static inline qc_dot_ints qc_dot_sum(const qc_dot_ints *word, size_t n_words, size_t join, const int8_t *activations)
{
    const qc_dot_ints ones = QC_DOT(set1_epi16)(1);
    qc_dot_ints sum = ones; /* replaced at once */
    for (size_t i = 0; i < n_words; i += join) {
        qc_dot_ints pairs = qc_dot_pairs(word[i], activations + 4 * i);
        for (size_t k = 1; k < join && i + k < n_words; k++)
            pairs = QC_DOT(add_epi16)(pairs, qc_dot_pairs(word[i + k], activations + 4 * (i + k)));
        qc_dot_ints part = QC_DOT(madd_epi16)(pairs, ones);
        sum = i == 0 ? part : QC_DOT(add_epi32)(sum, part);
    }
    return sum;
}

/* join 0: codes of more than 6 bits, as 16 * high + low. */
__attribute__((always_inline)) static inline void qc_dot_piece(const uint32_t (*word)[QC_LANES], const float *step,
                                                               const float *offset, const qc_dot_tokens *a,
                                                               size_t n_words, size_t join, int affine)
{
    const qc_dot_ints nibble = QC_DOT(set1_epi8)(15);
    const size_t n = a->n;
    const float *scale = a->scale, *product = a->product;
    const int32_t *base = a->base;
    for (size_t lane = 0; lane < QC_LANES; lane += QC_DOT_WIDTH) {
        qc_dot_ints low[8], high[8];
        for (size_t i = 0; i < n_words; i++) {
            low[i] = QC_DOT_LOAD(&word[i][lane]);
            high[i] = join ? low[i] : QC_DOT_AND(QC_DOT(srli_epi16)(low[i], 4), nibble);
            low[i] = join ? low[i] : QC_DOT_AND(low[i], nibble);
        }
        const qc_dot_floats steps = QC_DOT(loadu_ps)(step + lane), offsets = QC_DOT(loadu_ps)(offset + lane);
        const int8_t *code = a->code;
        float *y = a->y + lane;
        for (size_t t = 0; t < n; t++, code += QC_ACTIVATION_COLS, y += QC_LANES) {
            qc_dot_ints sum = qc_dot_sum(low, n_words, join ? join : 8, code);
            if (!join)
                sum = QC_DOT(add_epi32)(sum, QC_DOT(slli_epi32)(qc_dot_sum(high, n_words, 8, code), 4));
            if (!affine)
                sum = QC_DOT(add_epi32)(sum, QC_DOT(set1_epi32)(base[t]));
            qc_dot_floats scaled = QC_DOT(mul_ps)(QC_DOT(set1_ps)(scale[t]), QC_DOT(cvtepi32_ps)(sum));
            qc_dot_floats total = QC_DOT(add_ps)(QC_DOT(loadu_ps)(y), QC_DOT(mul_ps)(steps, scaled));
            if (affine)
                total = QC_DOT(add_ps)(total, QC_DOT(mul_ps)(offsets, QC_DOT(set1_ps)(product[t])));
            QC_DOT(storeu_ps)(y, total);
        }
    }
}

#undef QC_DOT
#undef QC_DOT_AND
#undef QC_DOT_LOAD

#else

static inline void qc_dot_piece(const uint32_t (*word)[QC_LANES], const float *step, const float *offset,
                                const qc_dot_tokens *a, size_t n_words, size_t join, int affine)
{
    (void)join; /* sums are of 32 bits */
    const int8_t *code = a->code;
    for (size_t t = 0; t < a->n; t++, code += QC_ACTIVATION_COLS) {
        int32_t sum[QC_LANES];
        const float scale = a->scale[t];
        float *y = a->y + t * QC_LANES;
        for (size_t l = 0; l < QC_LANES; l++)
            sum[l] = affine ? 0 : a->base[t];
        for (size_t i = 0; i < n_words; i++)
            for (size_t l = 0; l < QC_LANES; l++) {
                const uint32_t w = word[i][l];
                const int8_t *c = code + 4 * i;
                sum[l] += (int32_t)(w & 255) * c[0] + (int32_t)(w >> 8 & 255) * c[1] + (int32_t)(w >> 16 & 255) * c[2] +
                          (int32_t)(w >> 24) * c[3];
            }
        for (size_t l = 0; l < QC_LANES; l++)
            y[l] += step[l] * (scale * (float)sum[l]);
        for (size_t l = 0; affine && l < QC_LANES; l++)
            y[l] += offset[l] * a->product[t];
    }
}

#endif

/* The same built for each length of a piece, width of codes, and with offsets or without. */
typedef void (*qc_dot_piece_fn)(const uint32_t (*word)[QC_LANES], const float *step, const float *offset,
                                const qc_dot_tokens *a);

#define QC_DOT_PIECE(name, n_words, join, affine)                                                                   \
    static inline void qc_dot_piece_##name(const uint32_t(*word)[QC_LANES], const float *step, const float *offset, \
                                           const qc_dot_tokens *a)                                                  \
    {                                                                                                               \
        qc_dot_piece(word, step, offset, a, n_words, join, affine);                                                 \
    }
#define QC_DOT_PIECES_OF(join)                 \
    QC_DOT_PIECE(16_plain_##join, 4, join, 0)  \
    QC_DOT_PIECE(16_affine_##join, 4, join, 1) \
    QC_DOT_PIECE(32_plain_##join, 8, join, 0)  \
    QC_DOT_PIECE(32_affine_##join, 8, join, 1)

QC_DOT_PIECES_OF(8)
QC_DOT_PIECES_OF(4)
QC_DOT_PIECES_OF(2)
QC_DOT_PIECES_OF(0)

#undef QC_DOT_PIECE
#undef QC_DOT_PIECES_OF

static inline qc_dot_piece_fn qc_dot_find_piece(const qc_dot_kind *k)
{
#define QC_DOT_ROW(join)                                                \
    {                                                                   \
        {qc_dot_piece_16_plain_##join, qc_dot_piece_16_affine_##join},  \
        {                                                               \
            qc_dot_piece_32_plain_##join, qc_dot_piece_32_affine_##join \
        }                                                               \
    }
    static const qc_dot_piece_fn pieces[4][2][2] = {QC_DOT_ROW(8), QC_DOT_ROW(4), QC_DOT_ROW(2), QC_DOT_ROW(0)};
#undef QC_DOT_ROW
    int width = k->top <= 15 ? 0 : k->top <= 31 ? 1 : k->top <= 63 ? 2 : 3;
    return pieces[width][k->piece_cols == 32][k->affine != 0];
}

/* ---- a tile ---- */

/* What activations add of themselves to a piece. */
static inline void qc_dot_own_terms(const qc_dot_kind *k, const float *scale, const int16_t *sum,
                                    const int16_t *next_sum, size_t n_tokens, float *product, int32_t *base)
{
    int32_t own[QC_DOT_TOKENS];
    for (size_t t = 0; t < n_tokens; t++)
        own[t] = sum[t];
    for (size_t t = 0; k->piece_cols == 32 && t < n_tokens; t++)
        own[t] += next_sum[t];
    for (size_t t = 0; k->affine && t < n_tokens; t++)
        product[t] = scale[t] * (float)own[t];
    for (size_t t = 0; !k->affine && t < n_tokens; t++)
        base[t] = k->lowest * own[t];
}

/* Columns [col, col + n_cols) of a tile times up to QC_DOT_TOKENS tokens: y goes on. */
static inline void qc_dot_span_times(const qc_dot_kind *k, const qc_dot_span *s, const qc_activations *a, size_t col,
                                     size_t n_cols, size_t token, size_t n_tokens, float *y)
{
    float product[QC_DOT_TOKENS];
    int32_t base[QC_DOT_TOKENS];
    const qc_dot_piece_fn piece = qc_dot_find_piece(k);
    for (size_t c = 0, at = col; c < n_cols; c += k->piece_cols, at += k->piece_cols) {
        const size_t first = at / QC_ACTIVATION_COLS * a->tokens + token;
        const int16_t *sum = a->sum + at / 16 * a->tokens + token;
        qc_dot_tokens tokens;
        tokens.n = n_tokens;
        tokens.code = a->code + first * QC_ACTIVATION_COLS + at % QC_ACTIVATION_COLS;
        tokens.scale = a->scale + first;
        tokens.product = product;
        tokens.base = base;
        tokens.y = y;
        qc_dot_own_terms(k, tokens.scale, sum, sum + a->tokens, n_tokens, product, base);
        piece(s->word + c / 4, s->step[c / k->piece_cols], s->offset[c / k->piece_cols], &tokens);
    }
}

/* qc_ops_encoding.dot. */
static inline void qc_dot_tile(const qc_coder *e, const qc_dot_kind *k, float *y, size_t ldy, const void *src,
                               size_t n_rows, const qc_activations *a, size_t token, size_t n_tokens)
{
    qc_dot_span s;
    float sums[QC_DOT_TOKENS * QC_LANES];
    for (size_t n; n_tokens > 0; token += n, y += n * ldy, n_tokens -= n) {
        n = n_tokens < (size_t)QC_DOT_TOKENS ? n_tokens : (size_t)QC_DOT_TOKENS;
        memset(sums, 0, n * QC_LANES * sizeof *sums);
        for (size_t col = 0, n_cols; col < e->cols; col += n_cols) {
            n_cols = e->cols - col < (size_t)QC_DOT_COLS ? e->cols - col : (size_t)QC_DOT_COLS;
            k->fill(e, &s, (const uint8_t *)src, col, n_cols, n_rows);
            qc_dot_span_times(k, &s, a, col, n_cols, token, n, sums);
        }
        for (size_t t = 0; t < n; t++)
            memcpy(y + t * ldy, sums + t * QC_LANES, n_rows * sizeof *y);
    }
}

#endif
