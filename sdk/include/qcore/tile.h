/* Moving rows into tiles ([col][lane], encoding.h) and back. Vector instructions where the CPU level of the build has
 * them, plain C elsewhere: values move as they are, so that the bytes are the same.
 *
 * Blocks of 16 x 16 are transposed in registers. `n_rows` below QC_LANES: absent lanes are read as 0 and not written.
 */
#ifndef QCORE_TILE_H
#define QCORE_TILE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define QC_TILE_NEON 1
#include <arm_neon.h>
#endif

#define QC_LANES 16 /* rows of a tile; frozen with the kind of encodings */

/* ---- one 16 x 16 block of float32: to[c * to_stride + r] = from[r * from_stride + c] ----
 *
 * qc_transpose_side transposes a square of QC_TILE_SIDE. */

#if defined(__AVX__)

#define QC_TILE_SIDE 8

static inline void qc_transpose_side(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 4; i++) /* a[2 i + k]: columns 4 k .. of rows i, i + 4 */
        for (int k = 0; k < 2; k++) {
            __m256 v = _mm256_castps128_ps256(_mm_loadu_ps(from + (size_t)i * from_stride + 4 * k));
            a[2 * i + k] = _mm256_insertf128_ps(v, _mm_loadu_ps(from + (size_t)(i + 4) * from_stride + 4 * k), 1);
        }
    for (int k = 0; k < 2; k++) {
        b[k] = _mm256_unpacklo_ps(a[k], a[2 + k]);
        b[2 + k] = _mm256_unpackhi_ps(a[k], a[2 + k]);
        b[4 + k] = _mm256_unpacklo_ps(a[4 + k], a[6 + k]);
        b[6 + k] = _mm256_unpackhi_ps(a[4 + k], a[6 + k]);
    }
    for (int k = 0; k < 2; k++) {
        float *out = to + (size_t)(4 * k) * to_stride;
        _mm256_storeu_ps(out, _mm256_shuffle_ps(b[k], b[4 + k], 0x44));
        _mm256_storeu_ps(out + to_stride, _mm256_shuffle_ps(b[k], b[4 + k], 0xee));
        _mm256_storeu_ps(out + 2 * to_stride, _mm256_shuffle_ps(b[2 + k], b[6 + k], 0x44));
        _mm256_storeu_ps(out + 3 * to_stride, _mm256_shuffle_ps(b[2 + k], b[6 + k], 0xee));
    }
}

#elif defined(__SSE2__)

#define QC_TILE_SIDE 4

static inline void qc_transpose_side(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    __m128 row0 = _mm_loadu_ps(from), row1 = _mm_loadu_ps(from + from_stride);
    __m128 row2 = _mm_loadu_ps(from + 2 * from_stride), row3 = _mm_loadu_ps(from + 3 * from_stride);
    __m128 low02 = _mm_unpacklo_ps(row0, row2), low13 = _mm_unpacklo_ps(row1, row3);
    __m128 high02 = _mm_unpackhi_ps(row0, row2), high13 = _mm_unpackhi_ps(row1, row3);
    _mm_storeu_ps(to, _mm_unpacklo_ps(low02, low13));
    _mm_storeu_ps(to + to_stride, _mm_unpackhi_ps(low02, low13));
    _mm_storeu_ps(to + 2 * to_stride, _mm_unpacklo_ps(high02, high13));
    _mm_storeu_ps(to + 3 * to_stride, _mm_unpackhi_ps(high02, high13));
}

#elif defined(QC_TILE_NEON)

#define QC_TILE_SIDE 4

static inline void qc_transpose_side(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    float32x4_t row0 = vld1q_f32(from), row1 = vld1q_f32(from + from_stride);
    float32x4_t row2 = vld1q_f32(from + 2 * from_stride), row3 = vld1q_f32(from + 3 * from_stride);
    float32x4_t low02 = vzip1q_f32(row0, row2), low13 = vzip1q_f32(row1, row3);
    float32x4_t high02 = vzip2q_f32(row0, row2), high13 = vzip2q_f32(row1, row3);
    vst1q_f32(to, vzip1q_f32(low02, low13));
    vst1q_f32(to + to_stride, vzip2q_f32(low02, low13));
    vst1q_f32(to + 2 * to_stride, vzip1q_f32(high02, high13));
    vst1q_f32(to + 3 * to_stride, vzip2q_f32(high02, high13));
}

#else

#define QC_TILE_SIDE 1

static inline void qc_transpose_side(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    (void)to_stride, (void)from_stride;
    *to = *from;
}

#endif

/* Rows that lie far apart are often the same cache set: each is finished, 64 bytes, before the next. */
static inline void qc_transpose16(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    for (size_t i = 0; i < 16; i += QC_TILE_SIDE)
        for (size_t k = 0; k < 16; k += QC_TILE_SIDE) {
            size_t r = from_stride > to_stride ? i : k, c = from_stride > to_stride ? k : i;
            qc_transpose_side(to + c * to_stride + r, to_stride, from + r * from_stride + c, from_stride);
        }
}

/* Up to 16 columns of a row; all 16 without a call. */
static inline void qc_copy_columns(float *to, const float *from, size_t n)
{
    if (n == 16)
        memcpy(to, from, 16 * sizeof *to);
    else
        memcpy(to, from, n * sizeof *to);
}

