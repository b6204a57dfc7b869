#include "kernels.h"
#include "gptq.h"
#include "qcore/lanes.h"
#include "qcore/variant.h"

/* ---- errors of earlier steps ---- */

enum { AT_ONCE = 4 }; /* steps whose sums are kept in registers */

static void catch_up_four(const gptq_tile *t, size_t j, size_t j_end, size_t k)
{
    const float *u0 = t->u + k * t->ld, *u1 = u0 + t->ld, *u2 = u1 + t->ld, *u3 = u2 + t->ld;
    float *x = t->x + k * QC_LANES;
    float x0[QC_LANES], x1[QC_LANES], x2[QC_LANES], x3[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++) {
        x0[l] = x[l];
        x1[l] = x[l + QC_LANES];
        x2[l] = x[l + 2 * QC_LANES];
        x3[l] = x[l + 3 * QC_LANES];
    }
    for (; j < j_end; j++) {
        const float *e = t->e + j * QC_LANES;
        for (size_t l = 0; l < QC_LANES; l++) {
            x0[l] -= e[l] * u0[j];
            x1[l] -= e[l] * u1[j];
            x2[l] -= e[l] * u2[j];
            x3[l] -= e[l] * u3[j];
        }
    }
    for (size_t l = 0; l < QC_LANES; l++) {
        x[l] = x0[l];
        x[l + QC_LANES] = x1[l];
        x[l + 2 * QC_LANES] = x2[l];
        x[l + 3 * QC_LANES] = x3[l];
    }
}

static void catch_up_one(const gptq_tile *t, size_t j, size_t j_end, size_t k)
{
    float *x = t->x + k * QC_LANES;
    for (; j < j_end; j++)
        for (size_t l = 0; l < QC_LANES; l++)
            x[l] -= t->e[j * QC_LANES + l] * t->u[k * t->ld + j];
}

static void catch_up(const gptq_tile *t, size_t j, size_t j_end, size_t k, size_t end)
{
    for (; k + AT_ONCE <= end; k += AT_ONCE)
        catch_up_four(t, j, j_end, k);
    for (; k < end; k++)
        catch_up_one(t, j, j_end, k);
}

/* ---- rounding ---- */

/* y of the steps (k, end) less e_k; y begins at step `first`. */
static void pass_on(const gptq_tile *t, float *y, size_t first, const float *e, size_t k, size_t end)
{
    for (size_t i = k + 1; i < end; i++) {
        const float u = t->u[i * t->ld + k];
        float *to = y + (i - first) * QC_LANES;
        for (size_t l = 0; l < QC_LANES; l++)
            to[l] -= e[l] * u;
    }
}

/* As many steps as the encoding rounds at once. They are next to each other in the block, in its order. */
static void round_columns(const gptq_tile *t, size_t k, size_t end, const qc_coder *e, qc_grid *g,
                          const float *importance, const uint32_t *col, int32_t *code)
{
    const size_t n = e->desc->snap_cols;
    float value[GPTQ_RUN * QC_LANES];
    for (; k < end; k += n) {
        qc_snap(e, g, value, code + col[k] * (size_t)QC_LANES, t->x + k * QC_LANES, importance, col[k]);
        for (size_t i = k; i < k + n; i++) {
            const float *x = t->x + i * QC_LANES, *v = value + (i - k) * QC_LANES, pivot = t->u[i * t->ld + i];
            float error[QC_LANES];
            for (size_t l = 0; l < QC_LANES; l++)
                error[l] = (x[l] - v[l]) / pivot;
            memcpy(t->e + i * QC_LANES, error, sizeof error);
            pass_on(t, t->x, 0, error, i, end);
        }
    }
}

/* ---- scale search ---- */

static void levels_of(const gptq_codes *codes, const int32_t *code, float *level)
{
    if (codes->levels)
        for (size_t l = 0; l < QC_LANES; l++)
            level[l] = codes->levels[code[l] - (int32_t)codes->lowest];
    else
        for (size_t l = 0; l < QC_LANES; l++)
            level[l] = (float)code[l];
}

