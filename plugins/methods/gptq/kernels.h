/* What is done to 16 rows at once, a row a lane, and to single rows: built once per CPU level, the same bits from each. */
#ifndef GPTQ_KERNELS_H
#define GPTQ_KERNELS_H

#include "qcore/encoding.h"

/* The codes of an encoding, for those who round without calling it. */
typedef struct gptq_codes {
    float lowest, highest;
    const float *levels; /* NULL: level(code) = code */
    size_t n_levels;
} gptq_codes;

/* The steps of a panel for one tile of rows. */
typedef struct gptq_tile {
    float *x; /* [step][lane] weights, less what was made good for earlier steps */
    float *e; /* [step][lane] errors of the steps done */
    const float *u; /* [step k][ld]: U_jk at j */
    size_t ld;
    float *room; /* GPTQ_SEARCH_COLS columns for the search */
} gptq_tile;

/* One sub-block whose scales are looked for around the fitted ones. */
typedef struct gptq_search {
    const qc_coder *coder;
    qc_grid *grid;
    const gptq_codes *codes;
    uint32_t sub;
    int reach;
} gptq_search;

/* Columns of one tile in coordinate descent. */
typedef struct gptq_descent {
    float *g; /* [col][lane] */
    const float *h; /* [col][ld] of H */
    size_t n, ld;
    float *delta; /* [col][lane]: by how much values have changed */
    const gptq_codes *codes;
} gptq_descent;

/* One value that has changed. */
typedef struct gptq_change {
    uint32_t col; /* in its block */
    float delta; /* times what shrinking leaves of H */
} gptq_change;

typedef struct gptq_kernels {
    /* x of steps [k, end) less the errors of steps [j, j_end). */
    void (*catch_up)(const gptq_tile *t, size_t j, size_t j_end, size_t k, size_t end);
    /* Rounds steps [k, end) one after another; col: block column of each, counted from step 0. */
    void (*round)(const gptq_tile *t, size_t k, size_t end, const qc_coder *e, qc_grid *g, const float *importance,
                  const uint32_t *col, int32_t *code);
    /* Moves the step and offset of a sub-block, steps [k, end), to the neighbours with the least error, lane by lane. */
    void (*search)(const gptq_tile *t, size_t k, size_t end, const gptq_search *s);
    /* One look at columns [c, end), which share step[lane]; did a code change? */
    int (*descend)(const gptq_descent *d, size_t c, size_t end, const float *step, int32_t *code);
    /* Moves the scales of a sub-block, columns [c, end) with these codes, to the neighbours with the least error. */
    int (*rescale)(const gptq_descent *d, size_t c, size_t end, const gptq_search *s, const int32_t *code);
    /* y -= delta h[col], one change after another; h: rows of n columns, ld apart. */
    void (*spread)(float *y, size_t n, const float *h, size_t ld, const gptq_change *changes, size_t n_changes);
    /* u = inverse of upper triangular a, both [n][n]; u is 0 below the diagonal. */
    void (*invert)(float *u, const float *a, size_t n);
} gptq_kernels;

/* For the CPU level that the host names. */
const gptq_kernels *gptq_kernels_for(const qc_host *host);

#endif
