/* Rounding a chunk of rows, panel by panel in the order of visiting:
 *
 *     weights of the panel, less the errors of all earlier panels times U        one product, most of the work
 *     for 16 rows at a time, block by block, sub-block by sub-block, run by run:
 *         less the errors of what came before in the panel; fit a block's scales when it is reached, search around a
 *         sub-block's; round its columns one after another
 */
#include "chunk.h"

/* ---- shape ---- */

gptq_shape gptq_shape_of(const qc_encoding_desc *d, size_t cols)
{
    gptq_shape s = {.block_cols = d->block_cols ? d->block_cols : cols, .snap_cols = d->snap_cols ? d->snap_cols : 1};
    s.sub_cols = d->sub_cols ? d->sub_cols : s.block_cols;
    if (!d->block_cols)
        s.panel_cols = GPTQ_PANEL / s.snap_cols * s.snap_cols;
    else if (s.block_cols < GPTQ_PANEL)
        s.panel_cols = GPTQ_PANEL / s.block_cols * s.block_cols;
    else
        s.panel_cols = s.block_cols;
    s.panel_cols = gptq_least(s.panel_cols, cols);
    return s;
}

/* ---- one tile in one panel ---- */

typedef struct panel {
    gptq_chunk *c;
    size_t first, n; /* steps */
    float *u; /* [n][ld]: U of the panel's steps, transposed */
    size_t ld;
    gptq_tile tile;
    uint32_t *col; /* block column of each step */
    float *block; /* [block column][lane]: weights as fit wants them */
    int reach; /* of the search */
} panel;

static size_t first_col(const panel *p, size_t step)
{
    const size_t block = p->c->shape.block_cols;
    return p->c->p->visit[p->first + step] / block * block;
}

static void load_weights(const panel *p, size_t tile)
{
    const gptq_chunk *c = p->c;
    const uint32_t *visit = c->p->visit + p->first;
    memset(p->tile.x, 0, p->n * QC_LANES * sizeof(float));
    for (size_t l = 0; l < gptq_lanes(c, tile); l++) {
        const float *w = c->w + (tile * QC_LANES + l) * c->p->n;
        const float *earlier = c->product + (tile * QC_LANES + l) * p->n;
        for (size_t k = 0; k < p->n; k++)
            p->tile.x[k * QC_LANES + l] = w[visit[k]] - earlier[k];
    }
}

static void fit_block(const panel *p, size_t tile, size_t k)
{
    const gptq_chunk *c = p->c;
    const size_t n = c->shape.block_cols, first = first_col(p, k);
    qc_grid grid = gptq_grid(c, tile, first);
    if (n > p->n) /* a whole row: the first panel is reached, so nothing of it has changed */
        qc_tile_from_rows(p->block, c->w + tile * QC_LANES * c->p->n, c->p->n, gptq_lanes(c, tile), n);
    else
        for (size_t i = k; i < k + n; i++)
            memcpy(p->block + p->col[i] * (size_t)QC_LANES, p->tile.x + i * QC_LANES, QC_LANES * sizeof(float));
    c->coder->ops->fit(c->coder, &grid, p->block, c->p->importance + first, 0, qc_n_subs(c->coder));
}

static void search_scales(const panel *p, size_t tile, size_t k, size_t end)
{
    const gptq_chunk *c = p->c;
    const qc_ops_encoding *ops = c->coder->ops;
    qc_grid grid = gptq_grid(c, tile, first_col(p, k));
    const gptq_search s = {.coder = c->coder,
                           .grid = &grid,
                           .codes = &c->codes,
                           .sub = (uint32_t)(p->col[k] / c->shape.sub_cols),
                           .reach = p->reach};
    const int whole = end - k == c->shape.sub_cols && end - k <= GPTQ_SEARCH_COLS;
    if (p->reach > 0 && whole && c->shape.snap_cols == 1 && ops->neighbour && ops->adopt)
        c->kernels->search(&p->tile, k, end, &s);
}

static void round_sub_block(const panel *p, size_t tile, size_t k, size_t end)
{
    const gptq_chunk *c = p->c;
    const size_t first = first_col(p, k), run = GPTQ_RUN / c->shape.snap_cols * c->shape.snap_cols;
    qc_grid grid = gptq_grid(c, tile, first);
    search_scales(p, tile, k, end);
    for (size_t i = k, next; i < end; i = next) {
        next = gptq_least(i + run, end);
        c->kernels->catch_up(&p->tile, k, i, i, next);
        c->kernels->round(&p->tile, i, next, c->coder, &grid, c->p->importance + first, p->col,
                          gptq_code(c, tile, first));
    }
}

static void round_block(const panel *p, size_t tile, size_t k, size_t end)
{
    const gptq_chunk *c = p->c;
    if ((p->first + k) % c->shape.block_cols == 0)
        fit_block(p, tile, k);
    for (size_t i = k, next; i < end; i = next) {
        next = gptq_least(i + c->shape.sub_cols, end);
        c->kernels->catch_up(&p->tile, k, i, i, next);
        round_sub_block(p, tile, i, next);
    }
}

