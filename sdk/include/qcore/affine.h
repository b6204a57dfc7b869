/* Least-squares search of a step and an offset for the columns of a sub-block, QC_LANES rows at once.
 *
 * Minimize  sum w (x - (step q + offset))^2  over step > 0, offset <= limit and codes q. Many grids are tried: round to
 * each, refit step and offset in closed form from three sums over the codes, keep the best. Weights are whole numbers
 * of 16 bits meanwhile, two columns to a word of 32: sums of them are exact, so that vector instructions and plain C
 * agree, and a vector takes two columns at once.
 *
 *     v     weights counted from the lowest, in units of range / QC_FIXED_RANGE
 *     u     square roots of importance, relative to the largest: 0 .. QC_FIXED_LARGEST / highest
 *     uv    u v, scaled to 0 .. QC_FIXED_LARGEST: sums of QC_MAX_SUB products fit 31 bits
 *
 * Selects are made in bits: of several with one condition, compilers make branches instead of vector instructions.
 */
#ifndef QCORE_AFFINE_H
#define QCORE_AFFINE_H

#include "qcore/lanes.h"
#include <math.h>

enum { QC_FIXED_RANGE = 32000, QC_FIXED_LARGEST = 8191, QC_FIXED_MAX_TRIES = 64 };

/* Columns of a sub-block; words hold columns 2 i (low half) and 2 i + 1. */
typedef struct qc_fixed {
    uint32_t v[QC_MAX_SUB / 2][QC_LANES], uv[QC_MAX_SUB / 2][QC_LANES];
    uint32_t u[QC_MAX_SUB / 2];
    uint32_t n_pairs, shift; /* shift: see qc_fixed_grid */
    int32_t highest; /* code */
    int weighted;
    float low[QC_LANES], unit[QC_LANES], per_unit[QC_LANES]; /* x = low + unit v; per_unit = 1 / unit, or 0 */
    float total, scale, weight; /* sum u u; uv = scale u v; w = weight u u. Without importance n, 1, 1 */
    float mean[QC_LANES], room[QC_LANES]; /* sum u uv / total; limit of the offset, in terms of uv from the lowest */
} qc_fixed;

/* Sums over columns rounded to a grid: of u q u, u q u q and u q uv. */
typedef struct qc_fixed_sums {
    int32_t q[QC_LANES], qq[QC_LANES], vq[QC_LANES];
} qc_fixed_sums;

/* A grid of every lane: q = (v * inverse >> 16) + add >> shift, at least 0 and at most `highest`. Both halves of a word
 * hold the same number; add is signed. */
typedef struct qc_fixed_grid {
    uint32_t inverse[QC_LANES], add[QC_LANES];
} qc_fixed_grid;

#if defined(__SSE2__)

#if defined(__AVX512BW__)
typedef __m512i qc_words;
#define QC_WORDS(op) _mm512_##op
#define QC_WORDS_SI(op) _mm512_##op##_si512
#elif defined(__AVX2__)
typedef __m256i qc_words;
#define QC_WORDS(op) _mm256_##op
#define QC_WORDS_SI(op) _mm256_##op##_si256
#else
typedef __m128i qc_words;
#define QC_WORDS(op) _mm_##op
#define QC_WORDS_SI(op) _mm_##op##_si128
#endif

static inline qc_words qc_words_load(const uint32_t *p)
{
    return QC_WORDS_SI(loadu)((const qc_words *)(const void *)p);
}

static inline void qc_words_store(int32_t *p, qc_words v)
{
    QC_WORDS_SI(storeu)((qc_words *)(void *)p, v);
}

