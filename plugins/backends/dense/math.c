/* Functions of float32 rows, QC_LANES elements at a time.
 *
 * e^x = 2^k e^r, k = nearest(x / ln 2), |r| <= ln(2) / 2 (Cody and Waite; see qcore/math.h): ln 2 in two parts, the first
 * of 9 bits, so that k times it is exact. e^r is its Taylor series up to r^7, remainder below 2^-27. Within 1.5 ulp. */
#include "qcore/math.h"
#include "dense.h"
#include "qcore/lanes.h"

#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#define EXP_LOWEST (-87.3365f) /* below: less than FLT_MIN */
#define EXP_HIGHEST 88.7228f /* above: more than FLT_MAX, or its last ulps */

static inline float exp_one(float x)
{
    float v = qc_clamp(x, EXP_LOWEST, EXP_HIGHEST);
    float k = qc_rne(v * 1.44269504f);
    float r = (v - k * LN2_HIGH) - k * LN2_LOW;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = 1.0f + (r + r * r * p);
    float y = qc_float_from_bits(qc_float_bits(p) + ((uint32_t)(int32_t)k << 23)); /* p 2^k */
    y = x < EXP_LOWEST ? 0.0f : y;
    return x > EXP_HIGHEST ? FLT_MAX : y;
}

static inline float silu_one(float x)
{
    return x / (1.0f + exp_one(-x));
}

static void exp_row(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = exp_one(x[i]);
}

static void silu_row(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = silu_one(x[i]);
}

/* No order of comparisons changes it. */
static float largest(const float *x, size_t n)
{
    float most[QC_LANES], room[QC_LANES];
    for (size_t l = 0; l < QC_LANES; l++)
        most[l] = x[0];
    for (size_t i = 0; i < n; i += QC_LANES) {
        const float *from = dense_lanes(x + i, n - i, x[0], room);
        for (size_t l = 0; l < QC_LANES; l++)
            most[l] = qc_max(most[l], from[l]);
    }
    for (size_t l = 1; l < QC_LANES; l++)
        most[0] = qc_max(most[0], most[l]);
    return most[0];
}

static float sum_row(const float *x, size_t n)
{
    float sum[QC_LANES] = {0}, room[QC_LANES];
    for (size_t i = 0; i < n; i += QC_LANES) {
        const float *from = dense_lanes(x + i, n - i, 0.0f, room);
        for (size_t l = 0; l < QC_LANES; l++)
            sum[l] += from[l];
    }
    for (size_t half = QC_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            sum[l] += sum[l + half];
    return sum[0];
}

static void softmax(float *y, const float *x, size_t n)
{
    const float most = largest(x, n);
    for (size_t i = 0; i < n; i++)
        y[i] = exp_one(x[i] - most);
    const float sum = sum_row(y, n);
    for (size_t i = 0; i < n; i++)
        y[i] /= sum;
}

static double log_sum_exp(const float *x, size_t n)
{
    double sum[QC_LANES] = {0};
    float room[QC_LANES];
    float most = largest(x, n);
    for (size_t i = 0; i < n; i += QC_LANES) {
        const float *from = dense_lanes(x + i, n - i, -INFINITY, room); /* e^that: 0 */
        for (size_t l = 0; l < QC_LANES; l++)
            sum[l] += (double)exp_one(from[l] - most);
    }
    return (double)most + qc_log(dense_fold(sum));
}

static void rms_norm(float *y, const float *x, const float *weight, size_t n, float epsilon)
{
    double mean = dense_row.sum_squares(x, NULL, n) / (double)n;
    float scale = (float)(1.0 / sqrt(mean + (double)epsilon));
    for (size_t i = 0; i < n; i++)
        y[i] = weight ? weight[i] * (x[i] * scale) : x[i] * scale;
}

const qc_ops_math dense_math = {
    .size = sizeof(qc_ops_math),
    .exp = exp_row,
    .silu = silu_row,
    .softmax = softmax,
    .log_sum_exp = log_sum_exp,
    .rms_norm = rms_norm,
};
