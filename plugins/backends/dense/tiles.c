/* A tile of c is summed by one worker, over blocks of k in rising order: the sums wait in c between blocks. For a block
 * the parts of a and b are packed into panels, in the order in which the kernels read them:
 *
 *     a   [panel][k][VECTOR]      TILE_ROWS rows or fewer a panel, spread evenly
 *     b   [panel][k][TILE_COLS]
 *
 * (K. Goto and R. van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008.) */
#include "tiles.h"
#include "kernels.h"
#include "vector.h"
#include <string.h>

/* For vectors of 16, a panel of a is 16 KiB and stays in the first-level cache; the panels of b, 32 KiB each, come from
 * the second. */
enum { BLOCK_K = 256, ROW_PANELS = 37, COL_PANELS = 24, MOST_PANELS = ROW_PANELS };

/* One operand of a tile: panel p is of elements [at[p], at[p + 1]). */
typedef struct side {
    const operand *from;
    size_t n; /* elements of the whole operand */
    size_t width, n_panels, at[MOST_PANELS + 1];
    size_t panel_floats;
    float *packed;
} side;

typedef struct block {
    side rows, cols;
} block;

static size_t parts(size_t n, size_t most)
{
    return n / most + (n % most != 0);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Where part i of n_parts nearly equal ones begins. */
static size_t share(size_t n, size_t n_parts, size_t i)
{
    return n / n_parts * i + least(i, n % n_parts);
}

/* ---- packing. What lies past the operand, or in a panel past its own elements, may be any value: it meets only sums
 * that nobody keeps. ---- */

/* Row by row of all panels, as the operand lies in memory. */
static void pack_rows(const side *s, size_t k, size_t n_k)
{
    for (size_t i = 0; i < n_k; i++) {
        const float *from = s->from->at + (k + i) * s->from->ld;
        const float *next = i + 1 < n_k ? from + s->from->ld : from;
        for (size_t p = 0; p < s->n_panels; p++) {
            float *to = s->packed + p * s->panel_floats + i * s->width;
            const size_t given = s->n - s->at[p];
            for (size_t j = 0; j < least(given, s->width); j += LINE)
                v_fetch(next + s->at[p] + j);
            for (size_t j = 0; j < s->width; j += VECTOR)
                if (given >= j + VECTOR)
                    v_store(to + j, v_load(from + s->at[p] + j));
                else
                    for (size_t e = j; e < j + VECTOR; e++)
                        to[e] = e < given ? from[s->at[p] + e] : 0.0f;
        }
    }
}

/* Columns [k, k + n_k) of VECTOR rows side by side: LINE columns of them are gathered first, since rows a power of two
 * apart would push each other out of the cache. */
static void transpose(float *to, size_t stride, const float *const *row, size_t k, size_t n_k)
{
    float lines[VECTOR * LINE];
    for (; n_k >= LINE; n_k -= LINE, k += LINE, to += LINE * stride) {
        for (size_t i = 0; i < VECTOR; i++)
            memcpy(lines + i * LINE, row[i] + k, LINE * sizeof *lines);
        for (size_t j = 0; j < LINE; j += 4)
            v_transpose(to + j * stride, stride, lines + j);
    }
    for (size_t i = 0; i < VECTOR; i++)
        for (size_t j = 0; j < n_k; j++)
            to[j * stride + i] = row[i][k + j];
}

static void pack_columns(const side *s, size_t k, size_t n_k)
{
    const float *row[VECTOR];
    for (size_t p = 0; p < s->n_panels; p++)
        for (size_t group = 0; group < s->width; group += VECTOR) {
            for (size_t i = 0; i < VECTOR; i++)
                row[i] = s->from->at + least(s->at[p] + group + i, s->n - 1) * s->from->ld;
            transpose(s->packed + p * s->panel_floats + group, s->width, row, k, n_k);
        }
}

static void pack(const side *s, size_t k, size_t n_k)
{
    if (s->from->rows_are_k)
        pack_rows(s, k, n_k);
    else
        pack_columns(s, k, n_k);
}

static void negate(const side *s)
{
    for (size_t i = 0; i < s->n_panels * s->panel_floats; i++)
        s->packed[i] = -s->packed[i];
}

/* ---- one tile ---- */

/* Part of c: rows and columns [begin, begin + n). */
typedef struct rectangle {
    size_t row, n_rows, col, n_cols;
} rectangle;

/* Columns of a tile that stick out of c, or rows that the diagonal cuts, go through a copy. */
static void add_at_edge(const update *u, rectangle r, size_t n_k, const float *a, const float *b, int fresh)
{
    float edge[TILE_ROWS * TILE_COLS];
    memset(edge, 0, sizeof edge);
    for (size_t i = 0; !fresh && i < r.n_rows; i++)
        memcpy(edge + i * TILE_COLS, u->c + (r.row + i) * u->ldc + r.col, r.n_cols * sizeof *edge);
    dense_tile[r.n_rows - 1](n_k, a, b, edge, TILE_COLS, 0);
    for (size_t i = 0; i < r.n_rows; i++) {
        size_t row = r.row + i;
        size_t skip = u->upper && row > r.col ? least(row - r.col, r.n_cols) : 0;
        memcpy(u->c + row * u->ldc + r.col + skip, edge + i * TILE_COLS + skip, (r.n_cols - skip) * sizeof *edge);
    }
}

static void add_panels(const update *u, rectangle r, size_t n_k, const float *a, const float *b, int fresh)
{
    if (u->upper && r.col + r.n_cols <= r.row)
        return;
    if (r.n_cols < TILE_COLS || (u->upper && r.col + 1 < r.row + r.n_rows))
        add_at_edge(u, r, n_k, a, b, fresh);
    else
        dense_tile[r.n_rows - 1](n_k, a, b, u->c + r.row * u->ldc + r.col, u->ldc, fresh);
}

/* The part of c that the next panel of b adds to. */
static void fetch_ahead(const update *u, rectangle r, size_t col_panel, const side *cols)
{
    if (col_panel >= cols->n_panels)
        return;
    for (size_t i = r.row; i < r.row + r.n_rows; i++)
        for (size_t j = 0; j < TILE_COLS; j += LINE)
            v_fetch(u->c + i * u->ldc + cols->at[col_panel] + j);
}

/* A panel of a stays in the first-level cache while those of b pass by, and c is met row by row. */
static void add_block(const update *u, const block *t, size_t k, size_t n_k)
{
    const int fresh = u->fresh && k == 0;
    pack(&t->cols, k, n_k);
    pack(&t->rows, k, n_k);
    if (u->negate)
        negate(&t->rows);
    for (size_t i = 0; i < t->rows.n_panels; i++)
        for (size_t j = 0; j < t->cols.n_panels; j++) {
            const size_t row = t->rows.at[i], col = t->cols.at[j];
            const rectangle r = {row, t->rows.at[i + 1] - row, col, t->cols.at[j + 1] - col};
            fetch_ahead(u, r, j + 1, &t->cols);
            add_panels(u, r, n_k, t->rows.packed + i * t->rows.panel_floats, t->cols.packed + j * t->cols.panel_floats,
                       fresh);
        }
}

static void clear(const update *u, const block *t)
{
    const size_t col = t->cols.at[0], n = t->cols.at[t->cols.n_panels] - col;
    for (size_t i = t->rows.at[0]; i < t->rows.at[t->rows.n_panels]; i++)
        memset(u->c + i * u->ldc + col, 0, n * sizeof *u->c);
}

/* ---- all tiles ---- */

static size_t tiles_down(const update *u)
{
    return parts(u->m, ROW_PANELS * TILE_ROWS);
}

static size_t tiles_across(const update *u)
{
    return parts(u->n, COL_PANELS * TILE_COLS);
}

static void divide(const update *u, block *t, size_t index)
{
    const size_t down = tiles_down(u), across = tiles_across(u), panels = parts(u->n, TILE_COLS);
    const size_t row = share(u->m, down, index % down), row_end = share(u->m, down, index % down + 1);
    const size_t panel = share(panels, across, index / down), panel_end = share(panels, across, index / down + 1);
    *t = (block){.rows = {.from = &u->a, .n = u->m, .width = VECTOR, .n_panels = parts(row_end - row, TILE_ROWS)},
                 .cols = {.from = &u->b, .n = u->n, .width = TILE_COLS, .n_panels = panel_end - panel}};
    for (size_t i = 0; i <= t->rows.n_panels; i++)
        t->rows.at[i] = row + share(row_end - row, t->rows.n_panels, i);
    for (size_t i = 0; i <= t->cols.n_panels; i++)
        t->cols.at[i] = least((panel + i) * TILE_COLS, u->n);
}

/* Room for `depth` terms; a line between panels keeps them from falling on the same places of the cache. */
static int take_room(qc_job *job, side *s, size_t depth)
{
    s->panel_floats = depth * s->width + LINE;
    s->packed = job->scratch(job, s->n_panels * s->panel_floats * sizeof(float));
    return s->packed != NULL;
}

/* Row tiles follow each other within a column of tiles: they share b. */
static qc_status update_tile(void *arg, qc_job *job, size_t index, size_t end)
{
    const update *u = arg;
    const size_t depth = least(u->k, BLOCK_K);
    block t;
    (void)end;
    divide(u, &t, index);
    if (u->upper && t.cols.at[t.cols.n_panels] <= t.rows.at[0])
        return QC_OK;
    if (u->fresh && u->k == 0)
        clear(u, &t);
    if (!take_room(job, &t.rows, depth) || !take_room(job, &t.cols, depth))
        return job->fail(job, QC_E_NOMEM, "out of memory for tiles of a matrix");
    for (size_t k = 0; k < u->k; k += depth)
        add_block(u, &t, k, least(depth, u->k - k));
    return QC_OK;
}

qc_status dense_update(qc_job *job, const update *u)
{
    update own = *u;
    return job->parallel_for(job, tiles_down(u) * tiles_across(u), 1, update_tile, &own);
}