static void nearest_levels(const gptq_codes *codes, const float *v, float *level, int32_t *code)
{
    int32_t found[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++)
        found[l] = (int32_t)codes->lowest;
    for (size_t i = 0; i + 1 < codes->n_levels; i++) {
        const float low = codes->levels[i], high = codes->levels[i + 1];
        for (size_t l = 0; l < QC_LANES; l++)
            found[l] += v[l] - low > high - v[l];
    }
    memcpy(code, found, sizeof found);
    levels_of(codes, found, level);
}

/* The nearest level to v, and its code. */
static void nearest_codes(const gptq_codes *codes, const float *v, float *level, int32_t *code)
{
    if (codes->levels) {
        nearest_levels(codes, v, level, code);
        return;
    }
    const float lowest = codes->lowest, highest = codes->highest;
    for (size_t l = 0; l < QC_LANES; l++) {
        level[l] = qc_rne(qc_clamp(v[l], lowest, highest));
        code[l] = (int32_t)level[l];
    }
}

enum { PATIENCE = 8 }; /* steps between two looks at whether any lane can still win */

static int all_beyond(const float *sum, const float *limit)
{
    int beyond = 1;
    for (size_t l = 0; l < QC_LANES; l++)
        beyond &= sum[l] >= limit[l];
    return beyond;
}

/* Sum of e^2 over steps [k, end) with this step and offset, or, where no lane stays below its limit, part of it. */
static void try_scales(const gptq_tile *t, size_t k, size_t end, const gptq_codes *codes, const float *step,
                       const float *offset, const float *limit, float *sum)
{
    float total[QC_LANES] = {0}, inverse[QC_LANES], s[QC_LANES], o[QC_LANES];
    memcpy(t->room, t->x + k * QC_LANES, (end - k) * QC_LANES * sizeof *t->room);
    for (size_t l = 0; l < QC_LANES; l++) {
        s[l] = step[l];
        o[l] = offset[l];
        inverse[l] = step[l] != 0.0f ? 1.0f / step[l] : 0.0f;
    }
    for (size_t i = k; i < end; i++) {
        const float *x = t->room + (i - k) * QC_LANES, per_pivot = 1.0f / t->u[i * t->ld + i];
        float v[QC_LANES], level[QC_LANES], e[QC_LANES];
        int32_t at[QC_LANES];
        for (size_t l = 0; l < QC_LANES; l++)
            v[l] = (x[l] - o[l]) * inverse[l];
        nearest_codes(codes, v, level, at);
        for (size_t l = 0; l < QC_LANES; l++) {
            e[l] = (x[l] - (s[l] * level[l] + o[l])) * per_pivot;
            total[l] += e[l] * e[l];
        }
        if ((i - k) % PATIENCE == PATIENCE - 1 && all_beyond(total, limit))
            break;
        pass_on(t, t->room, k, e, i, end);
    }
    memcpy(sum, total, sizeof total);
}

/* Where the search stands, by lane: scales moved by a and b notches from the fitted ones. */
typedef struct standing {
    int32_t a[QC_LANES], b[QC_LANES];
    float step[QC_LANES], offset[QC_LANES], error[QC_LANES];
} standing;

/* Step and offset of each lane's own neighbour. */
static void neighbours(const gptq_search *s, const int32_t *a, const int32_t *b, float *step, float *offset)
{
    float all_steps[QC_LANES], all_offsets[QC_LANES];
    int done[QC_LANES] = {0};
    for (size_t l = 0; l < QC_LANES; l++) {
        if (done[l])
            continue;
        s->coder->ops->neighbour(s->coder, s->grid, s->sub, a[l], b[l], all_steps, all_offsets);
        for (size_t m = l; m < QC_LANES; m++)
            if (a[m] == a[l] && b[m] == b[l]) {
                step[m] = all_steps[m];
                offset[m] = all_offsets[m];
                done[m] = 1;
            }
    }
}

