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

static void try_levels(const float *x, const float *w, const float *levels, const float *step, qc_sums *sums)
{
    float s[QC_LANES], inverse[QC_LANES], rr[QC_LANES] = {0}, rq[QC_LANES] = {0}, qq[QC_LANES] = {0};
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l];
        inverse[l] = qc_inverse(step[l]);
    }
    for (size_t c = 0; c < LEGACY_COLS; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            int32_t code;
            float v = x[c * QC_LANES + l], level = nearest_level(v * inverse[l], levels, &code);
            float rest = v - s[l] * level, weighted = w[c] * rest;
            rr[l] += weighted * rest;
            rq[l] += weighted * level;
            qq[l] += w[c] * (level * level);
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
