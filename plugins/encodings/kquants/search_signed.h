/* The scales of a super-block without mins, for a tile of rows: README.md tells the idea. Part of kernels.c.
 *
 * Weights of a sub-block are whole numbers in units of its largest / 32767, its sign included: a candidate step, a
 * rounding of all weights to it, and the sums that tell its error cost two multiplications and two products a weight,
 * and 32 weights are one vector.
 */
#ifndef KQUANTS_SEARCH_SIGNED_H
#define KQUANTS_SEARCH_SIGNED_H

#include "kquants.h"
#include "pairs.h"

enum { KQ_SIGNED_SUB = 16, KQ_SIGNED_PAIRS = KQ_SIGNED_SUB / 2, KQ_SIGNED_SUBS = KQ_COLS / KQ_SIGNED_SUB };
enum { KQ_SIGNED_STARTS = 32 };
enum { KQ_ONE_BITS = 15 }; /* kq_pairs_scale divides by this power of 2 */

/* What of a type and of its importance the search needs. */
typedef struct kq_signed {
    const kq_type *type;
    int weight_bits; /* of the importances: times a code they fit 16 bits */
    int fraction; /* bits after the point of weights in codes: four times the last code fits 16 bits */
    uint32_t n_starts;
    int16_t start[KQ_SIGNED_STARTS]; /* codes a unit that are tried for each sub-block */
} kq_signed;

/* One sub-block. With codes q, error = sum w x^2 - step (2 xq - step qq), all in units. */
typedef struct kq_signed_sub {
    kq_pairs x[KQ_SIGNED_PAIRS], wx[KQ_SIGNED_PAIRS];
    int16_t w[KQ_SIGNED_SUB], wide[KQ_SIGNED_SUB]; /* wide: times 2^(15 - weight_bits) */
    float weight; /* what w is a multiple of */
    float unit[QC_LANES], per_unit[QC_LANES];
    float aim[QC_LANES]; /* the step wanted, in units */
    float xq[QC_LANES], qq[QC_LANES]; /* sum w x q, sum w q q of the codes chosen last */
} kq_signed_sub;

static kq_signed kq_signed_of(const kq_type *t, int weighted)
{
    const qc_search *search = &t->search;
    kq_signed p = {.type = t, .weight_bits = KQ_ONE_BITS, .n_starts = 2 * search->n_tries[weighted]};
    for (int32_t room = (int32_t)-search->lowest; room > 1; room /= 2)
        p.weight_bits--;
    p.fraction = p.weight_bits - 2;
    for (uint32_t i = 0; i < p.n_starts; i++) {
        const uint32_t place = i / 2;
        float past = search->first + search->stride * (float)place;
        float end = i % 2 ? search->highest + past : search->lowest - past;
        float codes_a_unit = end * (float)(1 << p.fraction) * (32768.0f / 32767.0f);
        p.start[i] = (int16_t)qc_rne(qc_clamp(codes_a_unit, -32767.0f, 32767.0f));
    }
    return p;
}

static inline void kq_signed_units(kq_signed_sub *b, const float *x)
{
    float smallest[QC_LANES], largest[QC_LANES];
    qc_lanes_range(x, KQ_SIGNED_SUB, smallest, largest);
    for (size_t l = 0; l < QC_LANES; l++) {
        float peak = -smallest[l] > largest[l] ? smallest[l] : largest[l];
        int counts = qc_abs(peak) >= QC_LANES_SMALLEST;
        float unit = qc_clamp(peak, -QC_LANES_LARGEST, QC_LANES_LARGEST) * (1.0f / 32767.0f);
        b->unit[l] = counts ? unit : 0.0f;
        b->per_unit[l] = counts ? 32767.0f / peak : 0.0f;
    }
}

static inline void kq_signed_weights(const kq_signed *p, kq_signed_sub *b, const float *w)
{
    float largest = 0.0f;
    for (size_t c = 0; c < KQ_SIGNED_SUB; c++)
        largest = qc_max(largest, w[c]);
    float last = (float)((1 << p->weight_bits) - 1), scale = last / largest;
    for (size_t c = 0; c < KQ_SIGNED_SUB; c++) {
        b->w[c] = (int16_t)qc_rne(w[c] * scale);
        b->wide[c] = (int16_t)(b->w[c] * (1 << (KQ_ONE_BITS - p->weight_bits)));
    }
    b->weight = largest / last;
}

