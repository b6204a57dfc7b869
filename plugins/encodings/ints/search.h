/* The step, and the zero point, of a tile of rows. Part of kernels.c, built once per CPU level.
 *
 * A zero point only moves the range that codes have around it, so all types are one problem: round x to step * q with q in
 * lowest - zero .. highest - zero. Candidates put the largest weight on the last code and then ever further outside (what
 * lies outside is clipped); each is refitted by least squares, and the best is refined.
 *
 * Steps are numbers of float16 and of bfloat16 alike (8 significant bits, normal in float16): those who read a checkpoint
 * keep its scales in the model's own type. The last choice is among such numbers, by their true error.
 */
#ifndef INTS_SEARCH_H
#define INTS_SEARCH_H

#include "ints.h"

#define INTS_SMALLEST_STEP 0x1p-14f
#define INTS_LARGEST_STEP 0x1.fep15f

/* Columns that share a step: thousands of them in a channel, so they are looked at piece by piece. */
typedef struct ints_cols {
    const float *x, *importance;
    float per_importance; /* makes the largest importance 1; 0: all columns weigh the same */
    size_t n;
    size_t first, n_here; /* of the piece that is here: a group is loaded only once */
    float w[INTS_PIECE], here[INTS_PIECE * QC_LANES];
} ints_cols;

typedef struct ints_best {
    float step[QC_LANES], zero[QC_LANES], error[QC_LANES];
} ints_best;

static void ints_load_piece(ints_cols *k, size_t first)
{
    if (k->n_here > 0 && k->first == first)
        return;
    k->first = first;
    k->n_here = k->n - first < INTS_PIECE ? k->n - first : INTS_PIECE;
    for (size_t c = 0; c < k->n_here; c++)
        k->w[c] = k->per_importance > 0.0f ? qc_max(k->importance[first + c] * k->per_importance, 1e-6f) : 1.0f;
    qc_lanes_clamp(k->here, k->x + first * QC_LANES, k->n_here);
}

static void ints_begin(ints_cols *k, const float *x, const float *importance, size_t n)
{
    float largest = 0.0f;
    for (size_t c = 0; importance && c < n; c++)
        largest = qc_max(largest, importance[c]);
    k->x = x;
    k->importance = importance;
    k->per_importance = largest >= FLT_MIN ? 1.0f / largest : 0.0f;
    k->n = n;
    k->n_here = 0;
}

/* v, or -v, with its magnitude moved by `notches` steps of 8 significant bits; 0 stays 0. */
static float ints_round_step(float v, int32_t notches)
{
    float magnitude = qc_clamp(qc_abs(v), INTS_SMALLEST_STEP, INTS_LARGEST_STEP);
    uint32_t bits = qc_float_bits(magnitude);
    bits = ((bits + 0x7fffu + (bits >> 16 & 1)) >> 16) + (uint32_t)notches;
    magnitude = qc_clamp(qc_float_from_bits(bits << 16), INTS_SMALLEST_STEP, INTS_LARGEST_STEP);
    return v > 0.0f ? magnitude : v < 0.0f ? -magnitude : 0.0f;
}

/* Rounds the piece that is here to a step and a zero; adds to the sums. */
static void ints_add_piece(const ints_type *t, const ints_cols *k, const float *step, const float *zero, qc_sums *sums)
{
    float s[QC_LANES], inverse[QC_LANES], lowest[QC_LANES], highest[QC_LANES];
    float rr[QC_LANES] = {0}, rq[QC_LANES] = {0}, qq[QC_LANES] = {0};
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l];
        inverse[l] = qc_inverse(step[l]);
        lowest[l] = t->lowest - zero[l];
        highest[l] = t->highest - zero[l];
    }
    for (size_t c = 0; c < k->n_here; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float v = k->here[c * QC_LANES + l];
            float code = qc_rne(qc_clamp(v * inverse[l], lowest[l], highest[l]));
            float rest = v - s[l] * code, weighted = k->w[c] * rest;
            rr[l] += weighted * rest;
            rq[l] += weighted * code;
            qq[l] += k->w[c] * (code * code);
        }
    for (size_t l = 0; l < QC_LANES; l++) {
        sums->rr[l] += rr[l];
        sums->rq[l] += rq[l];
        sums->qq[l] += qq[l];
    }
}

/* Sums of pieces stay exact enough for rows of any length. */
static void ints_try(const ints_type *t, ints_cols *k, const float *step, const float *zero, qc_sums *sums)
{
    memset(sums, 0, sizeof *sums);
    for (size_t c = 0; c < k->n; c += INTS_PIECE) {
        ints_load_piece(k, c);
        ints_add_piece(t, k, step, zero, sums);
    }
}

/* Keeps a candidate, its step refitted to its codes, where that is better. */
static void ints_keep_refitted(const ints_type *t, ints_cols *k, const float *step, const float *zero, ints_best *b)
{
    qc_sums sums;
    ints_try(t, k, step, zero, &sums);
    for (size_t l = 0; l < QC_LANES; l++) {
        float change = sums.qq[l] > 0.0f ? sums.rq[l] / sums.qq[l] : 0.0f;
        float error = sums.rr[l] - change * sums.rq[l];
        float refitted = step[l] + change;
        int better = error < b->error[l] && (!t->has_zero || refitted >= 0.0f);
        b->error[l] = better ? error : b->error[l];
        b->step[l] = better ? refitted : b->step[l];
        b->zero[l] = better ? zero[l] : b->zero[l];
    }
}