/* Each lane tries what lies (a, b) from `from`, and goes there where that is better. */
static void try_move(const gptq_tile *t, size_t k, size_t end, const gptq_search *s, const standing *from, int32_t a,
                     int32_t b, standing *best)
{
    float step[QC_LANES], offset[QC_LANES], sum[QC_LANES];
    int32_t to_a[QC_LANES], to_b[QC_LANES];
    int any = 0;
    for (size_t l = 0; l < QC_LANES; l++) {
        to_a[l] = from->a[l] + a;
        to_b[l] = from->b[l] + b;
    }
    neighbours(s, to_a, to_b, step, offset);
    for (size_t l = 0; l < QC_LANES; l++)
        any |= step[l] != 0.0f;
    if (!any)
        return;
    try_scales(t, k, end, s->codes, step, offset, best->error, sum);
    for (size_t l = 0; l < QC_LANES; l++) {
        const int better = step[l] != 0.0f && sum[l] < best->error[l];
        best->a[l] = better ? to_a[l] : best->a[l];
        best->b[l] = better ? to_b[l] : best->b[l];
        best->step[l] = better ? step[l] : best->step[l];
        best->offset[l] = better ? offset[l] : best->offset[l];
        best->error[l] = better ? sum[l] : best->error[l];
    }
}

/* Along one scale, then along the other, then one notch of the first once more. */
static void walk(const gptq_tile *t, size_t k, size_t end, const gptq_search *s, standing *best)
{
    standing from = *best;
    for (int32_t i = 1; i <= s->reach; i++) {
        try_move(t, k, end, s, &from, i, 0, best);
        try_move(t, k, end, s, &from, -i, 0, best);
    }
    from = *best;
    for (int32_t i = 1; i <= s->reach; i++) {
        try_move(t, k, end, s, &from, 0, i, best);
        try_move(t, k, end, s, &from, 0, -i, best);
    }
    from = *best;
    try_move(t, k, end, s, &from, 1, 0, best);
    try_move(t, k, end, s, &from, -1, 0, best);
}

static void search(const gptq_tile *t, size_t k, size_t end, const gptq_search *s)
{
    const size_t at = (size_t)s->sub * QC_LANES;
    float *step = s->grid->step + at, *offset = s->grid->offset + at;
    float no_limit[QC_LANES];
    standing best = {{0}, {0}, {0}, {0}, {0}}, fitted;
    for (size_t l = 0; l < QC_LANES; l++) {
        no_limit[l] = FLT_MAX;
        best.step[l] = step[l];
        best.offset[l] = offset[l];
    }
    fitted = best;
    try_scales(t, k, end, s->codes, step, offset, no_limit, best.error);
    walk(t, k, end, s, &best);
    memcpy(step, best.step, sizeof best.step);
    memcpy(offset, best.offset, sizeof best.offset);
    if (!s->coder->ops->adopt(s->coder, s->grid)) {
        memcpy(step, fitted.step, sizeof fitted.step);
        memcpy(offset, fitted.offset, sizeof fitted.offset);
    }
}

/* ---- coordinate descent ---- */

/* The error L(delta) - L(0) = delta (delta h_cc - 2 g_c): a code moves to the one nearest to delta = g_c / h_cc, where
 * that is another and gains by more than sums are wrong by. */
static int move_codes(const gptq_descent *d, size_t c, const float *step, int32_t *code, float *delta)
{
    const float *g = d->g + c * QC_LANES, h = d->h[c * d->ld + c];
    float *sum = d->delta + c * QC_LANES;
    float now[QC_LANES], v[QC_LANES], level[QC_LANES];
    int32_t at[QC_LANES];
    int any = 0;
    levels_of(d->codes, code, now);
    for (size_t l = 0; l < QC_LANES; l++) {
        const float scale = h * step[l];
        v[l] = now[l] + (scale != 0.0f ? g[l] / scale : 0.0f);
    }
    nearest_codes(d->codes, v, level, at);
    for (size_t l = 0; l < QC_LANES; l++) {
        const float moved = (level[l] - now[l]) * step[l];
        const int better = moved * (2.0f * g[l] - 1.001f * moved * h) > 0.0f;
        delta[l] = better ? moved : 0.0f;
        sum[l] += delta[l];
        code[l] = better ? at[l] : code[l];
        any |= better;
    }
    return any;
}

