/* q8_0 row by row, without tiles, where there is AVX-512: nothing is searched, so that moving rows into lanes would take
 * most of the time. The bytes are those that tiles give. Part of kernels.c, built once per CPU level. */
#ifndef LEGACY_Q8_ROWS_H
#define LEGACY_Q8_ROWS_H

#include "legacy.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define LEGACY_Q8_ROWS 1

/* The weight of a row's block that has the largest magnitude; of two, the positive one. */
static inline float peak_of_row(__m512 a, __m512 b)
{
    const __m512 most = _mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b));
    const float peak = _mm512_reduce_max_ps(most);
    const __m512 at = _mm512_set1_ps(peak);
    return _mm512_cmpeq_ps_mask(a, at) | _mm512_cmpeq_ps_mask(b, at) ? peak : -peak;
}

/* 16 bytes of codes -128 .. 127, and in *off how far the products were from whole numbers. */
static inline __m128i round_products(__m512 x, __m512 inverse, __m512 *off)
{
    __m512 p = _mm512_mul_ps(x, inverse);
    p = _mm512_max_ps(_mm512_min_ps(p, _mm512_set1_ps(127.0f)), _mm512_set1_ps(-128.0f));
    const __m512 whole = _mm512_roundscale_ps(p, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    *off = _mm512_abs_ps(_mm512_sub_ps(p, whole));
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(whole));
}

/* As qc_lanes_codes does: where a product lies near the middle of two numbers, the quotient decides. */
static inline void encode_q8_row(uint8_t *p, const float *x, float step, float inverse)
{
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    __m512 off_a, off_b;
    __m128i code_a = round_products(a, _mm512_set1_ps(inverse), &off_a);
    __m128i code_b = round_products(b, _mm512_set1_ps(inverse), &off_b);
    const __m512 sure = _mm512_set1_ps(0.5f - 0x1p-13f);
    if (_mm512_cmp_ps_mask(_mm512_max_ps(off_a, off_b), sure, _CMP_GT_OQ)) {
        const __m512 divisor = _mm512_set1_ps(step != 0.0f ? step : 1.0f), one = _mm512_set1_ps(1.0f);
        code_a = round_products(_mm512_div_ps(a, divisor), one, &off_a);
        code_b = round_products(_mm512_div_ps(b, divisor), one, &off_b);
    }
    _mm_storeu_si128((__m128i *)(void *)p, code_a);
    _mm_storeu_si128((__m128i *)(void *)(p + 16), code_b);
}

/* QC_LANES blocks at once, so that their steps are found in vectors all the same. */
static void encode_q8_blocks(uint8_t *dst, const float *x, size_t n)
{
    const size_t block_bytes = 2 + LEGACY_COLS;
    float step[QC_LANES] = {0}, inverse[QC_LANES];
    uint16_t half[QC_LANES];
    for (size_t i = 0; i < n; i++)
        step[i] = peak_of_row(_mm512_loadu_ps(x + i * LEGACY_COLS), _mm512_loadu_ps(x + i * LEGACY_COLS + 16));
    for (size_t i = 0; i < QC_LANES; i++) {
        step[i] = qc_round_f16(step[i] / -128.0f);
        inverse[i] = qc_inverse(step[i]);
        half[i] = qc_f16_from_f32(step[i]);
    }
    for (size_t i = 0; i < n; i++, dst += block_bytes, x += LEGACY_COLS) {
        qc_store_le16(dst, half[i]);
        encode_q8_row(dst + 2, x, step[i], inverse[i]);
    }
}

static void encode_q8_rows(uint8_t *dst, const float *x, size_t n_blocks)
{
    for (size_t i = 0, n; i < n_blocks; i += n) {
        n = n_blocks - i < QC_LANES ? n_blocks - i : QC_LANES;
        encode_q8_blocks(dst + i * (2 + LEGACY_COLS), x + i * LEGACY_COLS, n);
    }
}

#endif

#endif