/* Rows [n_rows][row_stride] to one tile piece [n_cols][QC_LANES]; absent lanes become 0. */
static inline void qc_tile_from_rows(float *tile, const float *rows, size_t row_stride, size_t n_rows, size_t n_cols)
{
    for (size_t col = 0; col < n_cols; col += 16) {
        const size_t n = n_cols - col < 16 ? n_cols - col : 16;
        float part[16 * QC_LANES], transposed[16 * QC_LANES];
        if (n_rows == QC_LANES && n == 16) {
            qc_transpose16(tile + col * QC_LANES, QC_LANES, rows + col, row_stride);
            continue;
        }
        memset(part, 0, sizeof part);
        for (size_t r = 0; r < n_rows; r++)
            qc_copy_columns(part + 16 * r, rows + r * row_stride + col, n);
        qc_transpose16(transposed, QC_LANES, part, 16);
        memcpy(tile + col * QC_LANES, transposed, n * QC_LANES * sizeof *tile);
    }
}

/* The reverse of qc_tile_from_rows: only the first n_rows lanes are written. */
static inline void qc_rows_from_tile(float *rows, size_t row_stride, const float *tile, size_t n_rows, size_t n_cols)
{
    for (size_t col = 0; col < n_cols; col += 16) {
        const size_t n = n_cols - col < 16 ? n_cols - col : 16;
        float part[16 * QC_LANES], transposed[16 * QC_LANES];
        if (n_rows == QC_LANES && n == 16) {
            qc_transpose16(rows + col, row_stride, tile + col * QC_LANES, QC_LANES);
            continue;
        }
        memset(part, 0, sizeof part);
        memcpy(part, tile + col * QC_LANES, n * QC_LANES * sizeof *tile);
        qc_transpose16(transposed, 16, part, QC_LANES);
        for (size_t r = 0; r < n_rows; r++)
            qc_copy_columns(rows + r * row_stride + col, transposed + 16 * r, n);
    }
}

/* ---- bytes: to[c * to_stride + r] = from[r * from_stride + c], 16 x 16 ---- */

#if defined(__SSE2__)

static inline void qc_transpose16_bytes(uint8_t *to, size_t to_stride, const uint8_t *from, size_t from_stride)
{
    __m128i a[16], b[16];
    for (size_t r = 0; r < 16; r++)
        a[r] = _mm_loadu_si128((const __m128i *)(const void *)(from + r * from_stride));
    for (int pass = 0; pass < 4; pass++) { /* each interleaves row r with row r + 8 */
        for (int r = 0; r < 8; r++) {
            b[2 * r] = _mm_unpacklo_epi8(a[r], a[r + 8]);
            b[2 * r + 1] = _mm_unpackhi_epi8(a[r], a[r + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (size_t c = 0; c < 16; c++)
        _mm_storeu_si128((__m128i *)(void *)(to + c * to_stride), a[c]);
}

#elif defined(QC_TILE_NEON)

static inline void qc_transpose16_bytes(uint8_t *to, size_t to_stride, const uint8_t *from, size_t from_stride)
{
    uint8x16_t a[16], b[16];
    for (size_t r = 0; r < 16; r++)
        a[r] = vld1q_u8(from + r * from_stride);
    for (int pass = 0; pass < 4; pass++) { /* each interleaves row r with row r + 8 */
        for (int r = 0; r < 8; r++) {
            b[2 * r] = vzip1q_u8(a[r], a[r + 8]);
            b[2 * r + 1] = vzip2q_u8(a[r], a[r + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (size_t c = 0; c < 16; c++)
        vst1q_u8(to + c * to_stride, a[c]);
}

#else

static inline void qc_transpose16_bytes(uint8_t *to, size_t to_stride, const uint8_t *from, size_t from_stride)
{
    for (size_t r = 0; r < 16; r++)
        for (size_t c = 0; c < 16; c++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

#endif

/* Codes of a tile piece, [n_cols][QC_LANES], counted from `lowest`, to bytes of rows, all lanes [QC_LANES][stride];
 * n_cols is a multiple of 16, at least 16, and code - lowest fits a byte. */
static inline void qc_bytes_from_codes(uint8_t *rows, size_t stride, const int32_t *code, int32_t lowest, size_t n_cols)
{
    uint8_t bytes[16 * QC_LANES];
    for (size_t c = 0; c < n_cols; c += 16, code += 16 * QC_LANES) {
        for (size_t i = 0; i < 16 * QC_LANES; i++)
            bytes[i] = (uint8_t)((uint32_t)code[i] - (uint32_t)lowest);
        qc_transpose16_bytes(rows + c, stride, bytes, QC_LANES);
    }
}

/* The reverse. Two blocks take turns, so that wide loads find what narrow stores wrote in the cache. */
static inline void qc_codes_from_bytes(int32_t *code, const uint8_t *rows, size_t stride, int32_t lowest, size_t n_cols)
{
    uint8_t bytes[2][16 * QC_LANES];
    qc_transpose16_bytes(bytes[0], QC_LANES, rows, stride);
    for (size_t c = 0; c < n_cols; c += 16, code += 16 * QC_LANES) {
        if (c + 16 < n_cols)
            qc_transpose16_bytes(bytes[c / 16 % 2 ^ 1], QC_LANES, rows + c + 16, stride);
        for (size_t i = 0; i < 16 * QC_LANES; i++)
            code[i] = (int32_t)bytes[c / 16 % 2][i] + lowest;
    }
}

#endif
