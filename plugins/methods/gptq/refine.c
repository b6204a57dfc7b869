/* Coordinate descent on codes. The slope g is kept for all columns; in blocks of columns codes are changed one by one, 16
 * rows at a time, then all that changed in a block is taken from the slope of the other columns. */
#include "chunk.h"

enum { BLOCK = 256, LD = BLOCK + QC_LANES, MOST_LOOKS = 2, MOST_RESCALES = 2, REACH = 2, COARSE = 8 };

/* ---- H within blocks: what all chunks need ---- */

typedef struct blocks {
    gptq_prepared *p;
    const float *gram;
} blocks;

static size_t input_col(const gptq_prepared *p, size_t col)
{
    return p->input_col ? p->input_col[col] : col;
}

static float gram_at(const gptq_prepared *p, const float *gram, size_t a, size_t b)
{
    return gram[input_col(p, a) * p->n + input_col(p, b)];
}

static qc_status take_block(void *arg, qc_job *job, size_t begin, size_t end)
{
    const blocks *b = arg;
    float *h = b->p->blocks + begin * LD;
    (void)job;
    for (size_t i = 0; i < end - begin; i++) {
        for (size_t j = i + 1; j < end - begin; j++)
            h[i * LD + j] = h[j * LD + i] = b->p->keep * gram_at(b->p, b->gram, begin + i, begin + j);
        h[i * LD + i] = b->p->diagonal[begin + i];
    }
    return QC_OK;
}

qc_status gptq_take_blocks(qc_job *job, const float *gram, gptq_prepared *p)
{
    blocks b = {p, gram};
    p->blocks = job->host->alloc(job->host, p->n * LD * sizeof *p->blocks);
    if (!p->blocks)
        return job->fail(job, QC_E_NOMEM, "out of memory for blocks of the Gram matrix");
    return job->parallel_for(job, p->n, BLOCK, take_block, &b);
}

