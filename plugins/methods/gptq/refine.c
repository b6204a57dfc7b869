/* Coordinate descent on codes. The slope g is kept for all columns; in blocks of columns codes are changed one by one, 16
 * rows at a time, then all that changed in a block is taken from the slope of the other columns. The Gram matrix has
 * only its upper triangle, so rows of H left of a block are gathered from columns. */
#include "chunk.h"

enum { BLOCK = 256, LD = BLOCK + QC_LANES, MOST_PASSES = 10 };

typedef struct change {
    uint32_t col; /* in the block */
    float delta; /* of the value, times what shrinking leaves of H */
} change;

typedef struct descent {
    gptq_chunk *c;
    const float *gram;
    size_t first, n; /* columns of the block */
    float *h; /* [col][LD] of H in the block */
    float *beside; /* [col][LD] of H for other columns */
    float *g, *delta; /* [col][lane] */
    change *changes; /* [row][BLOCK] */
    size_t *n_changes; /* of a row */
    unsigned char *changed; /* [col]: did any row change it? */
    unsigned char *active, *next; /* [tile]: is it looked at in this pass, and in the next? */
} descent;

/* ---- slope ---- */

/* A' of a panel's steps, zeros above the diagonal. */
static void take_corner(const gptq_prepared *p, size_t first, size_t n, float *corner)
{
    memset(corner, 0, n * n * sizeof *corner);
    for (size_t i = 0; i < n; i++) {
        memcpy(corner + i * n, p->factor + (first + i) * p->n + first, i * sizeof *corner);
        corner[i * n + i] = 1.0f / p->factor[(first + i) * (p->n + 1)];
    }
}

/* g = E A', in place of the weights. */
static qc_status take_slope(qc_job *job, gptq_chunk *c)
{
    const size_t n = c->p->n, most = gptq_least(GPTQ_PANEL, n);
    float *corner = job->scratch(job, most * most * sizeof *corner);
    float *below = job->scratch(job, c->n_rows * most * sizeof *below);
    float *within = job->scratch(job, c->n_rows * most * sizeof *within);
    if (!corner || !below || !within)
        return job->fail(job, QC_E_NOMEM, "out of memory for the slope");
    for (size_t first = 0; first < n; first += most) {
        const size_t cols = gptq_least(most, n - first), end = first + cols;
        take_corner(c->p, first, cols, corner);
        qc_status status = c->ops->gemm(job, c->n_rows, cols, n - end, c->errors + end, n, c->p->factor + end * n + first, n,
                                        0, below, cols);
        if (status == QC_OK)
            status = c->ops->gemm(job, c->n_rows, cols, cols, c->errors + first, n, corner, cols, 0, within, cols);
        if (status != QC_OK)
            return status;
        for (size_t row = 0; row < c->n_rows; row++)
            for (size_t i = 0; i < cols; i++)
                c->w[row * n + c->p->visit[first + i]] = below[row * cols + i] + within[row * cols + i];
    }
    return QC_OK;
}

/* ---- H ---- */

static float gram_at(const descent *d, size_t a, size_t b)
{
    const gptq_prepared *p = d->c->p;
    const size_t i = p->input_col ? p->input_col[a] : a, j = p->input_col ? p->input_col[b] : b;
    return i < j ? d->gram[i * p->n + j] : d->gram[j * p->n + i];
}

static void take_block(const descent *d)
{
    const gptq_prepared *p = d->c->p;
    for (size_t i = 0; i < d->n; i++) {
        for (size_t j = 0; j < i; j++)
            d->h[i * LD + j] = d->h[j * LD + i] = p->keep * gram_at(d, d->first + j, d->first + i);
        d->h[i * LD + i] = p->diagonal[d->first + i];
    }
}

/* Where the rows of changed columns lie, for columns [first, first + n): in the Gram matrix, or gathered from it. */
static const float *rows_beside(const descent *d, size_t first, size_t n, size_t *ld)
{
    const gptq_prepared *p = d->c->p;
    *ld = p->n;
    if (first > d->first && !p->input_col)
        return d->gram + d->first * p->n + first;
    *ld = LD;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d->n; j++)
            if (d->changed[j])
                d->beside[j * LD + i] = gram_at(d, first + i, d->first + j);
    return d->beside;
}

/* ---- one block of columns ---- */

