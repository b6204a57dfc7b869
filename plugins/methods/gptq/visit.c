/* In which order columns are rounded. Errors are made good by what comes later, so what matters most comes first; but
 * columns that share scales must follow one another: blocks are ordered, in them sub-blocks, in them columns. */
#include "gptq.h"
#include <stdlib.h>

typedef struct ranked {
    double weight;
    uint32_t at;
} ranked;

/* Largest first; where equal, as they come. */
static int before(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Orders [first, last) of the columns in `visit` by pieces of `size`: the piece with the largest sum comes first.
 * The columns of a piece stay as they are. */
static void sort_pieces(const float *diagonal, size_t first, size_t last, size_t size, ranked *pieces, uint32_t *visit)
{
    const size_t n = (last - first) / size;
    for (size_t i = 0; i < n; i++) {
        pieces[i] = (ranked){0.0, (uint32_t)(first + i * size)};
        for (size_t c = 0; c < size; c++)
            pieces[i].weight += (double)diagonal[first + i * size + c];
    }
    qsort(pieces, n, sizeof *pieces, before);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < size; c++)
            visit[first + i * size + c] = pieces[i].at + (uint32_t)c;
}

/* First `outer`, then `inner` within it. */
static void compose(const uint32_t *outer, const uint32_t *inner, size_t n, uint32_t *visit)
{
    for (size_t i = 0; i < n; i++)
        visit[i] = inner[outer[i]];
}

qc_status gptq_choose_visit(qc_job *job, const float *diagonal, size_t n, const gptq_shape *shape, int by_importance,
                            uint32_t *visit)
{
    ranked *pieces = job->scratch(job, n * sizeof *pieces);
    uint32_t *within = job->scratch(job, 2 * n * sizeof *within), *outer = within + n;
    if (!pieces || !within)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the order of %zu columns", n);
    for (size_t i = 0; i < n; i++)
        visit[i] = (uint32_t)i;
    if (!by_importance)
        return QC_OK;
    for (size_t first = 0; first < n; first += shape->sub_cols)
        sort_pieces(diagonal, first, first + shape->sub_cols, shape->snap_cols, pieces, visit);
    memcpy(within, visit, n * sizeof *visit);
    for (size_t first = 0; first < n; first += shape->block_cols)
        sort_pieces(diagonal, first, first + shape->block_cols, shape->sub_cols, pieces, outer);
    compose(outer, within, n, visit);
    memcpy(within, visit, n * sizeof *visit);
    sort_pieces(diagonal, 0, n, shape->block_cols, pieces, outer);
    compose(outer, within, n, visit);
    return QC_OK;
}

qc_status gptq_choose_order(qc_job *job, const float *diagonal, size_t n, uint32_t *order)
{
    ranked *pieces = job->scratch(job, n * sizeof *pieces);
    if (!pieces)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the order of %zu columns", n);
    sort_pieces(diagonal, 0, n, 1, pieces, order);
    return QC_OK;
}