static inline void qc_fixed_try(const qc_fixed *f, const qc_fixed_grid *g, qc_fixed_sums *s)
{
    const qc_words zero = QC_WORDS_SI(setzero)(), one = QC_WORDS(set1_epi16)(1);
    const qc_words highest = QC_WORDS(set1_epi16)((int16_t)f->highest);
    const __m128i shift = _mm_cvtsi32_si128((int)f->shift);
    for (size_t l = 0; l < QC_LANES; l += sizeof(qc_words) / sizeof(uint32_t)) {
        const qc_words inverse = qc_words_load(g->inverse + l), add = qc_words_load(g->add + l);
        qc_words q = zero, qq = zero, vq = zero;
        for (uint32_t i = 0; i < f->n_pairs; i++) {
            qc_words v = qc_words_load(f->v[i] + l);
            qc_words code = QC_WORDS(adds_epi16)(QC_WORDS(mulhi_epu16)(v, inverse), add);
            code = QC_WORDS(srl_epi16)(QC_WORDS(max_epi16)(code, zero), shift);
            code = QC_WORDS(min_epi16)(code, highest);
            if (f->weighted) {
                const qc_words u = QC_WORDS(set1_epi32)((int32_t)f->u[i]);
                v = qc_words_load(f->uv[i] + l);
                code = QC_WORDS(mullo_epi16)(code, u);
                q = QC_WORDS(add_epi32)(q, QC_WORDS(madd_epi16)(code, u));
            } else {
                q = QC_WORDS(add_epi16)(q, code);
            }
            qq = QC_WORDS(add_epi32)(qq, QC_WORDS(madd_epi16)(code, code));
            vq = QC_WORDS(add_epi32)(vq, QC_WORDS(madd_epi16)(code, v));
        }
        qc_words_store(s->q + l, f->weighted ? q : QC_WORDS(madd_epi16)(q, one));
        qc_words_store(s->qq + l, qq);
        qc_words_store(s->vq + l, vq);
    }
}

#undef QC_WORDS
#undef QC_WORDS_SI

#else

static inline void qc_fixed_try(const qc_fixed *f, const qc_fixed_grid *g, qc_fixed_sums *s)
{
    const uint32_t(*const uv)[QC_LANES] = f->weighted ? f->uv : f->v;
    int32_t q[QC_LANES] = {0}, qq[QC_LANES] = {0}, vq[QC_LANES] = {0};
    for (uint32_t c = 0; c < 2 * f->n_pairs; c++) {
        const uint32_t half = c % 2 * 16;
        const int32_t u = f->weighted ? (int32_t)(f->u[c / 2] >> half & 0xffff) : 1;
        for (size_t l = 0; l < QC_LANES; l++) {
            uint32_t scaled = (f->v[c / 2][l] >> half & 0xffff) * (g->inverse[l] & 0xffff) >> 16;
            int32_t code = (int32_t)scaled + (int16_t)(g->add[l] & 0xffff);
            code = (code > 0 ? code : 0) >> f->shift;
            code = (code < f->highest ? code : f->highest) * u;
            q[l] += code * u;
            qq[l] += code * code;
            vq[l] += code * (int32_t)(uv[c / 2][l] >> half & 0xffff);
        }
    }
    memcpy(s->q, q, sizeof q);
    memcpy(s->qq, qq, sizeof qq);
    memcpy(s->vq, vq, sizeof vq);
}

#endif

/* Bits of 1.5 * 2^23 plus the whole number of lowest .. highest that is nearest to v: the mantissa ends in it. Limits
 * are whole and below 2^22. Bits of floats > 0 rise with them and those of others are negative, and integers have a
 * minimum and a maximum of their own in vectors. */
static inline uint32_t qc_rne_bits(float v, float lowest, float highest)
{
    int32_t bits = (int32_t)qc_float_bits(v + 12582912.0f);
    int32_t least = (int32_t)qc_float_bits(lowest + 12582912.0f), most = (int32_t)qc_float_bits(highest + 12582912.0f);
    bits = bits > least ? bits : least;
    return (uint32_t)(bits < most ? bits : most);
}

/* The whole number of lowest .. highest that is nearest to v. */
static inline float qc_rne_within(float v, float lowest, float highest)
{
    return qc_float_from_bits(qc_rne_bits(v, lowest, highest)) - 12582912.0f;
}

/* All ones where a < b, else 0: for qc_pick and qc_keep. */
static inline uint32_t qc_less(float a, float b)
{
    return 0u - (qc_float_bits(a - b) >> 31);
}

static inline float qc_pick(uint32_t first, float a, float b)
{
    return qc_float_from_bits((qc_float_bits(a) & first) | (qc_float_bits(b) & ~first));
}

