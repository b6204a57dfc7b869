/* Sums over one row, in QC_LANES lanes. Zeros past its end change no sum: a lane is never -0. */
#include "dense.h"
#include "qcore/number.h"

static int all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (uint32_t)!qc_is_finite(x[i]);
    return bad == 0;
}

/* sum f (x - y)^2, with y or f NULL for what is 0 or 1 throughout. */
static inline double weighted_squares(const float *x, const float *y, const float *f, size_t n)
{
    double lane[QC_LANES] = {0};
    float rooms[3][QC_LANES];
    for (size_t i = 0; i < n; i += QC_LANES) {
        const float *a = dense_lanes(x + i, n - i, 0.0f, rooms[0]);
        const float *b = y ? dense_lanes(y + i, n - i, 0.0f, rooms[1]) : NULL;
        const float *w = f ? dense_lanes(f + i, n - i, 0.0f, rooms[2]) : NULL;
        for (size_t l = 0; l < QC_LANES; l++) {
            double error = b ? (double)a[l] - (double)b[l] : (double)a[l];
            double square = error * error;
            lane[l] += w ? (double)w[l] * square : square;
        }
    }
    return dense_fold(lane);
}

static double sum_squares(const float *x, const float *importance, size_t n)
{
    return importance ? weighted_squares(x, NULL, importance, n) : weighted_squares(x, NULL, NULL, n);
}

static double squared_error(const float *x, const float *y, const float *importance, size_t n)
{
    return importance ? weighted_squares(x, y, importance, n) : weighted_squares(x, y, NULL, n);
}

const qc_ops_row dense_row = {
    .size = sizeof(qc_ops_row),
    .all_finite = all_finite,
    .sum_squares = sum_squares,
    .squared_error = squared_error,
};