/* All values of column c by delta. */
static void change_column(const gptq_descent *d, size_t c, const float *delta)
{
    const float *h = d->h + c * d->ld;
    for (size_t i = 0; i < d->n; i++)
        for (size_t l = 0; l < QC_LANES; l++)
            d->g[i * QC_LANES + l] -= delta[l] * h[i];
}

static int descend(const gptq_descent *d, size_t c, size_t end, const float *step, int32_t *code)
{
    int any = 0;
    for (; c < end; c++, code += QC_LANES) {
        float delta[QC_LANES];
        if (!move_codes(d, c, step, code, delta))
            continue;
        any = 1;
        change_column(d, c, delta);
    }
    return any;
}

/* ---- scales, once codes are chosen ---- */

/* The error when a sub-block's step changes by s and its offset by o: ss s^2 + 2 so s o + oo o^2 - 2 (gs s + go o). */
typedef struct bowl {
    float ss[QC_LANES], so[QC_LANES], oo, gs[QC_LANES], go[QC_LANES];
} bowl;

static void take_bowl(const gptq_descent *d, size_t c, size_t end, const float *level, bowl *b)
{
    memset(b, 0, sizeof *b);
    for (size_t i = c; i < end; i++) {
        const float *h = d->h + i * d->ld, *g = d->g + i * QC_LANES, *own = level + (i - c) * QC_LANES;
        float row[QC_LANES] = {0}, sum = 0.0f;
        for (size_t j = c; j < end; j++) {
            sum += h[j];
            for (size_t l = 0; l < QC_LANES; l++)
                row[l] += h[j] * level[(j - c) * QC_LANES + l];
        }
        b->oo += sum;
        for (size_t l = 0; l < QC_LANES; l++) {
            b->ss[l] += own[l] * row[l];
            b->so[l] += row[l];
            b->gs[l] += own[l] * g[l];
            b->go[l] += g[l];
        }
    }
}

typedef struct scales {
    float step[QC_LANES], offset[QC_LANES];
} scales;

/* Where a neighbour costs less than what is best so far, it takes its place. */
static int try_neighbour(const bowl *b, const scales *now, const scales *tried, float *least, scales *best)
{
    int any = 0;
    for (size_t l = 0; l < QC_LANES; l++) {
        const float s = tried->step[l] - now->step[l], o = tried->offset[l] - now->offset[l];
        const float bent = s * (s * b->ss[l] + 2.0f * o * b->so[l]) + o * o * b->oo;
        const float cost = 1.001f * bent - 2.0f * (s * b->gs[l] + o * b->go[l]);
        const int better = tried->step[l] != 0.0f && now->step[l] != 0.0f && cost < least[l];
        least[l] = better ? cost : least[l];
        best->step[l] = better ? tried->step[l] : best->step[l];
        best->offset[l] = better ? tried->offset[l] : best->offset[l];
        any |= better;
    }
    return any;
}

static void put_scales(const gptq_search *s, const scales *from)
{
    memcpy(s->grid->step + (size_t)s->sub * QC_LANES, from->step, sizeof from->step);
    memcpy(s->grid->offset + (size_t)s->sub * QC_LANES, from->offset, sizeof from->offset);
}

/* To the neighbours with the least error, lane by lane; 0: nothing moves. */
static int choose_scales(const gptq_search *s, const bowl *b, const scales *now, scales *best)
{
    float least[QC_LANES] = {0};
    scales tried;
    int any = 0;
    *best = *now;
    for (int32_t i = -s->reach; i <= s->reach; i++)
        for (int32_t k = -s->reach; k <= s->reach; k++) {
            s->coder->ops->neighbour(s->coder, s->grid, s->sub, i, k, tried.step, tried.offset);
            any |= try_neighbour(b, now, &tried, least, best);
        }
    if (!any)
        return 0;
    put_scales(s, best);
    if (s->coder->ops->adopt(s->coder, s->grid))
        return 1;
    put_scales(s, now);
    return 0;
}

