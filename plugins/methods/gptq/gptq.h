/* GPTQ on any encoding with a grid.
 *
 *     H      what is known of the input: Gram matrix, drawn to its diagonal (shrink), diagonal raised (damp)
 *     A, U   upper triangular, H = A A', U = inverse of A, H inverse = U'U; columns in the order of visiting
 *     e_j    error of column j when it was rounded, (w_j - value_j) / U_jj; w_k -= e_j U_jk for the later columns k
 *     g      (W - rounded W) H = E A', minus half the slope of the loss; what coordinate descent goes by
 *
 * "Stored" columns are those of the rows that round gets; "steps" count columns in the order of visiting.
 */
#ifndef GPTQ_H
#define GPTQ_H

#include "qcore/method.h"

typedef struct gptq_settings {
    float damp, shrink;
    int search, refine, rescale, passes, by_importance, act_order;
} gptq_settings;

/* What is kept of one input for one shape of blocks.
 *
 *     factor [n][n]   ┌ U ┐   the upper triangle with the diagonal: U
 *                     └A' ┘   below: A', whose diagonal is 1 / that of U
 */
typedef struct gptq_prepared {
    size_t n;
    float *factor;
    uint32_t *visit; /* stored column of a step */
    uint32_t *input_col; /* input column of a stored one; NULL: the same */
    float *importance; /* of a stored column, mean 1: 1 / U_jj^2 */
    float *diagonal; /* of H, by stored column */
    float *blocks; /* of H, along its diagonal, for refine; else NULL */
    float keep; /* what shrinking leaves of the rest of the Gram matrix */
} gptq_prepared;

/* Blocks as one coder has them, and panels: steps that are handled together before the rest is updated. */
typedef struct gptq_shape {
    size_t block_cols, sub_cols, snap_cols;
    size_t panel_cols; /* whole blocks, or a part of one */
} gptq_shape;

enum {
    GPTQ_PANEL = 256, /* steps of a panel, about */
    GPTQ_RUN = 32, /* steps that update each other at once */
    GPTQ_SEARCH_COLS = 128, /* sub-blocks larger than this keep their fitted scales */
};

/* visit.c */
qc_status gptq_choose_visit(qc_job *job, const float *diagonal, size_t n, const gptq_shape *shape, int by_importance,
                            uint32_t *visit);
qc_status gptq_choose_order(qc_job *job, const float *diagonal, size_t n, uint32_t *order);

/* factor.c: fills p->factor, p->diagonal and p->importance, for p->visit and p->input_col. */
qc_status gptq_factor(qc_job *job, const gptq_settings *s, const qc_input *input, gptq_prepared *p);

/* refine.c: fills p->blocks. */
qc_status gptq_take_blocks(qc_job *job, const float *gram, gptq_prepared *p);

/* sweep.c */
gptq_shape gptq_shape_of(const qc_encoding_desc *d, size_t cols);
qc_status gptq_sweep(qc_job *job, const gptq_settings *s, const gptq_prepared *p, const qc_linear *linear, float *w,
                     size_t n_rows, void *dst);

#endif
