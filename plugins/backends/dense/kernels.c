#include "kernels.h"
#include "vector.h"
#include <math.h>

/* Each sum has a name of its own, so that every compiler keeps it in a register. */
#if defined(__AVX512F__)
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13)
#else
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#endif

#define START(i)                                          \
    vector left##i = v_all(0.0f), right##i = v_all(0.0f); \
    if ((i) < rows && !fresh) {                           \
        left##i = v_load(c + (i)*ldc);                    \
        right##i = v_load(c + (i)*ldc + VECTOR);          \
    }

#define TERM(i)                                   \
    if ((i) < rows) {                             \
        vector f = v_factor(factor, i);           \
        left##i = v_fused(f, b_left, left##i);    \
        right##i = v_fused(f, b_right, right##i); \
    }

#define FINISH(i)                                \
    if ((i) < rows) {                            \
        v_store(c + (i)*ldc, left##i);           \
        v_store(c + (i)*ldc + VECTOR, right##i); \
    }

/* `rows` is a constant at every call. */
__attribute__((always_inline)) static inline void tile(const size_t rows, size_t k, const float *a, const float *b,
                                                       float *c, size_t ldc, int fresh)
{
    EACH_ROW(START)
    for (; k > 0; k--, a += VECTOR, b += TILE_COLS) {
        const factors factor = v_factors(a);
        const vector b_left = v_load(b), b_right = v_load(b + VECTOR);
        EACH_ROW(TERM)
    }
    EACH_ROW(FINISH)
}

#define TILE(rows)                                                                                     \
    static void tile_##rows(size_t k, const float *a, const float *b, float *c, size_t ldc, int fresh) \
    {                                                                                                  \
        tile(rows, k, a, b, c, ldc, fresh);                                                            \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
#if defined(__AVX512F__)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
TILE(14)
#endif

const tile_fn dense_tile[TILE_ROWS] = {
    tile_1, tile_2, tile_3, tile_4,  tile_5,  tile_6,
#if defined(__AVX512F__)
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
#endif
};

void dense_subtract(float *y, float f, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(-f, x[i], y[i]);
}
