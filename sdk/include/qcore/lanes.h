/* Arithmetic on the QC_LANES rows of a tile, and the least-squares scale search that block encodings share.
 *
 * Everything is plain C over `for (l = 0; l < QC_LANES; l++)` on [col][lane] arrays: compilers turn such a loop into
 * vector instructions, lanes never mix, and the same bits come out at every vector width (-ffp-contract=off). Choices
 * are selects, not branches, so that lanes may differ.
 *
 * Search: for one sub-block (n columns that share a step and an offset) minimize  sum w (x - (step q + offset))^2  over
 * step, offset and codes q. Each candidate is tried by rounding to it, and refitted in closed form from sums of the
 * residuals r = x - (step q + offset): small numbers, so float32 is enough.
 */
#ifndef QCORE_LANES_H
#define QCORE_LANES_H

#include "qcore/encoding.h"
#include "qcore/number.h"
#include <float.h>

/* Larger weights saturate every block encoding (65504 * 127 * 127 < 2^30); their squares still fit a float32. */
#define QC_LANES_LARGEST 0x1p30f
/* Smaller weights round to zero in every encoding with f16 scales. */
#define QC_LANES_SMALLEST 0x1p-26f

enum { QC_MAX_SUB = 32 }; /* columns of a sub-block that qc_search_affine can take */

static inline float qc_min(float a, float b)
{
    return a < b ? a : b;
}

static inline float qc_max(float a, float b)
{
    return a > b ? a : b;
}

/* Round to nearest even as a float, |v| < 2^22. */
static inline float qc_rne(float v)
{
    return (v + 12582912.0f) - 12582912.0f;
}

static inline float qc_clamp(float v, float lowest, float highest)
{
    return qc_min(qc_max(v, lowest), highest);
}

static inline float qc_abs(float v)
{
    return v < 0.0f ? -v : v;
}

/* The nearest finite f16, as a float. */
static inline float qc_round_f16(float v)
{
    float magnitude = qc_min(qc_abs(v), 65504.0f);
    uint32_t bits = qc_float_bits(magnitude);
    float normal = qc_float_from_bits((bits + 0xfffu + (bits >> 13 & 1)) & 0xffffe000u);
    float tiny = (qc_min(magnitude, 0x1p-14f) + 0.5f) - 0.5f; /* multiples of 2^-24 */
    float rounded = magnitude < 0x1p-14f ? tiny : normal;
    return v < 0.0f ? -rounded : rounded;
}

/* The f16 that lies `ulps` away from an f16. */
static inline float qc_next_f16(float v, int ulps)
{
    float ulp = qc_max(qc_float_from_bits(qc_float_bits(v) & 0x7f800000u) * 0x1p-10f, 0x1p-24f);
    return qc_round_f16(v + (float)ulps * ulp);
}

/* 1 / v, and 0 for 0. */
static inline float qc_inverse(float v)
{
    return v != 0.0f ? 1.0f / v : 0.0f;
}

/* Weights of the columns: importance relative to its largest, never quite 0, so that a column nobody cares for still
 * breaks ties; all 1 without importance, or where all of it is 0. Returns whether importance counts. */
static inline int qc_lanes_weights(float *w, const float *importance, size_t n)
{
    float largest = 0.0f;
    for (size_t c = 0; importance && c < n; c++)
        largest = qc_max(largest, importance[c]);
    for (size_t c = 0; c < n; c++)
        w[c] = importance && largest > 0.0f ? qc_max(importance[c] / largest, 1e-6f) : 1.0f;
    return largest > 0.0f;
}

static inline void qc_lanes_clamp(float *to, const float *x, size_t n)
{
    for (size_t i = 0; i < n * QC_LANES; i++)
        to[i] = qc_clamp(x[i], -QC_LANES_LARGEST, QC_LANES_LARGEST);
}

/* Per lane: the smallest and largest of n columns. Many columns are compared with as many, then half of these with the
 * other half: long loops, which compilers turn into vectors, where one column at a time stays scalar. */