static inline void kq_signed_load(const kq_signed *p, int weighted, kq_signed_sub *b, const float *x, const float *w)
{
    kq_signed_units(b, x);
    b->weight = 1.0f;
    if (weighted)
        kq_signed_weights(p, b, w);
    for (size_t i = 0; i < KQ_SIGNED_PAIRS; i++) {
        float even[QC_LANES], odd[QC_LANES];
        for (size_t l = 0; l < QC_LANES; l++) {
            even[l] = x[2 * i * QC_LANES + l] * b->per_unit[l];
            odd[l] = x[(2 * i + 1) * QC_LANES + l] * b->per_unit[l];
        }
        b->x[i] = kq_pairs_join(kq_longs_nearest(even), kq_longs_nearest(odd));
        if (weighted)
            b->wx[i] = kq_pairs_scale(b->x[i], kq_pairs_repeat(&b->wide[2 * i]));
    }
}

/* Rounds to a candidate step, given as codes a unit in 2^-(15 + fraction). */
static inline void kq_signed_try(const kq_signed *p, int weighted, const kq_signed_sub *b, kq_pairs codes_a_unit,
                                 float *xq, float *qq)
{
    const int16_t first = (int16_t)((int)p->type->search.lowest * (1 << p->fraction));
    const int16_t last = (int16_t)((int)p->type->search.highest * (1 << p->fraction));
    const int16_t whole = (int16_t)(1 << (KQ_ONE_BITS - p->fraction));
    const kq_pairs lowest = kq_pairs_set(first), highest = kq_pairs_set(last);
    const kq_pairs to_whole = kq_pairs_set(whole);
    kq_longs sum_xq = kq_longs_zero(), sum_qq = kq_longs_zero();
    for (size_t i = 0; i < KQ_SIGNED_PAIRS; i++) {
        kq_pairs code = kq_pairs_scale(kq_pairs_clamp(kq_pairs_scale(b->x[i], codes_a_unit), lowest, highest),
                                       to_whole);
        if (weighted) {
            sum_xq = kq_add_dot(sum_xq, b->wx[i], code);
            sum_qq = kq_add_dot(sum_qq, kq_pairs_multiply(kq_pairs_repeat(&b->w[2 * i]), code), code);
        } else {
            sum_xq = kq_add_dot(sum_xq, b->x[i], code);
            sum_qq = kq_add_dot(sum_qq, code, code);
        }
    }
    kq_longs_to_floats(xq, sum_xq);
    kq_longs_to_floats(qq, sum_qq);
}

/* wx was rounded to units of 2^weight_bits. */
static inline float kq_signed_xq_unit(const kq_signed *p, int weighted)
{
    return weighted ? (float)(1 << p->weight_bits) : 1.0f;
}

/* The step that fits a sub-block best, in units: its largest weight is put on several codes of either sign. With the
 * best step for given codes, xq / qq, the error falls by xq^2 / qq. */
static inline void kq_signed_aim(const kq_signed *p, int weighted, kq_signed_sub *b)
{
    const float unit = kq_signed_xq_unit(p, weighted);
    float best_xq[QC_LANES] = {0}, best_qq[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++)
        best_qq[l] = 1.0f;
    for (uint32_t i = 0; i < p->n_starts; i++) {
        float xq[QC_LANES], qq[QC_LANES];
        kq_signed_try(p, weighted, b, kq_pairs_set(p->start[i]), xq, qq);
        for (size_t l = 0; l < QC_LANES; l++) {
            int better = xq[l] * xq[l] * best_qq[l] > best_xq[l] * best_xq[l] * qq[l];
            best_xq[l] = better ? xq[l] : best_xq[l];
            best_qq[l] = better ? qq[l] : best_qq[l];
        }
    }
    for (size_t l = 0; l < QC_LANES; l++) {
        b->xq[l] = best_xq[l] * unit;
        b->qq[l] = best_qq[l];
        b->aim[l] = b->xq[l] / best_qq[l];
    }
}

/* d such that the largest step is the last scale. */
static void kq_signed_block_scale(const kq_type *t, const kq_signed_sub *subs, uint32_t n_subs, float *d)
{
    float peak[QC_LANES] = {0};
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float step = subs[j].aim[l] * subs[j].unit[l];
            peak[l] = qc_abs(step) > qc_abs(peak[l]) ? step : peak[l];
        }
    for (size_t l = 0; l < QC_LANES; l++)
        d[l] = qc_round_f16(peak[l] / t->scale_lowest);
}

