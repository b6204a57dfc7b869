/* Whole numbers of 16 bits for the QC_LANES rows of a tile, two columns at once: column 2 i of a lane is the low half of
 * its 32 bits, column 2 i + 1 the high half,
 *
 *     lane        0        1        …       15
 *     int16   x0   x1   x0   x1         x0   x1
 *
 * so that an instruction works on twice as many numbers as with floats, and products of both columns add up to one int32
 * a lane. Whole numbers are exact: vector instructions and plain C give the same.
 */
#ifndef KQUANTS_PAIRS_H
#define KQUANTS_PAIRS_H

#include "qcore/lanes.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512BW__) || defined(__AVX2__) || defined(__aarch64__)

/* One register: of 16-bit numbers, of 32-bit numbers, and what can be done with it. */
#if defined(__AVX512BW__)
typedef __m512i kq_shorts;
typedef __m512i kq_ints;
#define KQ_ROUND(floats) _mm512_cvtps_epi32(_mm512_loadu_ps(floats))
#define KQ_JOIN(even, odd) _mm512_mask_blend_epi16(0xaaaaaaaau, even, _mm512_slli_epi32(odd, 16))
#define KQ_SET(v) _mm512_set1_epi16(v)
#define KQ_REPEAT(both) _mm512_set1_epi32(both)
#define KQ_SCALE(a, b) _mm512_mulhrs_epi16(a, b)
#define KQ_MIN(a, b) _mm512_min_epi16(a, b)
#define KQ_MAX(a, b) _mm512_max_epi16(a, b)
#define KQ_MULTIPLY(a, b) _mm512_mullo_epi16(a, b)
#define KQ_ZERO() _mm512_setzero_si512()
#define KQ_ADD_DOT(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
#define KQ_STORE_FLOATS(to, v) _mm512_storeu_ps(to, _mm512_cvtepi32_ps(v))
#elif defined(__AVX2__)
typedef __m256i kq_shorts;
typedef __m256i kq_ints;
#define KQ_ROUND(floats) _mm256_cvtps_epi32(_mm256_loadu_ps(floats))
#define KQ_JOIN(even, odd) _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa)
#define KQ_SET(v) _mm256_set1_epi16(v)
#define KQ_REPEAT(both) _mm256_set1_epi32(both)
#define KQ_SCALE(a, b) _mm256_mulhrs_epi16(a, b)
#define KQ_MIN(a, b) _mm256_min_epi16(a, b)
#define KQ_MAX(a, b) _mm256_max_epi16(a, b)
#define KQ_MULTIPLY(a, b) _mm256_mullo_epi16(a, b)
#define KQ_ZERO() _mm256_setzero_si256()
#define KQ_ADD_DOT(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#define KQ_STORE_FLOATS(to, v) _mm256_storeu_ps(to, _mm256_cvtepi32_ps(v))
#else
typedef int16x8_t kq_shorts;
typedef int32x4_t kq_ints;
#define KQ_ROUND(floats) vcvtnq_s32_f32(vld1q_f32(floats))
#define KQ_JOIN(even, odd) vreinterpretq_s16_s32(vsliq_n_s32(even, odd, 16))
#define KQ_SET(v) vdupq_n_s16(v)
#define KQ_REPEAT(both) vreinterpretq_s16_s32(vdupq_n_s32(both))
#define KQ_SCALE(a, b) vqrdmulhq_s16(a, b)
#define KQ_MIN(a, b) vminq_s16(a, b)
#define KQ_MAX(a, b) vmaxq_s16(a, b)
#define KQ_MULTIPLY(a, b) vmulq_s16(a, b)
#define KQ_ZERO() vdupq_n_s32(0)
#define KQ_ADD_DOT(sum, a, b) \
    vaddq_s32(sum, vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)))
#define KQ_STORE_FLOATS(to, v) vst1q_f32(to, vcvtq_f32_s32(v))
#endif

enum { KQ_PART = sizeof(kq_ints) / sizeof(int32_t), KQ_PARTS = QC_LANES / KQ_PART };

typedef struct kq_pairs {
    kq_shorts part[KQ_PARTS];
} kq_pairs;

/* An int32 a lane. */
typedef struct kq_longs {
    kq_ints part[KQ_PARTS];
} kq_longs;

static inline kq_longs kq_longs_zero(void)
{
    kq_longs v;
    for (size_t i = 0; i < KQ_PARTS; i++)
        v.part[i] = KQ_ZERO();
    return v;
}

/* The nearest whole numbers, ties to even. */
static inline kq_longs kq_longs_nearest(const float *v)
{
    kq_longs to;
    for (size_t i = 0; i < KQ_PARTS; i++)
        to.part[i] = KQ_ROUND(v + i * KQ_PART);
    return to;
}

static inline void kq_longs_to_floats(float *to, kq_longs v)
{
    for (size_t i = 0; i < KQ_PARTS; i++)
        KQ_STORE_FLOATS(to + i * KQ_PART, v.part[i]);
}