static void round_tile(const panel *p, size_t tile)
{
    const gptq_chunk *c = p->c;
    load_weights(p, tile);
    for (size_t k = 0, next; k < p->n; k = next) {
        next = gptq_least(k + c->shape.block_cols, p->n);
        c->kernels->catch_up(&p->tile, 0, k, k, next);
        round_block(p, tile, k, next);
    }
    qc_rows_from_tile(c->errors + tile * QC_LANES * c->p->n + p->first, c->p->n, p->tile.e, gptq_lanes(c, tile), p->n);
}

/* ---- panels ---- */

static void open_panel(panel *p, size_t first)
{
    const gptq_chunk *c = p->c;
    const size_t n = c->p->n;
    p->first = first;
    p->n = gptq_least(c->shape.panel_cols, n - first);
    for (size_t j = 0; j < p->n; j++)
        for (size_t k = j; k < p->n; k++)
            p->u[k * p->ld + j] = c->p->factor[(first + j) * n + first + k];
    for (size_t k = 0; k < p->n; k++)
        p->col[k] = (uint32_t)(c->p->visit[first + k] % c->shape.block_cols);
}

static qc_status round_panel(qc_job *job, panel *p, size_t first)
{
    const gptq_chunk *c = p->c;
    const size_t n = c->p->n;
    open_panel(p, first);
    qc_status status = c->ops->gemm(job, c->n_rows, p->n, first, c->errors, n, c->p->factor + first, n, 0, c->product,
                                    p->n);
    for (size_t tile = 0; status == QC_OK && tile < c->n_tiles; tile++)
        round_tile(p, tile);
    return status;
}

static int take_panel_room(qc_job *job, panel *p)
{
    const size_t n = p->c->shape.panel_cols;
    p->ld = n + QC_LANES; /* not a power of two: columns would share places of the cache */
    p->u = job->scratch(job, n * p->ld * sizeof *p->u);
    p->tile.u = p->u;
    p->tile.ld = p->ld;
    p->tile.x = job->scratch(job, n * QC_LANES * sizeof(float));
    p->tile.e = job->scratch(job, n * QC_LANES * sizeof(float));
    p->tile.room = job->scratch(job, GPTQ_SEARCH_COLS * QC_LANES * sizeof(float));
    p->block = job->scratch(job, p->c->shape.block_cols * QC_LANES * sizeof(float));
    p->col = job->scratch(job, n * sizeof *p->col);
    return p->u && p->tile.x && p->tile.e && p->tile.room && p->block && p->col;
}

/* ---- the chunk ---- */

static int take_chunk_room(qc_job *job, gptq_chunk *c)
{
    const size_t n = c->p->n, cells = c->n_tiles * QC_LANES * n, scales = cells / c->shape.sub_cols;
    c->state_bytes = (c->coder->desc->state_bytes / 64 + 1) * (size_t)64;
    c->errors = job->scratch(job, c->n_rows * n * sizeof *c->errors);
    c->product = job->scratch(job, c->n_rows * c->shape.panel_cols * sizeof *c->product);
    c->code = job->scratch(job, cells * sizeof *c->code);
    c->step = job->scratch(job, 2 * scales * sizeof *c->step);
    c->state = job->scratch(job, c->n_tiles * (n / c->shape.block_cols) * c->state_bytes);
    c->offset = c->step ? c->step + scales : NULL;
    return c->errors && c->product && c->code && c->step && c->state;
}

static void pack_tile(const gptq_chunk *c, size_t tile, unsigned char *dst)
{
    const qc_coder *e = c->coder;
    for (size_t col = 0; col < c->p->n; col += c->shape.block_cols) {
        const qc_grid grid = gptq_grid(c, tile, col);
        e->ops->pack(e, dst + tile * QC_LANES * e->row_bytes + qc_piece_at(e, col), &grid, gptq_code(c, tile, col),
                     gptq_lanes(c, tile));
    }
}

qc_status gptq_sweep(qc_job *job, const gptq_settings *s, const gptq_prepared *p, const qc_linear *linear, float *w,
                     size_t n_rows, void *dst)
{
    const qc_encoding_desc *d = linear->coder->desc;
    gptq_chunk c = {.p = p,
                    .coder = linear->coder,
                    .ops = job->host->find(job->host, QC_OPS_MATRIX),
                    .kernels = gptq_kernels_for(job->host),
                    .shape = gptq_shape_of(d, p->n),
                    .codes = {(float)d->lowest, (float)d->highest, d->levels, (size_t)(d->highest - d->lowest + 1)},
                    .n_rows = n_rows,
                    .n_tiles = (n_rows + QC_LANES - 1) / QC_LANES,
                    .w = w};
    panel room = {.c = &c, .reach = s->search};
    qc_status status = QC_OK;
    if (!take_chunk_room(job, &c) || !take_panel_room(job, &room))
        return qc_fail(job, QC_E_NOMEM, "out of memory for a chunk of %zu rows", n_rows);
    for (size_t first = 0; status == QC_OK && first < p->n; first += c.shape.panel_cols)
        status = round_panel(job, &room, first);
    if (status == QC_OK && s->refine && c.shape.snap_cols == 1)
        status = gptq_refine(job, &c, linear->input->gram, s);
    for (size_t tile = 0; status == QC_OK && tile < c.n_tiles; tile++)
        pack_tile(&c, tile, dst);
    return status;
}