/* The integer scale of one sub-block: of the two on either side of the aim, the one with the smaller error. */
static inline void kq_signed_round(const kq_signed *p, int weighted, kq_signed_sub *b, const float *d,
                                   const float *per_d, float *scale)
{
    const kq_type *t = p->type;
    const float one = (float)(1 << KQ_ONE_BITS << p->fraction), unit = kq_signed_xq_unit(p, weighted);
    float wanted[QC_LANES], least[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++)
        wanted[l] = qc_clamp(b->aim[l] * b->unit[l] * per_d[l], -256.0f, 256.0f);
    for (int i = 0; i < 2; i++) {
        float tried[QC_LANES], step[QC_LANES], codes_a_unit[QC_LANES], xq[QC_LANES], qq[QC_LANES];
        for (size_t l = 0; l < QC_LANES; l++) {
            float nearest = qc_rne(wanted[l]);
            float other = wanted[l] > nearest ? nearest + 1.0f : nearest - 1.0f;
            tried[l] = qc_clamp(i ? other : nearest, t->scale_lowest, t->scale_highest);
            step[l] = d[l] * tried[l] * b->per_unit[l];
            codes_a_unit[l] = qc_clamp(one * qc_inverse(step[l]), -32767.0f, 32767.0f);
        }
        kq_longs k = kq_longs_nearest(codes_a_unit);
        kq_signed_try(p, weighted, b, kq_pairs_join(k, k), xq, qq);
        for (size_t l = 0; l < QC_LANES; l++) {
            float error = step[l] * (step[l] * qq[l] - 2.0f * (xq[l] * unit));
            int better = i == 0 || error < least[l];
            least[l] = better ? error : least[l];
            scale[l] = better ? tried[l] : scale[l];
            b->xq[l] = better ? xq[l] * unit : b->xq[l];
            b->qq[l] = better ? qq[l] : b->qq[l];
        }
    }
}

/* d by least squares for the codes and scales found. */
static void kq_signed_refit(const kq_signed_sub *subs, uint32_t n_subs, kq_state *s)
{
    float xq[QC_LANES] = {0}, qq[QC_LANES] = {0};
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float weighted = subs[j].weight * s->scale[j][l];
            xq[l] += weighted * (subs[j].unit[l] * subs[j].xq[l]);
            qq[l] += weighted * (s->scale[j][l] * subs[j].qq[l]);
        }
    for (size_t l = 0; l < QC_LANES; l++)
        s->d[l] = qq[l] > 0.0f ? qc_round_f16(xq[l] / qq[l]) : s->d[l];
}

static inline void kq_signed_fit(const kq_signed *p, int weighted, kq_state *s, const float *x, const float *w,
                                 uint32_t sub, uint32_t n_subs)
{
    kq_signed_sub subs[KQ_SIGNED_SUBS];
    float per_d[QC_LANES];
    for (uint32_t i = 0; i < n_subs; i++) {
        size_t col = (size_t)(sub + i) * KQ_SIGNED_SUB;
        kq_signed_load(p, weighted, &subs[i], x + col * QC_LANES, w + col);
        kq_signed_aim(p, weighted, &subs[i]);
    }
    if (n_subs == KQ_SIGNED_SUBS)
        kq_signed_block_scale(p->type, subs, n_subs, s->d);
    for (size_t l = 0; l < QC_LANES; l++)
        per_d[l] = qc_inverse(s->d[l]);
    for (uint32_t i = 0; i < n_subs; i++)
        kq_signed_round(p, weighted, &subs[i], s->d, per_d, s->scale[sub + i]);
    if (n_subs == KQ_SIGNED_SUBS)
        kq_signed_refit(subs, n_subs, s);
}

/* Fits n_subs sub-blocks from `sub`: with all of them d too. */
static void kq_fit_signed(const kq_type *t, kq_state *s, const float *x, const float *importance, uint32_t sub,
                          uint32_t n_subs)
{
    float w[KQ_COLS];
    const int weighted = qc_lanes_weights(w, importance, KQ_COLS);
    const kq_signed p = kq_signed_of(t, weighted);
    if (weighted)
        kq_signed_fit(&p, 1, s, x, w, sub, n_subs);
    else
        kq_signed_fit(&p, 0, s, x, w, sub, n_subs);
}

#endif
