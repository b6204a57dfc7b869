/* Scales of a super-block for a tile of rows: README.md tells the idea. Part of kernels.c, built once per CPU level. */
#ifndef KQUANTS_SEARCH_H
#define KQUANTS_SEARCH_H

#include "kquants.h"

/* What is wanted of one sub-block (free: not yet stored in integers) and how much it matters. */
typedef struct kq_aim {
    float step[QC_LANES], offset[QC_LANES], error[QC_LANES];
    qc_sums sums;
} kq_aim;

typedef struct kq_job {
    const kq_type *type;
    const float *x, *w; /* block [col][lane], weights per column */
    int weighted; /* importance counts */
    float total[KQ_MAX_SUBS]; /* sum of w of each sub-block */
    kq_aim aim[KQ_MAX_SUBS];
} kq_job;

static uint32_t kq_n_subs(const kq_type *t)
{
    return KQ_COLS / t->sub_cols;
}

static void kq_try(const kq_job *k, uint32_t j, const float *step, const float *offset, qc_sums *sums)
{
    const kq_type *t = k->type;
    const float *x = k->x + (size_t)j * t->sub_cols * QC_LANES, *w = k->w + (size_t)j * t->sub_cols;
    if (t->has_min)
        qc_try_affine(x, w, t->sub_cols, t->search.highest, step, offset, sums);
    else
        qc_try_step(x, w, t->sub_cols, t->search.lowest, t->search.highest, step, sums);
}

/* The best free step and offset of one sub-block. */
static void kq_aim_freely(kq_job *k, uint32_t j)
{
    const kq_type *t = k->type;
    const float *x = k->x + (size_t)j * t->sub_cols * QC_LANES, *w = k->w + (size_t)j * t->sub_cols;
    kq_aim *aim = &k->aim[j];
    if (t->has_min)
        qc_search_affine(x, w, t->sub_cols, &t->search, k->weighted, 0.0f, aim->step, aim->offset);
    else
        qc_search_step(x, w, t->sub_cols, &t->search, k->weighted, aim->step);
    kq_try(k, j, aim->step, aim->offset, &aim->sums);
}

/* Moves the aim of a sub-block to the least squares of the codes that its sums were taken with. */
static void kq_refit_aim(kq_job *k, uint32_t j)
{
    kq_aim *aim = &k->aim[j];
    for (size_t l = 0; l < QC_LANES; l++)
        if (k->type->has_min)
            qc_refit_affine(&aim->sums, l, k->total[j], 0.0f, &aim->step[l], &aim->offset[l], &aim->error[l]);
        else
            aim->step[l] += aim->sums.qq[l] > 0.0f ? aim->sums.rq[l] / aim->sums.qq[l] : 0.0f;
}

/* How much an error of the step costs: the offset follows it, unless it is held at its limit 0. */
static float kq_step_weight(const kq_job *k, uint32_t j, size_t l)
{
    const qc_sums *s = &k->aim[j].sums;
    int follows = k->type->has_min && k->aim[j].offset[l] < 0.0f;
    return follows ? s->qq[l] - s->q[l] * s->q[l] / k->total[j] : s->qq[l];
}

enum { KQ_BLOCK_TRIES = 32 };

/* One f16 number d such that d * integer comes closest to the targets of all sub-blocks: the largest target is put on
 * the last integer and a little beside it. */
