/* Weights to try encodings on: ordinary ones and those that break scale searches. All finite, the same on every run. */
#ifndef TEST_ROWS_H
#define TEST_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum {
    ROWS_GAUSS, /* about a Gaussian, 0.05 wide */
    ROWS_HEAVY, /* heavy tails, a few outliers */
    ROWS_UNIFORM,
    ROWS_POSITIVE, /* far from 0 */
    ROWS_ZERO,
    ROWS_CONSTANT,
    ROWS_ONE, /* one weight a block, the rest 0 */
    ROWS_SIGNS, /* +a and -a */
    ROWS_TINY, /* f16 scales are subnormal or 0 */
    ROWS_DENORMAL, /* float32 subnormals */
    ROWS_HUGE, /* every f16 scale saturates */
    ROWS_MIXED, /* each row another size, 1e-30 … 1e30 */
    ROWS_KINDS
};

const char *rows_name(int kind);
uint32_t rows_random(uint32_t *state);
/* n_rows x cols weights of a kind; `seed` varies them. */
void rows_fill(float *rows, size_t n_rows, size_t cols, int kind, uint32_t seed);
/* cols importances: mostly near 1, some large, some 0. */
void rows_importance(float *importance, size_t cols, uint32_t seed);

#endif