typedef struct descent {
    gptq_chunk *c;
    const float *gram;
    size_t first, n; /* columns of the block */
    float *beside; /* [col][LD] of H for other columns */
    float *g, *delta; /* [col][lane] */
    gptq_change *changes; /* [row][BLOCK] */
    size_t *n_changes; /* of a row */
    unsigned char *changed; /* [col]: did any row change it? */
    int rescales; /* do scales move in this pass? */
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
        qc_status status = c->ops->gemm(job, c->n_rows, cols, n - end, c->errors + end, n,
                                        c->p->factor + end * n + first, n, 0, below, cols);
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

/* Rows of H for columns [first, first + n), those that changed, close together: rows of the Gram matrix often lie a
 * multiple of the cache's sets apart. */
static void take_rows_beside(const descent *d, size_t first, size_t n)
{
    const gptq_prepared *p = d->c->p;
    for (size_t k = 0; k < d->n; k++) {
        float *to = d->beside + k * LD;
        if (d->changed[k] && !p->input_col)
            memcpy(to, d->gram + (d->first + k) * p->n + first, n * sizeof *to);
        for (size_t i = 0; d->changed[k] && p->input_col && i < n; i++)
            to[i] = gram_at(p, d->gram, d->first + k, first + i);
    }
}

/* ---- one block of columns ---- */

static void note_changes(descent *d, size_t tile)
{
    for (size_t i = 0; i < d->n; i++)
        for (size_t l = 0; l < QC_LANES; l++) {
            const float delta = d->delta[i * QC_LANES + l];
            const size_t row = tile * QC_LANES + l;
            if (delta == 0.0f)
                continue;
            d->changes[row * BLOCK + d->n_changes[row]++] = (gptq_change){(uint32_t)i, delta * d->c->p->keep};
            d->changed[i] = 1;
        }
}

static int look_at_tile(const descent *d, const gptq_descent *t, size_t tile)
{
    const gptq_chunk *c = d->c;
    int any = 0;
    for (size_t i = 0, end; i < d->n; i = end) {
        const size_t col = d->first + i, in_sub = col % c->shape.sub_cols;
        end = gptq_least(i + c->shape.sub_cols - in_sub, d->n);
        any |= c->kernels->descend(t, i, end, gptq_step(c, tile, col), gptq_code(c, tile, col));
    }
    return any;
}

/* Sub-blocks that lie in the block. */
static int rescale_tile(const descent *d, const gptq_descent *t, size_t tile)
{
    const gptq_chunk *c = d->c;
    const size_t n = c->shape.sub_cols;
    int any = 0;
    for (size_t i = 0; i + n <= d->n; i += n) {
        const size_t col = d->first + i, block = col / c->shape.block_cols * c->shape.block_cols;
        qc_grid grid = gptq_grid(c, tile, block);
        const gptq_search s = {
            .coder = c->coder, .grid = &grid, .codes = &c->codes, .sub = (uint32_t)((col - block) / n), .reach = REACH};
        any |= c->kernels->rescale(t, i, i + n, &s, gptq_code(c, tile, col));
    }
    return any;
}

/* Looking twice at a block costs little beside telling the other columns. */
static int descend_tile(descent *d, size_t tile)
{
    const gptq_chunk *c = d->c;
    const gptq_descent tile_descent = {d->g, c->p->blocks + d->first * LD, d->n, LD, d->delta, &c->codes};
    float *g = c->w + tile * QC_LANES * c->p->n + d->first;
    int looks = 0;
    qc_tile_from_rows(d->g, g, c->p->n, gptq_lanes(c, tile), d->n);
    memset(d->delta, 0, d->n * QC_LANES * sizeof *d->delta);
    while (looks < MOST_LOOKS && look_at_tile(d, &tile_descent, tile))
        looks++;
    if (d->rescales && rescale_tile(d, &tile_descent, tile))
        looks += 1 + look_at_tile(d, &tile_descent, tile);
    if (!looks)
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
    take_rows_beside(d, first, n);
    for (size_t row = 0; row < c->n_rows; row++)
        c->kernels->spread(c->w + row * c->p->n + first, n, d->beside, LD, d->changes + row * BLOCK, d->n_changes[row]);
}

/* In the last pass nobody asks any more for the slope of columns that were looked at. */
static int descend_block(descent *d, size_t first, int last)
{
    const gptq_chunk *c = d->c;
    int any = 0;
    d->first = first;
    d->n = gptq_least(BLOCK, c->p->n - first);
    memset(d->changed, 0, BLOCK);
    memset(d->n_changes, 0, c->n_tiles * QC_LANES * sizeof *d->n_changes);
    for (size_t tile = 0; tile < c->n_tiles; tile++)
        if (d->active[tile])
            any |= descend_tile(d, tile);
    for (size_t other = last ? first : 0; any && other < c->p->n; other += BLOCK)
        if (other != first)
            tell_others(d, other);
    return any;
}

static int take_room(qc_job *job, descent *d)
{
    const size_t rows = d->c->n_tiles * QC_LANES;
    d->beside = job->scratch(job, (size_t)BLOCK * LD * sizeof *d->beside);
    d->g = job->scratch(job, 2 * BLOCK * QC_LANES * sizeof *d->g);
    d->delta = d->g ? d->g + BLOCK * QC_LANES : NULL;
    d->changes = job->scratch(job, rows * BLOCK * sizeof *d->changes);
    d->n_changes = job->scratch(job, rows * sizeof *d->n_changes);
    d->changed = job->scratch(job, BLOCK);
    d->active = job->scratch(job, 2 * d->c->n_tiles);
    d->next = d->active ? d->active + d->c->n_tiles : NULL;
    return d->beside && d->g && d->changes && d->n_changes && d->changed && d->active;
}

/* Passes in which scales move. Of codes with many levels most move a little at each, all columns of a sub-block change,
 * and telling the others would take longer than what it buys is worth. */
static int count_rescales(const gptq_chunk *c, const gptq_settings *s)
{
    const qc_ops_encoding *ops = c->coder->ops;
    const int can = ops->neighbour && ops->adopt && c->shape.sub_cols <= GPTQ_SEARCH_COLS &&
                    BLOCK % c->shape.sub_cols == 0;
    return s->rescale && can && c->codes.n_levels <= COARSE ? MOST_RESCALES : 0;
}

qc_status gptq_refine(qc_job *job, gptq_chunk *c, const float *gram, const gptq_settings *s)
{
    descent d = {.c = c, .gram = gram};
    if (!take_room(job, &d))
        return job->fail(job, QC_E_NOMEM, "out of memory for coordinate descent");
    const int most_rescales = count_rescales(c, s);
    qc_status status = take_slope(job, c);
    int any = status == QC_OK;
    memset(d.next, 1, c->n_tiles);
    for (int pass = 0; any && pass < s->passes; pass++) {
        memcpy(d.active, d.next, c->n_tiles);
        memset(d.next, 0, c->n_tiles);
        any = 0;
        d.rescales = pass < most_rescales;
        for (size_t first = 0; first < c->p->n; first += BLOCK)
            any |= descend_block(&d, first, pass + 1 == s->passes);
    }
    return status;
}
