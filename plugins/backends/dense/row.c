/* Sums over one row, in QC_LANES lanes. Zeros past its end change no sum: a lane is never -0. */
#include "dense.h"
#include "qcore/lanes.h"

static int all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (uint32_t)!qc_is_finite(x[i]);
    return bad == 0;
}

enum { SPAN = 4 * QC_LANES }; /* so that the lanes are fetched and put back once for several elements of each */

/* SPAN elements, y or f NULL for what is 0 or 1 throughout. */
static inline void add_squares(double *lane, const float *x, const float *y, const float *f)
{
    double term[SPAN];
    for (size_t i = 0; i < SPAN; i++) {
        double error = y ? (double)x[i] - (double)y[i] : (double)x[i];
        double square = error * error;
        term[i] = f ? (double)f[i] * square : square;
    }
    for (size_t l = 0; l < QC_LANES; l++)
        lane[l] = (((lane[l] + term[l]) + term[l + QC_LANES]) + term[l + 2 * QC_LANES]) + term[l + 3 * QC_LANES];
}

/* The same of n < SPAN. */
static inline void add_rest(double *lane, const float *x, const float *y, const float *f, size_t n)
{
    float rest[3][SPAN] = {0};
    memcpy(rest[0], x, n * sizeof *x);
    if (y)
        memcpy(rest[1], y, n * sizeof *y);
    if (f)
        memcpy(rest[2], f, n * sizeof *f);
    add_squares(lane, rest[0], y ? rest[1] : NULL, f ? rest[2] : NULL);
}

/* sum f (x - y)^2 */
static inline double weighted_squares(const float *x, const float *y, const float *f, size_t n)
{
    double lane[QC_LANES] = {0};
    size_t i = 0;
    for (; n - i >= SPAN; i += SPAN)
        add_squares(lane, x + i, y ? y + i : NULL, f ? f + i : NULL);
    if (i < n)
        add_rest(lane, x + i, y ? y + i : NULL, f ? f + i : NULL, n - i);
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

static float largest_magnitude(const float *x, size_t n)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        most = qc_max(most, qc_abs(x[i]));
    return most;
}

static int16_t sum_codes(const int8_t *code, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += code[i];
    return (int16_t)sum;
}

static void round_activations(int8_t *code, float *scale, int16_t *sum, const float *x, size_t n)
{
    enum { COLS = QC_ACTIVATION_COLS };
    for (size_t i = 0; i < n; i += COLS, x += COLS, code += COLS, sum += 2) {
        const float most = largest_magnitude(x, COLS);
        const int counts = most >= 0x1p-100f;
        const float inverse = counts ? 127.0f / most : 0.0f;
        scale[i / COLS] = counts ? most / 127.0f : 0.0f;
        for (size_t k = 0; k < COLS; k++)
            code[k] = (int8_t)(int32_t)qc_rne(qc_clamp(x[k] * inverse, -127.0f, 127.0f));
        sum[0] = sum_codes(code, COLS / 2);
        sum[1] = sum_codes(code + COLS / 2, COLS / 2);
    }
}

const qc_ops_row dense_row = {
    .size = sizeof(qc_ops_row),
    .all_finite = all_finite,
    .sum_squares = sum_squares,
    .squared_error = squared_error,
    .round_activations = round_activations,
};
