/* A vector of float32 in one register, or two where they are short: what the tiles are written in. */
#ifndef DENSE_VECTOR_H
#define DENSE_VECTOR_H

#include <stddef.h>

#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

enum { LINE = 16 }; /* floats of a cache line */

#if defined(__aarch64__)

enum { VECTOR = 8, TILE_ROWS = 6 }; /* in registers of four: 24 sums, 4 of b, 2 of a: 30 of 32 */
typedef struct vector {
    float32x4_t low, high;
} vector;
typedef vector factors; /* multiplying by one of a register's four costs no register more */

static inline vector v_load(const float *p)
{
    return (vector){vld1q_f32(p), vld1q_f32(p + 4)};
}

static inline void v_store(float *p, vector v)
{
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
}

static inline vector v_all(float x)
{
    return (vector){vdupq_n_f32(x), vdupq_n_f32(x)};
}

/* a b + c, rounded once. */
static inline vector v_fused(vector a, vector b, vector c)
{
    return (vector){vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}

static inline factors v_factors(const float *p)
{
    return v_load(p);
}

static inline vector v_factor(factors f, size_t i)
{
    return v_all(i < 4 ? f.low[i] : f.high[i - 4]);
}

/* Four floats from each of lines 0, 4. */
static inline vector v_blocks(const float *p)
{
    return (vector){vld1q_f32(p), vld1q_f32(p + 4 * LINE)};
}

static inline vector v_interleave_low(vector a, vector b)
{
    return (vector){vzip1q_f32(a.low, b.low), vzip1q_f32(a.high, b.high)};
}

static inline vector v_interleave_high(vector a, vector b)
{
    return (vector){vzip2q_f32(a.low, b.low), vzip2q_f32(a.high, b.high)};
}

#elif defined(__AVX512F__)

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

#define v_interleave_low _mm512_unpacklo_ps
#define v_interleave_high _mm512_unpackhi_ps

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

#define v_interleave_low _mm256_unpacklo_ps
#define v_interleave_high _mm256_unpackhi_ps

#endif

enum { TILE_COLS = 2 * VECTOR };

#if !defined(__aarch64__)

typedef const float *factors;

static inline factors v_factors(const float *p)
{
    return p;
}

static inline vector v_factor(factors f, size_t i)
{
    return v_all(f[i]);
}

#endif

static inline void v_fetch(const float *p)
{
    __builtin_prefetch(p);
}

/* Four columns of VECTOR lines, `stride` floats apart in `to`: blocks of 4 x 4 are transposed side by side, their halves
 * interleaved twice. */
static inline void v_transpose(float *to, size_t stride, const float *p)
{
    vector r0 = v_blocks(p), r1 = v_blocks(p + LINE), r2 = v_blocks(p + 2 * LINE), r3 = v_blocks(p + 3 * LINE);
    vector low02 = v_interleave_low(r0, r2), low13 = v_interleave_low(r1, r3);
    vector high02 = v_interleave_high(r0, r2), high13 = v_interleave_high(r1, r3);
    v_store(to, v_interleave_low(low02, low13));
    v_store(to + stride, v_interleave_high(low02, low13));
    v_store(to + 2 * stride, v_interleave_low(high02, high13));
    v_store(to + 3 * stride, v_interleave_high(high02, high13));
}

#endif
