/* One register of float32, as wide as the CPU level of the build has: what the tiles are written in. */
#ifndef DENSE_VECTOR_H
#define DENSE_VECTOR_H

#include <immintrin.h>

enum { LINE = 16 }; /* floats of a cache line */

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

/* Four floats from each of lines 0, 4, 8, 12. */
static inline vector v_blocks(const float *p)
{
    vector v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * LINE), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * LINE), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * LINE), 3);
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

/* Four floats from each of lines 0, 4. */
static inline vector v_blocks(const float *p)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * LINE), 1);
}

#define v_unpack_low _mm256_unpacklo_ps
#define v_unpack_high _mm256_unpackhi_ps
#define v_shuffle _mm256_shuffle_ps

#endif

enum { TILE_COLS = 2 * VECTOR };

static inline void v_fetch(const float *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

/* Four columns of VECTOR lines, `stride` floats apart in `to`: blocks of 4 x 4 are transposed side by side. */
static inline void v_transpose(float *to, size_t stride, const float *p)
{
    vector r0 = v_blocks(p), r1 = v_blocks(p + LINE), r2 = v_blocks(p + 2 * LINE), r3 = v_blocks(p + 3 * LINE);
    vector low01 = v_unpack_low(r0, r1), low23 = v_unpack_low(r2, r3);
    vector high01 = v_unpack_high(r0, r1), high23 = v_unpack_high(r2, r3);
    v_store(to, v_shuffle(low01, low23, 0x44));
    v_store(to + stride, v_shuffle(low01, low23, 0xee));
    v_store(to + 2 * stride, v_shuffle(high01, high23, 0x44));
    v_store(to + 3 * stride, v_shuffle(high01, high23, 0xee));
}

#endif