static inline void qc_keep(float *kept, uint32_t better, float v)
{
    *kept = qc_pick(better, v, *kept);
}

/* The largest of numbers >= 0, by their bits. */
static inline float qc_largest(const float *w, size_t n)
{
    int32_t largest = 0;
    for (size_t c = 0; c < n; c++) {
        int32_t bits = (int32_t)qc_float_bits(w[c]);
        largest = largest > bits ? largest : bits;
    }
    return qc_float_from_bits((uint32_t)largest);
}

/* ---- a sub-block in fixed point ---- */

static inline uint32_t qc_fixed_shift(float highest)
{
    uint32_t shift = 0; /* 1 / step has 16 bits as long as the step is above a third of range / highest */
    while (3 * (uint32_t)(int32_t)highest << (shift + 1) <= QC_FIXED_RANGE)
        shift++;
    return shift;
}

static inline void qc_fixed_importance(qc_fixed *f, const float *w, size_t n, int32_t *u)
{
    const int32_t most = QC_FIXED_LARGEST / f->highest;
    const float top = (float)most, largest = qc_largest(w, n);
    int32_t total = 0;
    for (size_t c = 0; c < n; c++) {
        u[c] = (int32_t)(sqrtf(w[c] / largest) * top + 0.5f);
        total += u[c] * u[c];
    }
    for (size_t i = 0; i < n / 2; i++)
        f->u[i] = (uint32_t)u[2 * i] | (uint32_t)u[2 * i + 1] << 16;
    f->total = (float)total;
    f->scale = (float)QC_FIXED_LARGEST / (top * (float)QC_FIXED_RANGE);
    f->weight = largest / (top * top);
}

static inline void qc_fixed_v(qc_fixed *f, const float *x)
{
    int32_t sum[QC_LANES] = {0};
    for (size_t i = 0; i < f->n_pairs; i++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float a = x[2 * i * QC_LANES + l] - f->low[l], b = x[(2 * i + 1) * QC_LANES + l] - f->low[l];
            uint32_t va = qc_rne_bits(a * f->per_unit[l], 0.0f, (float)QC_FIXED_RANGE) & 0xffff;
            uint32_t vb = qc_rne_bits(b * f->per_unit[l], 0.0f, (float)QC_FIXED_RANGE) & 0xffff;
            f->v[i][l] = va | vb << 16;
            sum[l] += (int32_t)(va + vb);
        }
    for (size_t l = 0; l < QC_LANES; l++)
        f->mean[l] = (float)sum[l] / f->total;
}

static inline void qc_fixed_uv(qc_fixed *f, const int32_t *u)
{
    int32_t sum[QC_LANES] = {0};
    for (size_t i = 0; i < f->n_pairs; i++) {
        const int32_t ua = u[2 * i], ub = u[2 * i + 1];
        const float scale_a = (float)ua * f->scale, scale_b = (float)ub * f->scale;
        for (size_t l = 0; l < QC_LANES; l++) {
            int32_t a = (int32_t)((float)(int32_t)(f->v[i][l] & 0xffff) * scale_a + 0.5f);
            int32_t b = (int32_t)((float)(int32_t)(f->v[i][l] >> 16) * scale_b + 0.5f);
            f->uv[i][l] = (uint32_t)a | (uint32_t)b << 16;
            sum[l] += ua * a + ub * b;
        }
    }
    for (size_t l = 0; l < QC_LANES; l++)
        f->mean[l] = (float)sum[l] / f->total;
}