/* Both columns, of numbers that fit 16 bits. */
static inline kq_pairs kq_pairs_join(kq_longs even, kq_longs odd)
{
    kq_pairs to;
    for (size_t i = 0; i < KQ_PARTS; i++)
        to.part[i] = KQ_JOIN(even.part[i], odd.part[i]);
    return to;
}

/* The same number everywhere. */
static inline kq_pairs kq_pairs_set(int16_t v)
{
    kq_pairs to;
    for (size_t i = 0; i < KQ_PARTS; i++)
        to.part[i] = KQ_SET(v);
    return to;
}

/* The same two numbers in every lane. */
static inline kq_pairs kq_pairs_repeat(const int16_t *two)
{
    int32_t both;
    kq_pairs to;
    memcpy(&both, two, sizeof both);
    for (size_t i = 0; i < KQ_PARTS; i++)
        to.part[i] = KQ_REPEAT(both);
    return to;
}

/* a b / 2^15, rounded to nearest, ties upward; a and b are not both -2^15. */
static inline kq_pairs kq_pairs_scale(kq_pairs a, kq_pairs b)
{
    for (size_t i = 0; i < KQ_PARTS; i++)
        a.part[i] = KQ_SCALE(a.part[i], b.part[i]);
    return a;
}

static inline kq_pairs kq_pairs_clamp(kq_pairs v, kq_pairs lowest, kq_pairs highest)
{
    for (size_t i = 0; i < KQ_PARTS; i++)
        v.part[i] = KQ_MIN(KQ_MAX(v.part[i], lowest.part[i]), highest.part[i]);
    return v;
}

/* a b, which fits 16 bits. */
static inline kq_pairs kq_pairs_multiply(kq_pairs a, kq_pairs b)
{
    for (size_t i = 0; i < KQ_PARTS; i++)
        a.part[i] = KQ_MULTIPLY(a.part[i], b.part[i]);
    return a;
}

/* sum + a b of the one column + a b of the other. */
static inline kq_longs kq_add_dot(kq_longs sum, kq_pairs a, kq_pairs b)
{
    for (size_t i = 0; i < KQ_PARTS; i++)
        sum.part[i] = KQ_ADD_DOT(sum.part[i], a.part[i], b.part[i]);
    return sum;
}

#else /* plain C */

typedef struct kq_pairs {
    int16_t v[2 * QC_LANES];
} kq_pairs;

typedef struct kq_longs {
    int32_t v[QC_LANES];
} kq_longs;

static inline kq_longs kq_longs_zero(void)
{
    return (kq_longs){{0}};
}

static inline kq_longs kq_longs_nearest(const float *v)
{
    kq_longs to;
    for (size_t l = 0; l < QC_LANES; l++)
        to.v[l] = (int32_t)qc_rne(v[l]);
    return to;
}

static inline void kq_longs_to_floats(float *to, kq_longs v)
{
    for (size_t l = 0; l < QC_LANES; l++)
        to[l] = (float)v.v[l];
}

static inline kq_pairs kq_pairs_join(kq_longs even, kq_longs odd)
{
    kq_pairs to;
    for (size_t l = 0; l < QC_LANES; l++) {
        to.v[2 * l] = (int16_t)even.v[l];
        to.v[2 * l + 1] = (int16_t)odd.v[l];
    }
    return to;
}

static inline kq_pairs kq_pairs_repeat(const int16_t *two)
{
    kq_pairs to;
    for (size_t l = 0; l < QC_LANES; l++) {
        to.v[2 * l] = two[0];
        to.v[2 * l + 1] = two[1];
    }
    return to;
}

static inline kq_pairs kq_pairs_set(int16_t v)
{
    const int16_t two[2] = {v, v};
    return kq_pairs_repeat(two);
}

static inline kq_pairs kq_pairs_scale(kq_pairs a, kq_pairs b)
{
    for (size_t i = 0; i < 2 * QC_LANES; i++)
        a.v[i] = (int16_t)((a.v[i] * b.v[i] + 0x4000) >> 15);
    return a;
}

static inline kq_pairs kq_pairs_clamp(kq_pairs v, kq_pairs lowest, kq_pairs highest)
{
    for (size_t i = 0; i < 2 * QC_LANES; i++) {
        int16_t raised = v.v[i] > lowest.v[i] ? v.v[i] : lowest.v[i];
        v.v[i] = raised < highest.v[i] ? raised : highest.v[i];
    }
    return v;
}

static inline kq_pairs kq_pairs_multiply(kq_pairs a, kq_pairs b)
{
    for (size_t i = 0; i < 2 * QC_LANES; i++)
        a.v[i] = (int16_t)(a.v[i] * b.v[i]);
    return a;
}

static inline kq_longs kq_add_dot(kq_longs sum, kq_pairs a, kq_pairs b)
{
    for (size_t l = 0; l < QC_LANES; l++)
        sum.v[l] += a.v[2 * l] * b.v[2 * l] + a.v[2 * l + 1] * b.v[2 * l + 1];
    return sum;
}

#endif

#endif
