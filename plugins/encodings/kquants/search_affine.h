/* Scales and mins of a super-block for a tile of rows (q2_k, q4_k, q5_k): README.md tells the idea. Part of kernels.c,
 * built once per CPU level. */
#ifndef KQUANTS_SEARCH_AFFINE_H
#define KQUANTS_SEARCH_AFFINE_H

#include "kquants.h"
#include "qcore/affine.h"

static uint32_t kq_n_subs(const kq_type *t)
{
    return KQ_COLS / t->sub_cols;
}

/* The least-squares step and offset of some codes, and their sums in terms of u and uv (affine.h). */
typedef struct kqa_aim {
    float step[QC_LANES], offset[QC_LANES], q[QC_LANES], qq[QC_LANES];
} kqa_aim;

typedef struct kqa_job {
    const kq_type *type;
    uint32_t n_subs;
    qc_fixed_plan plan;
    qc_fixed sub[KQ_MAX_SUBS];
    kqa_aim aim[KQ_MAX_SUBS]; /* what is wanted of each sub-block, not yet stored in integers */
} kqa_job;

/* Codes of a sub-block on some grid, by their sums; the error leaves out what all codes share. */
typedef struct kqa_tried {
    float q[QC_LANES], qq[QC_LANES], vq[QC_LANES], error[QC_LANES];
} kqa_tried;

/* The aim of a sub-block becomes the least squares of codes with these sums. */
static void kqa_set_aim(kqa_job *k, uint32_t j, const float *q, const float *qq, const float *vq)
{
    const qc_fixed *f = &k->sub[j];
    kqa_aim *a = &k->aim[j];
    float step[QC_LANES], offset[QC_LANES];
    qc_fixed_solve(f, q, qq, vq, step, offset);
    for (size_t l = 0; l < QC_LANES; l++) {
        a->step[l] = step[l] * f->unit[l];
        a->offset[l] = f->low[l] + offset[l] * f->unit[l];
        a->q[l] = q[l];
        a->qq[l] = qq[l];
    }
}

static void kqa_aim_freely(kqa_job *k, uint32_t j, const float *x, const float *w)
{
    const uint32_t n = k->type->sub_cols;
    const qc_search *p = &k->type->search;
    qc_fixed_best best;
    qc_fixed_from(&k->sub[j], x + (size_t)j * n * QC_LANES, w ? w + (size_t)j * n : NULL, n, p->highest, 0.0f);
    qc_fixed_search(&k->sub[j], &k->plan, &best);
    kqa_set_aim(k, j, best.q, best.qq, best.vq);
}

enum { KQA_BLOCK_TRIES = 32 };

/* One f16 number d such that d * integer comes closest to the targets of all sub-blocks: the largest target is put on
 * the last integer and a little beside it. */
static void kqa_block_scale(uint32_t n_subs, const float (*target)[QC_LANES], const float (*weight)[QC_LANES],
                            float highest, float *d)
{
    float peak[QC_LANES] = {0}, least[QC_LANES], best[QC_LANES] = {0};
    for (uint32_t j = 0; j < n_subs; j++)
        for (size_t l = 0; l < QC_LANES; l++)
            peak[l] = qc_max(peak[l], target[j][l]);
    for (size_t l = 0; l < QC_LANES; l++)
        least[l] = FLT_MAX;
    for (uint32_t i = 0; i < KQA_BLOCK_TRIES; i++) {
        const float share = 1.0f / (highest + 1.5f - 0.25f * (float)i);
        float tried[QC_LANES], inverse[QC_LANES], cost[QC_LANES] = {0};
        for (size_t l = 0; l < QC_LANES; l++) {
            tried[l] = qc_round_f16(peak[l] * share);
            inverse[l] = qc_inverse(tried[l]);
        }
        for (uint32_t j = 0; j < n_subs; j++)
            for (size_t l = 0; l < QC_LANES; l++) {
                float off = target[j][l] - tried[l] * qc_rne_within(target[j][l] * inverse[l], 0.0f, highest);
                cost[l] += weight[j][l] * off * off;
            }
        for (size_t l = 0; l < QC_LANES; l++) {
            uint32_t better = qc_less(cost[l], least[l]);
            qc_keep(&least[l], better, cost[l]);
            qc_keep(&best[l], better, tried[l]);
        }
    }
    memcpy(d, best, sizeof best);
}

/* The offset that suits a sub-block when its step is `step` instead of the one aimed at. */
static float kqa_offset_for(const kqa_job *k, uint32_t j, size_t l, float step)
{
    const kqa_aim *a = &k->aim[j];
    return a->offset[l] + (a->step[l] - step) * (a->q[l] / k->sub[j].total);
}