static void kq_block_scale(uint32_t n_subs, const float (*target)[QC_LANES], const float (*weight)[QC_LANES],
                           float lowest, float highest, float *d)
{
    float peak[QC_LANES] = {0}, least[QC_LANES];
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++)
            peak[l] = qc_abs(target[j][l]) > qc_abs(peak[l]) ? target[j][l] : peak[l];
    for (uint32_t i = 0; i < 2 * KQ_BLOCK_TRIES; i++) {
        float tried[QC_LANES], inverse[QC_LANES], cost[QC_LANES] = {0};
        uint32_t place = i / 2;
        float past = 1.5f - 0.25f * (float)place;
        if (i % 2 == 1 && lowest == 0.0f)
            continue;
        for (size_t l = 0; l < QC_LANES; l++) {
            tried[l] = qc_round_f16(peak[l] / (i % 2 ? lowest - past : highest + past));
            inverse[l] = qc_inverse(tried[l]);
        }
        for (uint32_t j = 0; j < n_subs; j++)
            for (size_t l = 0; l < QC_LANES; l++) {
                float off = target[j][l] - tried[l] * qc_rne(qc_clamp(target[j][l] * inverse[l], lowest, highest));
                cost[l] += weight[j][l] * off * off;
            }
        for (size_t l = 0; l < QC_LANES; l++) {
            int better = i == 0 || cost[l] < least[l];
            least[l] = better ? cost[l] : least[l];
            d[l] = better ? tried[l] : d[l];
        }
    }
}

/* The offset that suits a sub-block when its step is `step` instead of the one aimed at. */
static float kq_offset_for(const kq_job *k, uint32_t j, size_t l, float step)
{
    const kq_aim *aim = &k->aim[j];
    return aim->offset[l] + (aim->step[l] - step) * (aim->sums.q[l] / k->total[j]);
}

static void kq_block_scales(const kq_job *k, kq_state *s)
{
    const kq_type *t = k->type;
    const uint32_t n_subs = kq_n_subs(t);
    float target[KQ_MAX_SUBS][QC_LANES], weight[KQ_MAX_SUBS][QC_LANES];
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++) {
            target[j][l] = k->aim[j].step[l];
            weight[j][l] = kq_step_weight(k, j, l);
        }
    kq_block_scale(n_subs, (const float(*)[QC_LANES])target, (const float(*)[QC_LANES])weight, t->scale_lowest,
                   t->scale_highest, s->d);
    memset(s->dm, 0, sizeof s->dm);
    if (!t->has_min)
        return;
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++) {
            float scale = qc_rne(qc_clamp(target[j][l] * qc_inverse(s->d[l]), t->scale_lowest, t->scale_highest));
            target[j][l] = -qc_min(kq_offset_for(k, j, l, s->d[l] * scale), 0.0f);
            weight[j][l] = k->total[j];
        }
    kq_block_scale(n_subs, (const float(*)[QC_LANES])target, (const float(*)[QC_LANES])weight, 0.0f, t->scale_highest,
                   s->dm);
}

/* Integers of one sub-block, and the grid that they make. */
typedef struct kq_pair {
    float scale[QC_LANES], min[QC_LANES], step[QC_LANES], offset[QC_LANES];
} kq_pair;

/* Pair `i` around the aim: three scales, and for each the mins on either side of the offset that suits it. */
static void kq_pair_at(const kq_job *k, uint32_t j, const kq_state *s, int i, kq_pair *p)
{
    const kq_type *t = k->type;
    float aside = (float)(i % 3 - 1), upward = i < 3 ? 0.25f : -0.25f;
    for (size_t l = 0; l < QC_LANES; l++) {
        float nearest = qc_rne(qc_clamp(k->aim[j].step[l] * qc_inverse(s->d[l]), -256.0f, 256.0f));
        p->scale[l] = qc_clamp(nearest + aside, t->scale_lowest, t->scale_highest);
        p->step[l] = s->d[l] * p->scale[l];
        p->min[l] = 0.0f;
        p->offset[l] = -0.0f;
        if (t->has_min) {
            float wanted = -kq_offset_for(k, j, l, p->step[l]) * qc_inverse(s->dm[l]);
            p->min[l] = qc_rne(qc_clamp(wanted + upward, 0.0f, t->scale_highest));
            p->offset[l] = -(s->dm[l] * p->min[l]);
        }
    }
}

/* Integers of one sub-block on fixed d and dm: those nearest to the aim and beside it, by the true error of their
 * rounded weights. The aim then is the winner, with its sums. */
