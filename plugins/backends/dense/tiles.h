/* c += a b, cut into tiles that workers share and that a core's cache holds. */
#ifndef DENSE_TILES_H
#define DENSE_TILES_H

#include "qcore/host.h"

/* Element (i, k), k being summed over, is at[i ld + k], or at[k ld + i] where rows are k. */
typedef struct operand {
    const float *at;
    size_t ld;
    int rows_are_k;
} operand;

typedef struct update {
    size_t m, n, k;
    operand a, b; /* a(i, k) b(j, k) */
    float *c;
    size_t ldc;
    int fresh; /* c counts as 0 before */
    int negate; /* subtract the products */
    int upper; /* only columns >= row */
} update;

qc_status dense_update(qc_job *job, const update *u);

#endif
