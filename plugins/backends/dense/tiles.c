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

/* A block of b (0.5 MiB for 16-float vectors) and one of a (0.25 MiB) fit in the second-level cache. */
enum { BLOCK_K = 256, MOST_ROWS = 16 * TILE_ROWS, MOST_COLS = 16 * TILE_COLS };

typedef struct range {
    size_t begin, end;
} range;

static size_t parts(size_t n, size_t most)
{
    return n / most + (n % most != 0);
}

/* Part i of n_parts of [0, n), nearly equal and in whole units but for the last. */
static range part(size_t n, size_t n_parts, size_t unit, size_t i)
{
    size_t units = parts(n, unit), share = units / n_parts, longer = units % n_parts;
    size_t begin = (share * i + (i < longer ? i : longer)) * unit;
    size_t end = begin + (share + (i < longer)) * unit;
    return (range){begin, end < n ? end : n};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- packing ---- */

/* Columns [k, k + n_k) of VECTOR rows side by side. */
static void pack_transposed(float *to, size_t stride, const float *const *row, size_t k, size_t n_k)
{
    size_t done = 0;
    for (; done + 4 <= n_k; done += 4)
        v_transpose(to + done * stride, stride, row, k + done);
    for (; done < n_k; done++)
        for (size_t i = 0; i < VECTOR; i++)
            to[done * stride + i] = row[i][k + done];
}

/* n_k rows of `given` elements, as rows of `width`. */
static void pack_rows(float *to, size_t width, const float *from, size_t ld, size_t given, size_t n_k)
{
    if (given == width) {
        for (size_t k = 0; k < n_k; k++, to += width, from += ld)
            for (size_t i = 0; i < width; i += VECTOR)
                v_store(to + i, v_load(from + i));
        return;
    }
    for (size_t k = 0; k < n_k; k++, to += width, from += ld)
        for (size_t i = 0; i < width; i++)
            to[i] = i < given ? from[i] : 0.0f;
}

/* Elements [first, first + width) for each of [k, k + n_k), n being all there are. What lies past n, or in a panel past
 * the rows that it is for, is any value: it meets only sums that nobody keeps. */
static void pack_panel(float *to, size_t width, const operand *o, size_t n, size_t first, size_t k, size_t n_k)
{
    if (o->rows_are_k) {
        pack_rows(to, width, o->at + k * o->ld + first, o->ld, least(width, n - first), n_k);
        return;
    }
    const float *row[VECTOR];
    for (size_t group = 0; group < width; group += VECTOR) {
        for (size_t i = 0; i < VECTOR; i++)
            row[i] = o->at + least(first + group + i, n - 1) * o->ld;
        pack_transposed(to + group, width, row, k, n_k);
    }
}

static void negate(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = -x[i];
}

/* ---- one tile ---- */

/* Columns of a tile that stick out of c, or rows that the diagonal cuts, go through a copy. */
static void tile_at_edge(const update *u, range rows, range cols, size_t n_k, const float *a, const float *b, int fresh)
{
    float edge[TILE_ROWS * TILE_COLS];
    const size_t n_rows = rows.end - rows.begin, n_cols = cols.end - cols.begin;
    memset(edge, 0, sizeof edge);
    for (size_t i = 0; !fresh && i < n_rows; i++)
        memcpy(edge + i * TILE_COLS, u->c + (rows.begin + i) * u->ldc + cols.begin, n_cols * sizeof *edge);
    dense_tile[n_rows - 1](n_k, a, b, edge, TILE_COLS, 0);
    for (size_t i = 0; i < n_rows; i++) {
        size_t row = rows.begin + i;
        size_t skip = u->upper && row > cols.begin ? least(row - cols.begin, n_cols) : 0;
        memcpy(u->c + row * u->ldc + cols.begin + skip, edge + i * TILE_COLS + skip, (n_cols - skip) * sizeof *edge);
    }
}

static void tile_in_panels(const update *u, range rows, range cols, size_t n_k, const float *a, const float *b,
                           int fresh)
{
    if (u->upper && cols.end <= rows.begin)
        return;
    if (cols.end - cols.begin < TILE_COLS || (u->upper && cols.begin + 1 < rows.end))
        tile_at_edge(u, rows, cols, n_k, a, b, fresh);
    else
        dense_tile[rows.end - rows.begin - 1](n_k, a, b, u->c + rows.begin * u->ldc + cols.begin, u->ldc, fresh);
}

typedef struct block {
    range rows, cols;
    size_t row_panels, col_panels;
    float *a, *b;
} block;

static range panel_rows(const block *t, size_t panel)
{
    range r = part(t->rows.end - t->rows.begin, t->row_panels, 1, panel);
    return (range){t->rows.begin + r.begin, t->rows.begin + r.end};
}

static range panel_cols(const block *t, size_t panel)
{
    size_t begin = t->cols.begin + panel * TILE_COLS;
    return (range){begin, least(begin + TILE_COLS, t->cols.end)};
}

static void add_block(const update *u, const block *t, size_t k, size_t n_k)
{
    const int fresh = u->fresh && k == 0;
    for (size_t j = 0; j < t->col_panels; j++)
        pack_panel(t->b + j * n_k * TILE_COLS, TILE_COLS, &u->b, u->n, panel_cols(t, j).begin, k, n_k);
    for (size_t i = 0; i < t->row_panels; i++)
        pack_panel(t->a + i * n_k * VECTOR, VECTOR, &u->a, u->m, panel_rows(t, i).begin, k, n_k);
    if (u->negate)
        negate(t->a, t->row_panels * n_k * VECTOR);
    for (size_t j = 0; j < t->col_panels; j++)
        for (size_t i = 0; i < t->row_panels; i++)
            tile_in_panels(u, panel_rows(t, i), panel_cols(t, j), n_k, t->a + i * n_k * VECTOR,
                           t->b + j * n_k * TILE_COLS, fresh);
}

static void clear(const update *u, const block *t)
{
    for (size_t i = t->rows.begin; i < t->rows.end; i++)
        memset(u->c + i * u->ldc + t->cols.begin, 0, (t->cols.end - t->cols.begin) * sizeof *u->c);
}

/* Row tiles follow each other within a column of tiles: they share b. */
static qc_status update_tile(void *arg, qc_job *job, size_t index, size_t end)
{
    const update *u = arg;
    const size_t down = parts(u->m, MOST_ROWS), across = parts(u->n, MOST_COLS);
    (void)end;
    block t = {.rows = part(u->m, down, TILE_ROWS, index % down), .cols = part(u->n, across, TILE_COLS, index / down)};
    if (u->upper && t.cols.end <= t.rows.begin)
        return QC_OK;
    if (u->k == 0) {
        if (u->fresh)
            clear(u, &t);
        return QC_OK;
    }
    t.row_panels = parts(t.rows.end - t.rows.begin, TILE_ROWS);
    t.col_panels = parts(t.cols.end - t.cols.begin, TILE_COLS);
    const size_t depth = least(u->k, BLOCK_K);
    t.a = job->scratch(job, t.row_panels * depth * VECTOR * sizeof(float));
    t.b = job->scratch(job, t.col_panels * depth * TILE_COLS * sizeof(float));
    if (!t.a || !t.b)
        return job->fail(job, QC_E_NOMEM, "out of memory for tiles of a matrix");
    for (size_t k = 0; k < u->k; k += depth)
        add_block(u, &t, k, least(depth, u->k - k));
    return QC_OK;
}

qc_status dense_update(qc_job *job, const update *u)
{
    return job->parallel_for(job, parts(u->m, MOST_ROWS) * parts(u->n, MOST_COLS), 1, update_tile,
                             (void *)(uintptr_t)u);
}