static void kq_round_sub(kq_job *k, uint32_t j, kq_state *s)
{
    kq_aim best = k->aim[j];
    for (int i = 0; i < (k->type->has_min ? 6 : 3); i++) {
        kq_pair p;
        qc_sums sums = {0};
        kq_pair_at(k, j, s, i, &p);
        kq_try(k, j, p.step, p.offset, &sums);
        for (size_t l = 0; l < QC_LANES; l++) {
            int better = i == 0 || sums.rr[l] < best.error[l];
            s->scale[j][l] = better ? p.scale[l] : s->scale[j][l];
            s->min[j][l] = better ? p.min[l] : s->min[j][l];
            best.step[l] = better ? p.step[l] : best.step[l];
            best.offset[l] = better ? p.offset[l] : best.offset[l];
            best.error[l] = better ? sums.rr[l] : best.error[l];
            best.sums.rq[l] = better ? sums.rq[l] : best.sums.rq[l];
            best.sums.qq[l] = better ? sums.qq[l] : best.sums.qq[l];
            best.sums.r[l] = better ? sums.r[l] : best.sums.r[l];
            best.sums.q[l] = better ? sums.q[l] : best.sums.q[l];
        }
    }
    memcpy(best.sums.rr, best.error, sizeof best.error);
    k->aim[j] = best;
}

/* d and dm by least squares over the whole block for its present codes and integers, rounded to f16. */
static void kq_refit_block(const kq_job *k, kq_state *s)
{
    const kq_type *t = k->type;
    for (size_t l = 0; l < QC_LANES; l++) {
        float aa = 0.0f, ab = 0.0f, bb = 0.0f, ra = 0.0f, rb = 0.0f;
        for (uint32_t j = 0; j < kq_n_subs(t); j++) {
            const qc_sums *sums = &k->aim[j].sums;
            float scale = s->scale[j][l], min = s->min[j][l];
            aa += scale * scale * sums->qq[l];
            ra += scale * sums->rq[l];
            if (t->has_min) {
                ab -= scale * min * sums->q[l];
                bb += min * min * k->total[j];
                rb -= min * sums->r[l];
            }
        }
        float det = aa * bb - ab * ab;
        int joint = det > 1e-6f * (aa * bb);
        float change = joint ? (bb * ra - ab * rb) / det : aa > 0.0f ? ra / aa : 0.0f;
        float change_min = joint ? (aa * rb - ab * ra) / det : 0.0f;
        s->d[l] = qc_round_f16(s->d[l] + change);
        s->dm[l] = qc_round_f16(s->dm[l] + change_min);
    }
}

/* Keeps in `best`, per lane, the state with the smaller error. */
static void kq_keep_better(const kq_job *k, const kq_state *s, kq_state *best, float *least, int first)
{
    float error[QC_LANES] = {0};
    const uint32_t n_subs = kq_n_subs(k->type);
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++)
            error[l] += k->aim[j].error[l];
    for (size_t l = 0; l < QC_LANES; l++) {
        int better = first || error[l] < least[l];
        least[l] = better ? error[l] : least[l];
        best->d[l] = better ? s->d[l] : best->d[l];
        best->dm[l] = better ? s->dm[l] : best->dm[l];
        for (uint32_t j = 0; j < n_subs; j++) {
            best->scale[j][l] = better ? s->scale[j][l] : best->scale[j][l];
            best->min[j][l] = better ? s->min[j][l] : best->min[j][l];
        }
    }
}

enum { KQ_ROUNDS = 2 }; /* more gain less than 0.2 % */

static void kq_fit_block(kq_job *k, kq_state *best)
{
    const uint32_t n_subs = kq_n_subs(k->type);
    float least[QC_LANES];
    kq_state s = {0};
    for (uint32_t j = 0; j < n_subs; j++)
        kq_aim_freely(k, j);
    kq_block_scales(k, &s);
    for (uint32_t round = 0; round < KQ_ROUNDS; round++) {
        for (uint32_t j = 0; j < n_subs; j++) {
            if (round > 0)
                kq_refit_aim(k, j);
            kq_round_sub(k, j, &s);
        }
        kq_keep_better(k, &s, best, least, round == 0);
        kq_refit_block(k, &s);
    }
}

#endif