static void kqa_block_scales(const kqa_job *k, kq_state *s)
{
    const float highest = k->type->scale_highest;
    float target[KQ_MAX_SUBS][QC_LANES], weight[KQ_MAX_SUBS][QC_LANES], inverse[QC_LANES];
    for (uint32_t j = 0; j < k->n_subs; j++) {
        const kqa_aim *a = &k->aim[j];
        const float per_total = 1.0f / k->sub[j].total;
        for (size_t l = 0; l < QC_LANES; l++) {
            float followed = a->offset[l] < 0.0f ? a->q[l] * a->q[l] * per_total : 0.0f; /* by the offset */
            target[j][l] = a->step[l];
            weight[j][l] = (a->qq[l] - followed) * k->sub[j].weight;
        }
    }
    kqa_block_scale(k->n_subs, (const float(*)[QC_LANES])target, (const float(*)[QC_LANES])weight, highest, s->d);
    for (size_t l = 0; l < QC_LANES; l++)
        inverse[l] = qc_inverse(s->d[l]);
    for (uint32_t j = 0; j < k->n_subs; j++) {
        for (size_t l = 0; l < QC_LANES; l++) {
            float scale = qc_rne_within(target[j][l] * inverse[l], 0.0f, highest);
            target[j][l] = qc_max(-kqa_offset_for(k, j, l, s->d[l] * scale), 0.0f);
            weight[j][l] = k->sub[j].total * k->sub[j].weight;
        }
    }
    kqa_block_scale(k->n_subs, (const float(*)[QC_LANES])target, (const float(*)[QC_LANES])weight, highest, s->dm);
}

/* Rounds a sub-block to a grid. Errors are in units of weights, where they are finite however much wider than the
 * sub-block the grid is. */
static void kqa_try(const qc_fixed *f, const float *step, const float *offset, kqa_tried *t)
{
    qc_fixed_grid grid;
    qc_fixed_sums sums;
    float s[QC_LANES], o[QC_LANES];
    const float per_scale = 1.0f / f->scale;
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l] * f->per_unit[l];
        o[l] = (offset[l] - f->low[l]) * f->per_unit[l];
    }
    qc_fixed_grid_at(f, s, o, &grid);
    qc_fixed_try(f, &grid, &sums);
    for (size_t l = 0; l < QC_LANES; l++) {
        float q = (float)sums.q[l], qq = (float)sums.qq[l], vq = (float)sums.vq[l];
        float unit = f->unit[l] * per_scale, aside = offset[l] - f->low[l];
        t->q[l] = q;
        t->qq[l] = qq;
        t->vq[l] = vq;
        t->error[l] = step[l] * (step[l] * qq + 2.0f * (aside * q - vq * unit)) +
                      aside * f->total * (aside - 2.0f * f->mean[l] * unit);
    }
}

/* Of fixed d and dm: their inverses. */
typedef struct kqa_inverses {
    float d[QC_LANES], dm[QC_LANES];
} kqa_inverses;

static kqa_inverses kqa_inverses_of(const kq_state *s)
{
    kqa_inverses inverse;
    for (size_t l = 0; l < QC_LANES; l++) {
        inverse.d[l] = qc_inverse(s->d[l]);
        inverse.dm[l] = qc_inverse(s->dm[l]);
    }
    return inverse;
}

/* The integers of one sub-block on fixed d and dm: of the scale nearest to the aim and its neighbours, with the min
 * that suits each, those with the smallest error. */
static void kqa_round_sub(const kqa_job *k, uint32_t j, const kqa_inverses *inverse, kq_state *s, kqa_tried *best)
{
    const float highest = k->type->scale_highest;
    for (size_t l = 0; l < QC_LANES; l++)
        best->error[l] = FLT_MAX;
    for (int i = 0; i < 3; i++) {
        const float aside = i == 0 ? 0.0f : i == 1 ? -1.0f : 1.0f;
        float scale[QC_LANES], min[QC_LANES], step[QC_LANES], offset[QC_LANES];
        kqa_tried t;
        for (size_t l = 0; l < QC_LANES; l++) {
            scale[l] = qc_rne_within(k->aim[j].step[l] * inverse->d[l] + aside, 0.0f, highest);
            step[l] = s->d[l] * scale[l];
            min[l] = qc_rne_within(-kqa_offset_for(k, j, l, step[l]) * inverse->dm[l], 0.0f, highest);
            offset[l] = -(s->dm[l] * min[l]);
        }
        kqa_try(&k->sub[j], step, offset, &t);
        for (size_t l = 0; l < QC_LANES; l++) {
            uint32_t better = qc_less(t.error[l], best->error[l]);
            qc_keep(&s->scale[j][l], better, scale[l]);
            qc_keep(&s->min[j][l], better, min[l]);
            qc_keep(&best->q[l], better, t.q[l]);
            qc_keep(&best->qq[l], better, t.qq[l]);
            qc_keep(&best->vq[l], better, t.vq[l]);
            qc_keep(&best->error[l], better, t.error[l]);
        }
    }
}

