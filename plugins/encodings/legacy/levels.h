/* iq4_nl: the step for codes that stand for uneven levels. Part of kernels.c, built once per CPU level.
 *
 * As for even codes: the largest weight is put on the last level of either end, and ever further outside; each candidate is
 * refitted by least squares, and of the f16 numbers around the best the one with the least error is taken. */
#ifndef LEGACY_LEVELS_H
#define LEGACY_LEVELS_H

#include "legacy.h"

/* The level nearest to t, the lower on a tie, and its number: nothing but selects, so that lanes become vectors. */
static inline float nearest_level(float t, const float *levels, int32_t *code)
{
    float level = levels[0];
    int32_t n = 0;
    for (int i = 0; i + 1 < LEGACY_LEVELS; i++) {
        int above = t > 0.5f * (levels[i] + levels[i + 1]); /* exact: levels are small whole numbers */
        level = above ? levels[i + 1] : level;
        n += above;
    }
    *code = n;
    return level;
}

/* The same for a row of lanes. Vectors look up the one midpoint between levels that may lie in t's eighth part of 64
 * units, and the number of levels below: a t that is rounded to the next part is past the midpoint of its own. */
static inline void nearest_levels(const float *t, const float *levels, float *level, int32_t *code)
{
#if defined(__AVX512F__)
    static const float middle[32] = {FLT_MAX, -115.5f, FLT_MAX, FLT_MAX, -93.5f,  FLT_MAX, -74.0f,  FLT_MAX,
                                     -57.0f,  FLT_MAX, -42.0f,  FLT_MAX, -28.5f,  FLT_MAX, -16.0f,  -4.5f,
                                     7.0f,    FLT_MAX, 19.0f,   31.5f,   FLT_MAX, 45.5f,   FLT_MAX, 61.0f,
                                     FLT_MAX, 79.0f,   FLT_MAX, FLT_MAX, 101.0f,  FLT_MAX, FLT_MAX, FLT_MAX};
    static const int32_t below[32] = {0, 0, 1, 1,  1,  2,  2,  3,  3,  4,  4,  5,  5,  6,  6,  7,
                                      8, 9, 9, 10, 11, 11, 12, 12, 13, 13, 14, 14, 14, 15, 15, 15};
    const __m512 v = _mm512_loadu_ps(t);
    const __m512 inside = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(-128.0f)), _mm512_set1_ps(127.0f));
    const __m512 part = _mm512_mul_ps(_mm512_add_ps(inside, _mm512_set1_ps(128.0f)), _mm512_set1_ps(0.125f));
    const __m512i at = _mm512_cvttps_epi32(part);
    const __m512 mid = _mm512_permutex2var_ps(_mm512_loadu_ps(middle), at, _mm512_loadu_ps(middle + 16));
    __m512i n = _mm512_permutex2var_epi32(_mm512_loadu_si512(below), at, _mm512_loadu_si512(below + 16));
    n = _mm512_mask_add_epi32(n, _mm512_cmp_ps_mask(inside, mid, _CMP_GT_OQ), n, _mm512_set1_epi32(1));
    _mm512_storeu_ps(level, _mm512_permutexvar_ps(n, _mm512_loadu_ps(levels)));
    _mm512_storeu_si512(code, n);
#else
    for (size_t l = 0; l < QC_LANES; l++)
        level[l] = nearest_level(t[l], levels, code + l);
#endif
}

static void try_levels(const float *x, const float *w, const float *levels, const float *step, qc_sums *sums)
{
    float s[QC_LANES], inverse[QC_LANES], rr[QC_LANES] = {0}, rq[QC_LANES] = {0}, qq[QC_LANES] = {0};
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l];
        inverse[l] = qc_inverse(step[l]);
    }
    for (size_t c = 0; c < LEGACY_COLS; c++) {
        float t[QC_LANES], level[QC_LANES];
        int32_t code[QC_LANES];
        for (size_t l = 0; l < QC_LANES; l++)
            t[l] = x[c * QC_LANES + l] * inverse[l];
        nearest_levels(t, levels, level, code);
        for (size_t l = 0; l < QC_LANES; l++) {
            float rest = x[c * QC_LANES + l] - s[l] * level[l], weighted = w[c] * rest;
            rr[l] += weighted * rest;
            rq[l] += weighted * level[l];
            qq[l] += w[c] * (level[l] * level[l]);
        }
    }
    memcpy(sums->rr, rr, sizeof rr);
    memcpy(sums->rq, rq, sizeof rq);
    memcpy(sums->qq, qq, sizeof qq);
}

/* Tries a step, and keeps the one refitted to its levels where that is better. */
static void keep_refitted(const float *x, const float *w, const float *levels, const float *step, float *best,
                          float *least)
{
    qc_sums sums;
    try_levels(x, w, levels, step, &sums);
    for (size_t l = 0; l < QC_LANES; l++) {
        float change = sums.qq[l] > 0.0f ? sums.rq[l] / sums.qq[l] : 0.0f;
        float error = sums.rr[l] - change * sums.rq[l], refitted = step[l] + change;
        int better = error < least[l];
        least[l] = better ? error : least[l];
        best[l] = better ? refitted : best[l];
    }
}

static void search_levels(const float *x, const float *w, const float *levels, const qc_search *p, int weighted,
                          float *step)
{
    float low[QC_LANES], high[QC_LANES], peak[QC_LANES], best[QC_LANES], least[QC_LANES], tried[QC_LANES];
    qc_lanes_range(x, LEGACY_COLS, low, high);
    for (size_t l = 0; l < QC_LANES; l++) {
        peak[l] = -low[l] > high[l] ? low[l] : high[l];
        peak[l] = qc_abs(peak[l]) < QC_LANES_SMALLEST ? 0.0f : peak[l];
        best[l] = 0.0f;
        least[l] = FLT_MAX;
    }
    for (uint32_t i = 0; i < 2 * p->n_tries[weighted]; i++) {
        uint32_t place = i / 2;
        float past = p->first + p->stride * (float)place;
        float end = 1.0f / (i % 2 ? levels[LEGACY_LEVELS - 1] + past : levels[0] - past);
        for (size_t l = 0; l < QC_LANES; l++)
            tried[l] = peak[l] * end;
        keep_refitted(x, w, levels, tried, best, least);
    }
    for (uint32_t i = 0; i < p->n_refits; i++) {
        memcpy(tried, best, sizeof tried);
        keep_refitted(x, w, levels, tried, best, least);
    }
    memcpy(step, best, sizeof best);
}

#endif