static inline void qc_lanes_range(const float *x, size_t n, float *smallest, float *largest)
{
    float lo[QC_MAX_SUB / 2 * QC_LANES], hi[QC_MAX_SUB / 2 * QC_LANES];
    size_t width = n < QC_MAX_SUB / 2 ? n : QC_MAX_SUB / 2;
    memcpy(lo, x, width * QC_LANES * sizeof *lo);
    memcpy(hi, x, width * QC_LANES * sizeof *hi);
    for (size_t c = width; c < n; c += width)
        for (size_t i = 0; i < (n - c < width ? n - c : width) * QC_LANES; i++) {
            lo[i] = qc_min(lo[i], x[c * QC_LANES + i]);
            hi[i] = qc_max(hi[i], x[c * QC_LANES + i]);
        }
    for (size_t half; width > 1; width = half) {
        half = (width + 1) / 2;
        for (size_t i = 0; i < (width - half) * QC_LANES; i++) {
            lo[i] = qc_min(lo[i], lo[i + half * QC_LANES]);
            hi[i] = qc_max(hi[i], hi[i + half * QC_LANES]);
        }
    }
    memcpy(smallest, lo, QC_LANES * sizeof *lo);
    memcpy(largest, hi, QC_LANES * sizeof *hi);
}

/* Sums over the columns of one sub-block rounded to one grid: rr = sum w r r, rq = sum w r q, r = sum w r, … Without an
 * offset only rr, rq and qq are filled. */
typedef struct qc_sums {
    float rr[QC_LANES], rq[QC_LANES], qq[QC_LANES], r[QC_LANES], q[QC_LANES];
} qc_sums;

static inline void qc_try_step(const float *x, const float *w, size_t n, float lowest, float highest, const float *step,
                               qc_sums *sums)
{
    float s[QC_LANES], inverse[QC_LANES], rr[QC_LANES] = {0}, rq[QC_LANES] = {0}, qq[QC_LANES] = {0};
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l];
        inverse[l] = qc_inverse(step[l]);
    }
    for (size_t c = 0; c < n; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float v = x[c * QC_LANES + l];
            float code = qc_rne(qc_clamp(v * inverse[l], lowest, highest));
            float rest = v - s[l] * code, weighted = w[c] * rest;
            rr[l] += weighted * rest;
            rq[l] += weighted * code;
            qq[l] += w[c] * (code * code);
        }
    memcpy(sums->rr, rr, sizeof rr);
    memcpy(sums->rq, rq, sizeof rq);
    memcpy(sums->qq, qq, sizeof qq);
}

static inline void qc_try_affine(const float *x, const float *w, size_t n, float highest, const float *step,
                                 const float *offset, qc_sums *sums)
{
    float s[QC_LANES], o[QC_LANES], inverse[QC_LANES];
    float rr[QC_LANES] = {0}, rq[QC_LANES] = {0}, qq[QC_LANES] = {0}, r[QC_LANES] = {0}, q[QC_LANES] = {0};
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l];
        o[l] = offset[l];
        inverse[l] = qc_inverse(step[l]);
    }
    for (size_t c = 0; c < n; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float v = x[c * QC_LANES + l] - o[l];
            float code = qc_rne(qc_clamp(v * inverse[l], 0.0f, highest));
            float rest = v - s[l] * code, weighted = w[c] * rest, weighted_code = w[c] * code;
            rr[l] += weighted * rest;
            rq[l] += weighted * code;
            r[l] += weighted;
            qq[l] += weighted_code * code;
            q[l] += weighted_code;
        }
    memcpy(sums->rr, rr, sizeof rr);
    memcpy(sums->rq, rq, sizeof rq);
    memcpy(sums->qq, qq, sizeof qq);
    memcpy(sums->r, r, sizeof r);
    memcpy(sums->q, q, sizeof q);
}

/* Nearest codes and values of n columns that share a grid: the rule of qc_snap_nearest, for codes without levels. */
static inline void qc_lanes_snap(const float *__restrict x, size_t n, float lowest, float highest,
                                 const float *__restrict step, const float *__restrict offset, float *__restrict value,
                                 int32_t *__restrict code)
{
    for (size_t c = 0; c < n; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            /* In bits: of a choice, compilers would make a branch around the division. */
            const uint32_t counts = step[l] != 0.0f ? UINT32_MAX : 0;
            const uint32_t rest = qc_float_bits(x[c * QC_LANES + l] - offset[l]) & counts;
            const float divisor = step[l] != 0.0f ? step[l] : 1.0f;
            const float nearest = qc_rne(qc_clamp(qc_float_from_bits(rest) / divisor, lowest, highest));
            code[c * QC_LANES + l] = (int32_t)nearest;
            value[c * QC_LANES + l] = step[l] * nearest + offset[l];
        }
}