/* n: even, at most QC_MAX_SUB; w: weights of the columns as qc_lanes_weights gives them, or NULL. */
static inline void qc_fixed_from(qc_fixed *f, const float *x, const float *w, size_t n, float highest, float limit)
{
    float low[QC_LANES], high[QC_LANES];
    int32_t u[QC_MAX_SUB];
    f->n_pairs = (uint32_t)n / 2;
    f->shift = qc_fixed_shift(highest);
    f->highest = (int32_t)highest;
    f->weighted = w != NULL;
    f->total = (float)f->n_pairs * 2.0f;
    f->scale = f->weight = 1.0f;
    qc_lanes_range(x, n, low, high);
    for (size_t l = 0; l < QC_LANES; l++) {
        low[l] = qc_clamp(qc_min(low[l], limit), -QC_LANES_LARGEST, QC_LANES_LARGEST);
        float range = qc_clamp(high[l], -QC_LANES_LARGEST, QC_LANES_LARGEST) - low[l];
        range = range < QC_LANES_SMALLEST ? 0.0f : range;
        f->low[l] = low[l];
        f->unit[l] = range * (1.0f / (float)QC_FIXED_RANGE);
        f->per_unit[l] = (float)QC_FIXED_RANGE * qc_inverse(range);
    }
    qc_fixed_v(f, x);
    if (w) {
        qc_fixed_importance(f, w, n, u);
        qc_fixed_uv(f, u);
    }
    for (size_t l = 0; l < QC_LANES; l++)
        f->room[l] = qc_min((limit - low[l]) * f->per_unit[l], 2.0f * (float)QC_FIXED_RANGE) * f->scale;
}

/* ---- grids ---- */

static inline uint32_t qc_fixed_word(float v, float lowest, float highest)
{
    return (qc_rne_bits(v, lowest, highest) & 0xffff) * 0x10001u;
}

/* one = 2^shift; steps and offsets are in units of v. */
static inline uint32_t qc_fixed_inverse(float one, float per_step)
{
    return qc_fixed_word(65536.0f * one * per_step, 1.0f, 65535.0f);
}

static inline uint32_t qc_fixed_add(float one, float per_step, float offset)
{
    return qc_fixed_word((0.5f - offset * per_step) * one, -32767.0f, 32767.0f);
}

static inline void qc_fixed_grid_at(const qc_fixed *f, const float *step, const float *offset, qc_fixed_grid *g)
{
    const float one = (float)(1 << f->shift);
    for (size_t l = 0; l < QC_LANES; l++) {
        float per_step = qc_inverse(step[l]);
        g->inverse[l] = qc_fixed_inverse(one, per_step);
        g->add[l] = qc_fixed_add(one, per_step, offset[l]);
    }
}

/* The grids that a search begins with: the same for all sub-blocks, for v always has the same range. */
typedef struct qc_fixed_plan {
    uint32_t n, n_refits;
    uint32_t inverse[QC_FIXED_MAX_TRIES], add[QC_FIXED_MAX_TRIES];
} qc_fixed_plan;

static inline void qc_fixed_plan_of(qc_fixed_plan *plan, const qc_search *p, int weighted)
{
    const float one = (float)(1 << qc_fixed_shift(p->highest));
    plan->n = 0;
    plan->n_refits = p->n_refits;
    for (uint32_t place = 0; place < p->n_tries[weighted]; place++)
        for (uint32_t i = 0; i < p->n_offsets && plan->n < QC_FIXED_MAX_TRIES; i++, plan->n++) {
            float offset = p->shrink * (float)i * (float)QC_FIXED_RANGE;
            float end = p->highest + p->first + p->stride * (float)place;
            float per_step = end / ((float)QC_FIXED_RANGE - offset);
            plan->inverse[plan->n] = qc_fixed_inverse(one, per_step);
            plan->add[plan->n] = qc_fixed_add(one, per_step, offset);
        }
}

/* ---- the search ---- */

/* The best codes so far, by their sums; num / den: by how much their error is below that of a mere offset. */
typedef struct qc_fixed_best {
    float num[QC_LANES], den[QC_LANES], q[QC_LANES], qq[QC_LANES], vq[QC_LANES];
} qc_fixed_best;

/* With the best offset the gain is  cov^2 / det,  cov = vq - q mean(v),  det = qq - q mean(q);  where that offset is
 * beyond its limit, only the step is refitted. Quotients are compared without dividing. */