static void note_changes(const descent *d, size_t tile)
{
    for (size_t i = 0; i < d->n; i++)
        for (size_t l = 0; l < QC_LANES; l++) {
            const float delta = d->delta[i * QC_LANES + l];
            const size_t row = tile * QC_LANES + l;
            if (delta == 0.0f)
                continue;
            d->changes[row * BLOCK + d->n_changes[row]++] = (change){(uint32_t)i, delta * d->c->p->keep};
            d->changed[i] = 1;
        }
}

static int descend_tile(const descent *d, size_t tile)
{
    const gptq_chunk *c = d->c;
    const gptq_descent tile_descent = {d->g, d->h, d->n, LD, d->delta, &c->codes};
    float *g = c->w + tile * QC_LANES * c->p->n + d->first;
    int any = 0;
    qc_tile_from_rows(d->g, g, c->p->n, gptq_lanes(c, tile), d->n);
    for (size_t i = 0, end; i < d->n; i = end) {
        const size_t col = d->first + i, in_sub = col % c->shape.sub_cols;
        end = gptq_least(i + c->shape.sub_cols - in_sub, d->n);
        any |= c->kernels->descend(&tile_descent, i, end, gptq_step(c, tile, col), gptq_code(c, tile, col));
    }
    if (!any)
        return 0;
    qc_rows_from_tile(g, c->p->n, d->g, gptq_lanes(c, tile), d->n);
    note_changes(d, tile);
    d->next[tile] = 1;
    return 1;
}

static void tell_others(const descent *d, size_t first)
{
    const gptq_chunk *c = d->c;
    const size_t n = gptq_least(BLOCK, c->p->n - first);
    size_t ld;
    const float *rows = rows_beside(d, first, n, &ld);
    for (size_t row = 0; row < c->n_rows; row++)
        for (size_t i = 0; i < d->n_changes[row]; i++) {
            const change *k = &d->changes[row * BLOCK + i];
            c->kernels->subtract(c->w + row * c->p->n + first, rows + k->col * ld, k->delta, n);
        }
}

static int descend_block(descent *d, size_t first)
{
    const gptq_chunk *c = d->c;
    int any = 0;
    d->first = first;
    d->n = gptq_least(BLOCK, c->p->n - first);
    memset(d->changed, 0, BLOCK);
    memset(d->n_changes, 0, c->n_tiles * QC_LANES * sizeof *d->n_changes);
    take_block(d);
    for (size_t tile = 0; tile < c->n_tiles; tile++)
        if (d->active[tile])
            any |= descend_tile(d, tile);
    for (size_t other = 0; any && other < c->p->n; other += BLOCK)
        if (other != first)
            tell_others(d, other);
    return any;
}

static int take_room(qc_job *job, descent *d)
{
    const size_t rows = d->c->n_tiles * QC_LANES;
    d->h = job->scratch(job, (size_t)BLOCK * LD * sizeof *d->h);
    d->beside = job->scratch(job, (size_t)BLOCK * LD * sizeof *d->beside);
    d->g = job->scratch(job, 2 * BLOCK * QC_LANES * sizeof *d->g);
    d->delta = d->g ? d->g + BLOCK * QC_LANES : NULL;
    d->changes = job->scratch(job, rows * BLOCK * sizeof *d->changes);
    d->n_changes = job->scratch(job, rows * sizeof *d->n_changes);
    d->changed = job->scratch(job, BLOCK);
    d->active = job->scratch(job, 2 * d->c->n_tiles);
    d->next = d->active ? d->active + d->c->n_tiles : NULL;
    return d->h && d->beside && d->g && d->changes && d->n_changes && d->changed && d->active;
}

qc_status gptq_refine(qc_job *job, gptq_chunk *c, const float *gram)
{
    descent d = {.c = c, .gram = gram};
    if (!take_room(job, &d))
        return job->fail(job, QC_E_NOMEM, "out of memory for coordinate descent");
    qc_status status = take_slope(job, c);
    int any = status == QC_OK;
    memset(d.next, 1, c->n_tiles);
    for (int pass = 0; any && pass < MOST_PASSES; pass++) {
        memcpy(d.active, d.next, c->n_tiles);
        memset(d.next, 0, c->n_tiles);
        any = 0;
        for (size_t first = 0; first < c->p->n; first += BLOCK)
            any |= descend_block(&d, first);
    }
    return status;
}