/* Adding this rounds a number of magnitude below 2^22 (qc_rne) and leaves the whole number in the last bits. */
#define QC_LANES_SHIFT 12582912.0f /* 1.5 * 2^23 */

static inline void qc_lanes_last_bytes(uint8_t *code, const float *shifted, size_t n, int32_t lowest)
{
    for (size_t i = 0; i < n * QC_LANES; i++)
        code[i] = (uint8_t)(qc_float_bits(shifted[i]) - (uint32_t)lowest);
}

/* farthest: square of the largest distance from a whole number, per lane. */
static inline void qc_lanes_round_products(const float *x, size_t n, float lowest, float highest, const float *inverse,
                                           const float *offset, float *shifted, float *farthest)
{
    float factor[QC_LANES], o[QC_LANES], far[QC_LANES] = {0};
    memcpy(factor, inverse, sizeof factor);
    memcpy(o, offset, sizeof o);
    for (size_t c = 0; c < n; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float p = qc_clamp((x[c * QC_LANES + l] - o[l]) * factor[l], lowest, highest);
            float rounded = p + QC_LANES_SHIFT, off = p - (rounded - QC_LANES_SHIFT);
            shifted[c * QC_LANES + l] = rounded;
            far[l] = qc_max(off * off, far[l]);
        }
    memcpy(farthest, far, sizeof far);
}

static inline void qc_lanes_round_quotients(const float *x, size_t n, float lowest, float highest, const float *step,
                                            const float *offset, float *shifted)
{
    for (size_t c = 0; c < n; c++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float t = (x[c * QC_LANES + l] - offset[l]) / (step[l] != 0.0f ? step[l] : 1.0f);
            shifted[c * QC_LANES + l] = qc_clamp(step[l] != 0.0f ? t : 0.0f, lowest, highest) + QC_LANES_SHIFT;
        }
}

/* The codes alone of a block of n_subs sub-blocks, counted from `lowest`, as bytes [col][lane]: those of qc_lanes_snap,
 * without dividing each weight. Steps are 0 or of magnitude 2^-100 .. 2^100, offsets below 2^100, codes at most 128;
 * sub_cols at most QC_MAX_SUB, n_subs at most QC_MAX_SUBS.
 *
 * Let y = x - offset, rounded: finite. The quotient t = fl(y / step) and the product p = fl(y * fl(1 / step)) are
 * y / step within 1 and within 2 relative errors of 2^-24, so that |p - t| < 2^-22 |t|. Let m be the largest magnitude
 * of a code, plus 1: where |t| > m, both are clamped to the same end. Elsewhere rounding p gives the code of t unless
 * half of an odd number lies between them; then p is further than 1/2 - 2^-22 m from the whole number it is rounded to.
 * Sub-blocks where that is so of any (twice the distance, for the rounding of squares) are divided after all. */
enum { QC_MAX_SUBS = 16 };

static inline void qc_lanes_codes(const float *x, size_t n_subs, size_t sub_cols, float lowest, float highest,
                                  const float *step, const float *offset, uint8_t *code)
{
    const size_t n = sub_cols * QC_LANES;
    const float sure = 0.5f - 0x1p-21f * (qc_max(highest, -lowest) + 1.0f);
    float shifted[QC_MAX_SUB * QC_LANES], inverse[QC_MAX_SUBS * QC_LANES], farthest[QC_MAX_SUBS * QC_LANES];
    for (size_t i = 0; i < n_subs * QC_LANES; i++)
        inverse[i] = qc_inverse(step[i]);
    for (size_t j = 0, at = 0; j < n_subs; j++, at += QC_LANES) {
        qc_lanes_round_products(x + j * n, sub_cols, lowest, highest, inverse + at, offset + at, shifted,
                                farthest + at);
        qc_lanes_last_bytes(code + j * n, shifted, sub_cols, (int32_t)lowest);
    }
    uint32_t unsure = 0;
    for (size_t i = 0; i < n_subs * QC_LANES; i++)
        unsure |= farthest[i] > sure * sure ? 1u << i / QC_LANES : 0;
    for (size_t j = 0, at = 0; unsure >> j; j++, at += QC_LANES)
        if (unsure >> j & 1) {
            qc_lanes_round_quotients(x + j * n, sub_cols, lowest, highest, step + at, offset + at, shifted);
            qc_lanes_last_bytes(code + j * n, shifted, sub_cols, (int32_t)lowest);
        }
}

