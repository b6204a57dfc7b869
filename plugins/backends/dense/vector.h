/* One register of float32, as wide as the CPU level of the build has: what the tiles are written in. */
#ifndef DENSE_VECTOR_H
#define DENSE_VECTOR_H

#include <immintrin.h>

#if defined(__AVX512F__)

enum { VECTOR = 16, TILE_ROWS = 14 }; /* 28 sums, 2 vectors of b, 1 of a: 31 of 32 registers */
typedef __m512 vector;

static inline vector v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, vector v)
{
    _mm512_storeu_ps(p, v);
}

static inline vector v_all(float x)
{
    return _mm512_set1_ps(x);
}

/* a b + c, rounded once. */
static inline vector v_fused(vector a, vector b, vector c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* Four floats from each of rows 0, 4, 8, 12. */
static inline vector v_blocks(const float *const *row, size_t at)
{
    vector v = _mm512_castps128_ps512(_mm_loadu_ps(row[0] + at));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(row[4] + at), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(row[8] + at), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(row[12] + at), 3);
}

#define v_unpack_low _mm512_unpacklo_ps
#define v_unpack_high _mm512_unpackhi_ps
#define v_shuffle _mm512_shuffle_ps

#else

enum { VECTOR = 8, TILE_ROWS = 6 }; /* 12 sums, 2 vectors of b, 1 of a: 15 of 16 registers */
typedef __m256 vector;

static inline vector v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void v_store(float *p, vector v)
{
    _mm256_storeu_ps(p, v);
}

static inline vector v_all(float x)
{
    return _mm256_set1_ps(x);
}

/* a b + c, rounded once. */
static inline vector v_fused(vector a, vector b, vector c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* Four floats from each of rows 0, 4. */
static inline vector v_blocks(const float *const *row, size_t at)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[0] + at)), _mm_loadu_ps(row[4] + at), 1);
}

#define v_unpack_low _mm256_unpacklo_ps
#define v_unpack_high _mm256_unpackhi_ps
#define v_shuffle _mm256_shuffle_ps

#endif

enum { TILE_COLS = 2 * VECTOR };

/* to[4][VECTOR], `stride` floats apart: columns at .. at + 3 of VECTOR rows. 4 x 4 blocks are transposed side by side. */
static inline void v_transpose(float *to, size_t stride, const float *const *row, size_t at)
{
    vector r0 = v_blocks(row, at), r1 = v_blocks(row + 1, at), r2 = v_blocks(row + 2, at), r3 = v_blocks(row + 3, at);
    vector low01 = v_unpack_low(r0, r1), low23 = v_unpack_low(r2, r3);
    vector high01 = v_unpack_high(r0, r1), high23 = v_unpack_high(r2, r3);
    v_store(to, v_shuffle(low01, low23, 0x44));
    v_store(to + stride, v_shuffle(low01, low23, 0xee));
    v_store(to + 2 * stride, v_shuffle(high01, high23, 0x44));
    v_store(to + 3 * stride, v_shuffle(high01, high23, 0xee));
}

#endif