/* The smallest and the largest weight of each row, 0 among them. */
typedef struct ints_range {
    float low[QC_LANES], high[QC_LANES];
} ints_range;

static void ints_find_range(const ints_cols *k, ints_range *r)
{
    qc_lanes_range(k->x, k->n, r->low, r->high);
    for (size_t l = 0; l < QC_LANES; l++) {
        float low = qc_clamp(r->low[l], -QC_LANES_LARGEST, 0.0f), high = qc_clamp(r->high[l], 0.0f, QC_LANES_LARGEST);
        int matters = high - low >= QC_LANES_SMALLEST;
        r->low[l] = matters ? low : 0.0f;
        r->high[l] = matters ? high : 0.0f;
    }
}

/* Without a zero: the largest magnitude goes to either end. */
static void ints_search_symmetric(const ints_type *t, ints_cols *k, const ints_range *r, ints_best *b)
{
    float step[QC_LANES], zero[QC_LANES] = {0}, past = t->first, stride = t->stride;
    const uint32_t n_tries = t->n_tries[k->per_importance > 0.0f];
    for (uint32_t i = 0; i < n_tries; i++, past += stride, stride *= t->growth)
        for (int side = 0; side < 2; side++) {
            float end = 1.0f / (side ? t->highest + past : t->lowest - past);
            for (size_t l = 0; l < QC_LANES; l++)
                step[l] = (-r->low[l] > r->high[l] ? r->low[l] : r->high[l]) * end;
            ints_keep_refitted(t, k, step, zero, b);
        }
}

static float ints_round_zero(const ints_type *t, float zero)
{
    return qc_rne(qc_clamp(zero, t->lowest, t->highest));
}

/* With one: what is clipped lies at the upper end, at both, or at the lower. */
static void ints_search_zero(const ints_type *t, ints_cols *k, const ints_range *r, ints_best *b)
{
    float step[QC_LANES], zero[QC_LANES], past = t->first, stride = t->stride;
    const uint32_t n_tries = t->n_tries[k->per_importance > 0.0f];
    for (uint32_t i = 0; i < n_tries; i++, past += stride, stride *= t->growth)
        for (int where = 0; where < 3; where++) {
            float end = t->highest + 2.0f * past, below = 0.5f * (float)where * (end - t->highest);
            for (size_t l = 0; l < QC_LANES; l++) {
                step[l] = (r->high[l] - r->low[l]) / end;
                zero[l] = ints_round_zero(t, -r->low[l] * qc_inverse(step[l]) - below);
            }
            ints_keep_refitted(t, k, step, zero, b);
        }
}

/* Rounds to the best once more, and with a zero to those beside it. */
static void ints_refine(const ints_type *t, ints_cols *k, ints_best *b)
{
    float step[QC_LANES], zero[QC_LANES];
    const int widest = t->has_zero ? 1 : 0;
    for (int round = 0; round < 2; round++)
        for (int aside = -widest; aside <= widest; aside++) {
            for (size_t l = 0; l < QC_LANES; l++) {
                step[l] = b->step[l];
                zero[l] = t->has_zero ? ints_round_zero(t, b->zero[l] + (float)aside) : 0.0f;
            }
            ints_keep_refitted(t, k, step, zero, b);
        }
}

/* The steps that can be stored, nearest to the best: the one with the least error. */
static void ints_store(const ints_type *t, ints_cols *k, const ints_best *b, float *step)
{
    float tried[QC_LANES], least[QC_LANES];
    qc_sums sums;
    for (size_t l = 0; l < QC_LANES; l++)
        least[l] = FLT_MAX;
    for (int32_t i = 0; i <= 2 * t->n_notches; i++) {
        int32_t notches = i % 2 ? -(i + 1) / 2 : i / 2; /* 0 -1 1 -2 2 … */
        for (size_t l = 0; l < QC_LANES; l++)
            tried[l] = ints_round_step(b->step[l], notches);
        ints_try(t, k, tried, b->zero, &sums);
        for (size_t l = 0; l < QC_LANES; l++) {
            int better = sums.rr[l] < least[l];
            step[l] = better ? tried[l] : step[l];
            least[l] = better ? sums.rr[l] : least[l];
        }
    }
}

static void ints_search(const ints_type *t, ints_cols *k, float *step, float *zero)
{
    ints_range range;
    ints_best best;
    ints_find_range(k, &range);
    for (size_t l = 0; l < QC_LANES; l++) {
        best.step[l] = best.zero[l] = 0.0f;
        best.error[l] = FLT_MAX;
    }
    if (t->has_zero)
        ints_search_zero(t, k, &range, &best);
    else
        ints_search_symmetric(t, k, &range, &best);
    ints_refine(t, k, &best);
    ints_store(t, k, &best, step);
    memcpy(zero, best.zero, sizeof best.zero);
}

#endif
