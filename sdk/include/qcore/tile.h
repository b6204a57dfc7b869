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
#endif

#define QC_LANES 16 /* rows of a tile; frozen with the kind of encodings */

/* ---- one 16 x 16 block of float32: to[c * to_stride + r] = from[r * from_stride + c] ---- */

#if defined(__AVX512F__)

static inline void qc_transpose16(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    __m512 a[16], b[16];
    for (int i = 0; i < 4; i++) /* a[4 i + k]: columns 4 k .. of rows i, i + 4, i + 8, i + 12 */
        for (int k = 0; k < 4; k++) {
            __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(from + (size_t)i * from_stride + 4 * k));
            v = _mm512_insertf32x4(v, _mm_loadu_ps(from + (size_t)(i + 4) * from_stride + 4 * k), 1);
            v = _mm512_insertf32x4(v, _mm_loadu_ps(from + (size_t)(i + 8) * from_stride + 4 * k), 2);
            a[4 * i + k] = _mm512_insertf32x4(v, _mm_loadu_ps(from + (size_t)(i + 12) * from_stride + 4 * k), 3);
        }
    for (int k = 0; k < 4; k++) {
        b[k] = _mm512_unpacklo_ps(a[k], a[4 + k]);
        b[4 + k] = _mm512_unpackhi_ps(a[k], a[4 + k]);
        b[8 + k] = _mm512_unpacklo_ps(a[8 + k], a[12 + k]);
        b[12 + k] = _mm512_unpackhi_ps(a[8 + k], a[12 + k]);
    }
    for (int k = 0; k < 4; k++) {
        float *out = to + (size_t)(4 * k) * to_stride;
        _mm512_storeu_ps(out, _mm512_shuffle_ps(b[k], b[8 + k], 0x44));
        _mm512_storeu_ps(out + to_stride, _mm512_shuffle_ps(b[k], b[8 + k], 0xee));
        _mm512_storeu_ps(out + 2 * to_stride, _mm512_shuffle_ps(b[4 + k], b[12 + k], 0x44));
        _mm512_storeu_ps(out + 3 * to_stride, _mm512_shuffle_ps(b[4 + k], b[12 + k], 0xee));
    }
}

#elif defined(__AVX__)

static inline void qc_transpose8(float *to, size_t to_stride, const float *from, size_t from_stride)
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

static inline void qc_transpose16(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    for (size_t r = 0; r < 16; r += 8)
        for (size_t c = 0; c < 16; c += 8)
            qc_transpose8(to + c * to_stride + r, to_stride, from + r * from_stride + c, from_stride);
}

#else

static inline void qc_transpose16(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    for (size_t r = 0; r < 16; r++) /* rows outside: their strides are often the same cache set */
        for (size_t c = 0; c < 16; c++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

#endif

/* Rows [n_rows][row_stride] to one tile piece [n_cols][QC_LANES]; absent lanes become 0. */
static inline void qc_tile_from_rows(float *tile, const float *rows, size_t row_stride, size_t n_rows, size_t n_cols)
{
    size_t done = 0;
    for (; n_rows == QC_LANES && done + 16 <= n_cols; done += 16)
        qc_transpose16(tile + done * QC_LANES, QC_LANES, rows + done, row_stride);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = done; c < n_cols; c++)
            tile[c * QC_LANES + r] = rows[r * row_stride + c];
    for (size_t c = 0; n_rows < QC_LANES && c < n_cols; c++)
        for (size_t r = n_rows; r < QC_LANES; r++)
            tile[c * QC_LANES + r] = 0.0f;
}

/* The reverse of qc_tile_from_rows: only the first n_rows lanes are written. */
static inline void qc_rows_from_tile(float *rows, size_t row_stride, const float *tile, size_t n_rows, size_t n_cols)
{
    size_t done = 0;
    for (; n_rows == QC_LANES && done + 16 <= n_cols; done += 16)
        qc_transpose16(rows + done, row_stride, tile + done * QC_LANES, QC_LANES);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = done; c < n_cols; c++)
            rows[r * row_stride + c] = tile[c * QC_LANES + r];
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

#else

static inline void qc_transpose16_bytes(uint8_t *to, size_t to_stride, const uint8_t *from, size_t from_stride)
{
    for (size_t r = 0; r < 16; r++)
        for (size_t c = 0; c < 16; c++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

#endif

/* Codes of a tile piece, [n_cols][QC_LANES], counted from `lowest`, to bytes of rows, all lanes [QC_LANES][stride];
 * n_cols is a multiple of 16 and code - lowest fits a byte. */
static inline void qc_bytes_from_codes(uint8_t *rows, size_t stride, const int32_t *code, int32_t lowest, size_t n_cols)
{
    uint8_t bytes[16 * QC_LANES];
    for (size_t c = 0; c < n_cols; c += 16, code += 16 * QC_LANES) {
        for (size_t i = 0; i < 16 * QC_LANES; i++)
            bytes[i] = (uint8_t)(code[i] - lowest);
        qc_transpose16_bytes(rows + c, stride, bytes, QC_LANES);
    }
}

/* The reverse. */
static inline void qc_codes_from_bytes(int32_t *code, const uint8_t *rows, size_t stride, int32_t lowest, size_t n_cols)
{
    uint8_t bytes[16 * QC_LANES];
    for (size_t c = 0; c < n_cols; c += 16, code += 16 * QC_LANES) {
        qc_transpose16_bytes(bytes, QC_LANES, rows + c, stride);
        for (size_t i = 0; i < 16 * QC_LANES; i++)
            code[i] = (int32_t)bytes[i] + lowest;
    }
}

#endif