/* Values of codes in one row: step * (byte + lowest) + offset, rounded twice; n is a multiple of 8. As many at once as are
 * often stored at once before: then loads need not wait. */
static inline void qc_values_from_bytes(float *x, const uint8_t *code, size_t n, int32_t lowest, float step,
                                        float offset)
{
    size_t c = 0;
#if defined(__AVX512F__)
    for (; c + 16 <= n; c += 16) {
        __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(code + c)));
        __m512 level = _mm512_cvtepi32_ps(_mm512_add_epi32(at, _mm512_set1_epi32(lowest)));
        __m512 scaled = _mm512_mul_ps(_mm512_set1_ps(step), level);
        _mm512_storeu_ps(x + c, _mm512_add_ps(scaled, _mm512_set1_ps(offset)));
    }
#endif
    for (; c < n; c += 8)
        for (size_t i = c; i < c + 8; i++)
            x[i] = step * (float)((int32_t)code[i] + lowest) + offset;
}

/* What to try for a sub-block: the largest magnitude is put on code `end + first`, `end + first + stride`, … where `end`
 * is the last code of its side; then the best is refitted a few times. */
typedef struct qc_search {
    float lowest, highest; /* codes */
    float first, stride;
    uint32_t n_tries[2]; /* without importance; with it, where clipping what matters little pays */
    uint32_t n_refits;
    uint32_t n_offsets; /* affine only: offsets tried, from the smallest weight towards 0 … */
    float shrink; /* … each nearer by this share of the range */
} qc_search;

/* The step (of either sign) that fits the columns best without an offset. With codes q of a candidate, the best step is
 * A / B and the error is  sum w x^2 - A^2 / B,  A = sum w x q, B = sum w q^2. */
static inline void qc_search_step(const float *x, const float *w, size_t n, const qc_search *p, int weighted,
                                  float *step)
{
    float smallest[QC_LANES], largest[QC_LANES], inverse_peak[QC_LANES], best[QC_LANES], most[QC_LANES];
    const uint32_t n_tries = 2 * p->n_tries[weighted]; /* on either side */
    qc_lanes_range(x, n, smallest, largest);
    for (size_t l = 0; l < QC_LANES; l++) {
        float peak = -smallest[l] > largest[l] ? smallest[l] : largest[l];
        inverse_peak[l] = qc_abs(peak) < QC_LANES_SMALLEST ? 0.0f : 1.0f / peak;
        best[l] = most[l] = 0.0f;
    }
    for (uint32_t i = 0; i < n_tries + p->n_refits; i++) {
        uint32_t place = i / 2;
        float past = p->first + p->stride * (float)place;
        float end = i & 1 ? p->highest + past : p->lowest - past;
        float inverse[QC_LANES], xq[QC_LANES] = {0}, qq[QC_LANES] = {0};
        for (size_t l = 0; l < QC_LANES; l++)
            inverse[l] = i < n_tries ? inverse_peak[l] * end : qc_inverse(best[l]);
        for (size_t c = 0; c < n; c++)
            for (size_t l = 0; l < QC_LANES; l++) {
                float v = x[c * QC_LANES + l];
                float code = qc_rne(qc_clamp(v * inverse[l], p->lowest, p->highest));
                float wq = w[c] * code;
                xq[l] += wq * v;
                qq[l] += wq * code;
            }
        for (size_t l = 0; l < QC_LANES; l++) {
            float refitted = qq[l] > 0.0f ? xq[l] / qq[l] : 0.0f;
            float gain = refitted * xq[l];
            int better = gain > most[l];
            most[l] = better ? gain : most[l];
            best[l] = better ? refitted : best[l];
        }
    }
    memcpy(step, best, sizeof best);
}

#endif