static inline void qc_fixed_judge(const qc_fixed *f, const qc_fixed_sums *s, qc_fixed_best *b)
{
    const float total = f->total, per_total = 1.0f / total;
    for (size_t l = 0; l < QC_LANES; l++) {
        float q = (float)s->q[l], qq = (float)s->qq[l], vq = (float)s->vq[l], room = f->room[l];
        float cov = vq - q * f->mean[l], mean_q = q * per_total, det = qq - q * mean_q, beyond = f->mean[l] - room;
        uint32_t solvable = qc_less(1e-6f * qq, det);
        cov = qc_pick(solvable, cov, 0.0f);
        det = qc_pick(solvable, det, 1.0f);
        uint32_t pinned = qc_less(cov * mean_q, beyond * det);
        float root = qc_pick(pinned, vq - room * q, cov);
        float lost = qc_pick(pinned, beyond * beyond * total, 0.0f);
        float den = qc_pick(pinned, qc_max(qq, 1.0f), det);
        float num = root * root - lost * den;
        uint32_t better = qc_less(b->num[l] * den, num * b->den[l]);
        qc_keep(&b->num[l], better, num);
        qc_keep(&b->den[l], better, den);
        qc_keep(&b->q[l], better, q);
        qc_keep(&b->qq[l], better, qq);
        qc_keep(&b->vq[l], better, vq);
    }
}

/* The best step and offset for codes with these sums, in units of v. */
static inline void qc_fixed_solve(const qc_fixed *f, const float *q, const float *qq, const float *vq, float *step,
                                  float *offset)
{
    const float per_total = 1.0f / f->total, per_scale = 1.0f / f->scale;
    for (size_t l = 0; l < QC_LANES; l++) {
        float mean = f->mean[l], room = f->room[l], mean_q = q[l] * per_total;
        float cov = vq[l] - q[l] * mean, det = qq[l] - q[l] * mean_q;
        uint32_t solvable = qc_less(1e-6f * qq[l], det);
        cov = qc_pick(solvable, cov, 0.0f);
        det = qc_pick(solvable, det, 1.0f);
        uint32_t pinned = qc_less(cov * mean_q, (mean - room) * det);
        float s = qc_pick(pinned, vq[l] - room * q[l], cov) / qc_pick(pinned, qc_max(qq[l], 1.0f), det);
        step[l] = s * per_scale;
        offset[l] = qc_pick(pinned, room, mean - s * mean_q) * per_scale;
    }
}

/* The best codes for a free step and offset. */
static inline void qc_fixed_search(const qc_fixed *f, const qc_fixed_plan *plan, qc_fixed_best *best)
{
    qc_fixed_best b = {{0}, {0}, {0}, {0}, {0}};
    qc_fixed_grid grid;
    qc_fixed_sums sums;
    for (size_t l = 0; l < QC_LANES; l++) {
        b.num[l] = -FLT_MAX;
        b.den[l] = 1.0f;
    }
    for (uint32_t i = 0; i < plan->n; i++) {
        for (size_t l = 0; l < QC_LANES; l++) {
            grid.inverse[l] = plan->inverse[i];
            grid.add[l] = plan->add[i];
        }
        qc_fixed_try(f, &grid, &sums);
        qc_fixed_judge(f, &sums, &b);
    }
    for (uint32_t i = 0; i < plan->n_refits; i++) {
        float step[QC_LANES], offset[QC_LANES];
        qc_fixed_solve(f, b.q, b.qq, b.vq, step, offset);
        qc_fixed_grid_at(f, step, offset, &grid);
        qc_fixed_try(f, &grid, &sums);
        qc_fixed_judge(f, &sums, &b);
    }
    *best = b;
}

/* The step (> 0) and the offset (<= limit) that fit the columns best. */
static inline void qc_search_affine(const float *x, const float *w, size_t n, const qc_search *p, int weighted,
                                    float limit, float *step, float *offset)
{
    qc_fixed f;
    qc_fixed_plan plan;
    qc_fixed_best best;
    qc_fixed_plan_of(&plan, p, weighted);
    qc_fixed_from(&f, x, weighted ? w : NULL, n, p->highest, limit);
    qc_fixed_search(&f, &plan, &best);
    qc_fixed_solve(&f, best.q, best.qq, best.vq, step, offset);
    for (size_t l = 0; l < QC_LANES; l++) {
        step[l] *= f.unit[l];
        offset[l] = f.low[l] + offset[l] * f.unit[l];
    }
}

#endif