static int rescale(const gptq_descent *d, size_t c, size_t end, const gptq_search *s, const int32_t *code)
{
    const size_t at = (size_t)s->sub * QC_LANES;
    float level[GPTQ_SEARCH_COLS * QC_LANES] = {0};
    scales now, best;
    bowl b;
    for (size_t i = 0; i < (end - c) * QC_LANES; i += QC_LANES)
        levels_of(d->codes, code + i, level + i);
    memcpy(now.step, s->grid->step + at, sizeof now.step);
    memcpy(now.offset, s->grid->offset + at, sizeof now.offset);
    take_bowl(d, c, end, level, &b);
    if (!choose_scales(s, &b, &now, &best))
        return 0;
    for (size_t i = c; i < end; i++) {
        const float *own = level + (i - c) * QC_LANES;
        float delta[QC_LANES], *sum = d->delta + i * QC_LANES;
        for (size_t l = 0; l < QC_LANES; l++) {
            delta[l] = (best.step[l] * own[l] + best.offset[l]) - (now.step[l] * own[l] + now.offset[l]);
            sum[l] += delta[l];
        }
        change_column(d, i, delta);
    }
    return 1;
}

enum { STRIP = 4 * QC_LANES }; /* sums that are kept in registers */

static void spread_strip(float *y, const float *h, size_t ld, const gptq_change *changes, size_t n_changes)
{
    float y0[QC_LANES], y1[QC_LANES], y2[QC_LANES], y3[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++) {
        y0[l] = y[l];
        y1[l] = y[l + QC_LANES];
        y2[l] = y[l + 2 * QC_LANES];
        y3[l] = y[l + 3 * QC_LANES];
    }
    for (size_t i = 0; i < n_changes; i++) {
        const float *row = h + changes[i].col * ld, delta = changes[i].delta;
        for (size_t l = 0; l < QC_LANES; l++) {
            y0[l] -= delta * row[l];
            y1[l] -= delta * row[l + QC_LANES];
            y2[l] -= delta * row[l + 2 * QC_LANES];
            y3[l] -= delta * row[l + 3 * QC_LANES];
        }
    }
    for (size_t l = 0; l < QC_LANES; l++) {
        y[l] = y0[l];
        y[l + QC_LANES] = y1[l];
        y[l + 2 * QC_LANES] = y2[l];
        y[l + 3 * QC_LANES] = y3[l];
    }
}

static void subtract(float *y, const float *x, float f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] -= f * x[i];
}

static void spread(float *y, size_t n, const float *h, size_t ld, const gptq_change *changes, size_t n_changes)
{
    size_t i = 0;
    for (; i + STRIP <= n; i += STRIP)
        spread_strip(y + i, h + i, ld, changes, n_changes);
    for (size_t k = 0; i < n && k < n_changes; k++)
        subtract(y + i, h + changes[k].col * ld + i, changes[k].delta, n - i);
}

/* ---- */

/* Row by row: what row i has from earlier columns is in u already. */
static void invert(float *u, const float *a, size_t n)
{
    memset(u, 0, n * n * sizeof *u);
    for (size_t i = 0; i < n; i++) {
        float *row = u + i * n;
        row[i] = -1.0f;
        for (size_t k = i; k < n; k++) {
            row[k] = -row[k] / a[k * n + k];
            subtract(row + k + 1, a + k * n + k + 1, -row[k], n - k - 1);
        }
    }
}

const gptq_kernels QC_VARIANT_NAME(gptq_kernels) = {
    .catch_up = catch_up,
    .round = round_columns,
    .search = search,
    .descend = descend,
    .rescale = rescale,
    .spread = spread,
    .invert = invert,
};