/* Sums over a block for its codes and integers: of what d and dm are refitted with. */
typedef struct kqa_block_sums {
    float aa[QC_LANES], ab[QC_LANES], bb[QC_LANES], ra[QC_LANES], rb[QC_LANES], error[QC_LANES];
} kqa_block_sums;

static void kqa_add_sub(const kqa_job *k, uint32_t j, const kq_state *s, const kqa_tried *t, kqa_block_sums *b)
{
    const qc_fixed *f = &k->sub[j];
    const float per_scale = 1.0f / f->scale, total = f->total, weight = f->weight;
    for (size_t l = 0; l < QC_LANES; l++) {
        float scale = s->scale[j][l], min = s->min[j][l], unit = f->unit[l] * per_scale;
        float step = s->d[l] * scale, offset = -(s->dm[l] * min) - f->low[l];
        float rq = t->vq[l] * unit - step * t->qq[l] - offset * t->q[l];
        float r = (f->mean[l] * unit - offset) * total - step * t->q[l];
        b->aa[l] += weight * (scale * scale * t->qq[l]);
        b->ab[l] -= weight * (scale * min * t->q[l]);
        b->bb[l] += weight * (min * min * total);
        b->ra[l] += weight * (scale * rq);
        b->rb[l] -= weight * (min * r);
        b->error[l] += weight * t->error[l];
    }
}

static void kqa_round_block(kqa_job *k, kq_state *s, kqa_block_sums *b)
{
    const kqa_inverses inverse = kqa_inverses_of(s);
    memset(b, 0, sizeof *b);
    for (uint32_t j = 0; j < k->n_subs; j++) {
        kqa_tried t;
        kqa_round_sub(k, j, &inverse, s, &t);
        kqa_add_sub(k, j, s, &t, b);
        kqa_set_aim(k, j, t.q, t.qq, t.vq);
    }
}

/* d and dm by least squares over the whole block, rounded to f16. */
static void kqa_refit_block(const kqa_block_sums *b, kq_state *s)
{
    for (size_t l = 0; l < QC_LANES; l++) {
        float aa = b->aa[l], ab = b->ab[l], bb = b->bb[l], ra = b->ra[l], rb = b->rb[l];
        float det = aa * bb - ab * ab;
        uint32_t joint = qc_less(1e-6f * (aa * bb), det);
        float inverse = qc_pick(joint, 1.0f, 0.0f) / qc_pick(joint, det, 1.0f);
        float change = qc_pick(joint, (bb * ra - ab * rb) * inverse, ra * qc_inverse(aa));
        float change_min = (aa * rb - ab * ra) * inverse;
        s->d[l] = qc_round_f16(s->d[l] + change);
        s->dm[l] = qc_round_f16(s->dm[l] + change_min);
    }
}

/* Per lane, the state with the smaller error. */
static void kqa_keep_better(kq_state *best, const kq_state *s, const float *least, const float *error, uint32_t n_subs)
{
    for (size_t l = 0; l < QC_LANES; l++) {
        uint32_t better = qc_less(error[l], least[l]);
        qc_keep(&best->d[l], better, s->d[l]);
        qc_keep(&best->dm[l], better, s->dm[l]);
        for (uint32_t j = 0; j < n_subs; j++) {
            qc_keep(&best->scale[j][l], better, s->scale[j][l]);
            qc_keep(&best->min[j][l], better, s->min[j][l]);
        }
    }
}

static void kqa_fit_block(kqa_job *k, kq_state *best)
{
    kq_state s = {{0}, {0}, {{0}}, {{0}}};
    kqa_block_sums first, second;
    kqa_block_scales(k, &s);
    kqa_round_block(k, &s, &first);
    *best = s;
    kqa_refit_block(&first, &s);
    kqa_round_block(k, &s, &second);
    kqa_keep_better(best, &s, first.error, second.error, k->n_subs);
}

/* Scales and mins of sub-blocks [sub, sub + n_subs); of all: d and dm too. */
static void kqa_fit(const kq_type *t, kq_state *s, const float *x, const float *importance, uint32_t sub,
                    uint32_t n_subs)
{
    kqa_job k;
    float w[KQ_COLS];
    const int weighted = qc_lanes_weights(w, importance, KQ_COLS);
    k.type = t;
    k.n_subs = kq_n_subs(t);
    qc_fixed_plan_of(&k.plan, &t->search, weighted);
    for (uint32_t j = sub; j < sub + n_subs; j++)
        kqa_aim_freely(&k, j, x, weighted ? w : NULL);
    if (n_subs == k.n_subs) {
        kqa_fit_block(&k, s);
        return;
    }
    const kqa_inverses inverse = kqa_inverses_of(s);
    kqa_tried tried;
    for (uint32_t j = sub; j < sub + n_subs; j++)
        kqa_round_sub(&k, j, &inverse, s, &tried);
}

#endif
