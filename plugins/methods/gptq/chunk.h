/* Rows on their way to codes. */
#ifndef GPTQ_CHUNK_H
#define GPTQ_CHUNK_H

#include "gptq.h"
#include "kernels.h"
#include "qcore/ops.h"

typedef struct gptq_chunk {
    const gptq_prepared *p;
    const qc_coder *coder;
    const qc_ops_matrix *ops;
    const gptq_kernels *kernels;
    gptq_shape shape;
    gptq_codes codes;
    size_t n_rows, n_tiles;
    float *w; /* [row][stored column]; the slope, once rounding is done */
    float *errors; /* [row][step] */
    float *product; /* [row][panel] */
    int32_t *code; /* [tile][stored column][lane] */
    float *step, *offset; /* [tile][sub-block][lane] */
    unsigned char *state; /* [tile][block][state_bytes] */
    size_t state_bytes;
} gptq_chunk;

static inline size_t gptq_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t gptq_lanes(const gptq_chunk *c, size_t tile)
{
    return gptq_least(c->n_rows - tile * QC_LANES, QC_LANES);
}

static inline int32_t *gptq_code(const gptq_chunk *c, size_t tile, size_t col)
{
    return c->code + (tile * c->p->n + col) * QC_LANES;
}

/* Scales of the sub-block of a column. */
static inline float *gptq_step(const gptq_chunk *c, size_t tile, size_t col)
{
    return c->step + (tile * (c->p->n / c->shape.sub_cols) + col / c->shape.sub_cols) * QC_LANES;
}

/* The grid of the block that begins at this column. */
static inline qc_grid gptq_grid(const gptq_chunk *c, size_t tile, size_t col)
{
    float *step = gptq_step(c, tile, col);
    const size_t block = tile * (c->p->n / c->shape.block_cols) + col / c->shape.block_cols;
    return (qc_grid){.size = sizeof(qc_grid),
                     .step = step,
                     .offset = c->offset + (step - c->step),
                     .state = c->state + block * c->state_bytes};
}

/* refine.c: coordinate descent on codes and scales, from the errors that rounding left. gram: the input's. */
qc_status gptq_refine(qc_job *job, gptq_chunk *c, const float *gram, const gptq_settings *s);

#endif
