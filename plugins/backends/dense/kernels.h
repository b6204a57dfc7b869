/* The only code with fused multiply-adds: each term of a sum is one. */
#ifndef DENSE_KERNELS_H
#define DENSE_KERNELS_H

#include <stddef.h>

/* c [rows][TILE_COLS] += a b over k terms; a: packed [k][VECTOR], b: packed [k][TILE_COLS]. fresh: c counts as 0. */
typedef void (*tile_fn)(size_t k, const float *a, const float *b, float *c, size_t ldc, int fresh);
extern const tile_fn dense_tile[]; /* [rows - 1], rows 1 .. TILE_ROWS */

/* y -= f x, elementwise. */
void dense_subtract(float *y, float f, const float *x, size_t n);

#endif
