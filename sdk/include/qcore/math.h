/* Elementary functions of double from + - * / alone, so that every CPU and compiler gives the same bits; of the C library
 * only ldexp, which is exact. Errors are bounds of |computed - true| in units of the last place (ulp), as
 * tests/kernels/math_test.c measures them against long double.
 *
 * Sources: argument reduction by constants in several parts: W. J. Cody and W. Waite, Software Manual for the Elementary
 * Functions, 1980. Exact sums and products: T. J. Dekker, A floating-point technique for extending the available
 * precision, Numer. Math. 18, 1971; D. E. Knuth, TAOCP 2, 4.2.2. Series: Abramowitz and Stegun, 4.1.27, 4.2.1, 4.3.65-66.
 */
#ifndef QCORE_MATH_H
#define QCORE_MATH_H

#include "qcore/abi.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* Parts of ln 2 and pi/2: the first ones end in so many zeros that their product with a whole number of 11 (20) bits is
 * exact. */
#define QC_LN2_HIGH 0x1.62e42fefa38p-1
#define QC_LN2_LOW 0x1.ef35793c7673p-45
#define QC_HALF_PI_HIGH 0x1.921fb544p+0
#define QC_HALF_PI_MIDDLE 0x1.0b4611a6p-34
#define QC_HALF_PI_LOW 0x1.3198a2e037073p-69

/* The nearest whole number, ties to even; |x| < 2^51. */
static inline double qc_nearest(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* a + b = sum + *rest exactly, |a| >= |b|. */
static inline double qc_exact_sum(double a, double b, double *rest)
{
    double sum = a + b;
    *rest = b - (sum - a);
    return sum;
}

/* a b = product + *rest exactly; |a|, |b| < 2^500. */
static inline double qc_exact_product(double a, double b, double *rest)
{
    double a_wide = a * 134217729.0, b_wide = b * 134217729.0; /* 2^27 + 1: halves of 26 bits */
    double a_high = a_wide - (a_wide - a), b_high = b_wide - (b_wide - b);
    double a_low = a - a_high, b_low = b - b_high;
    double product = a * b;
    *rest = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
    return product;
}

/* c[0] + c[1] z + ... + c[n - 1] z^(n - 1) */
static inline double qc_polynomial(const double *c, int n, double z)
{
    double sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--)
        sum = sum * z + c[i];
    return sum;
}

/* e^(x + rest) for a rest that is tiny beside 1. */
static inline double qc_exp_sum(double x, double rest)
{
    /* 1/2!, 1/3!, ... 1/13!: |r| <= ln(2) / 2, so what is left out is below 2^-57 */
    static const double c[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                               1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                               1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    if (x != x)
        return x;
    if (x > 710.0)
        return HUGE_VAL;
    if (x < -746.0)
        return 0.0;
    double k = qc_nearest(x * 0x1.71547652b82fep+0);
    double low = k * QC_LN2_LOW - rest;
    double high = x - k * QC_LN2_HIGH;
    double r = high - low;
    double tail = (high - r) - low; /* what rounding r lost */
    double y = 1.0 + (r + (tail + r * r * qc_polynomial(c, (int)(sizeof c / sizeof *c), r)));
    return ldexp(y, (int)k);
}

/* e^x, 1 ulp. 0 and Inf where a double cannot hold it. */
static inline double qc_exp(double x)
{
    return qc_exp_sum(x, 0.0);
}

/* x = 2^*k m with m in [sqrt(1/2), sqrt(2)); x > 0 and finite. */
static inline double qc_log_reduce(double x, double *k)
{
    uint64_t bits;
    int below = x < DBL_MIN;
    x = below ? x * 0x1p54 : x;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    memcpy(&x, &bits, sizeof x);
    int upper = x >= 0x1.6a09e667f3bcdp+0;
    *k = exponent + upper - (below ? 54 : 0);
    return upper ? 0.5 * x : x;
}

/* With s = f / (2 + f):  log(1 + f) = 2 atanh(s) = 2 s + s R(s^2); this is R. z <= 0.0295: what is left out is below
 * 2^-57 of the whole. */
static inline double qc_log_series(double z)
{
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                               2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
    return z * qc_polynomial(c, (int)(sizeof c / sizeof *c), z);
}

/* The natural logarithm, 1 ulp; -Inf for 0, NaN below. */
static inline double qc_log(double x)
{
    double k;
    if (!(x > 0.0) || x > DBL_MAX)
        return x == 0.0 ? -HUGE_VAL : x > 0.0 || x != x ? x : (double)NAN;
    double f = qc_log_reduce(x, &k) - 1.0;
    double s = f / (2.0 + f);
    /* 2 s = f - s f, so that f, which is exact, carries most of it */
    return k * QC_LN2_HIGH - ((s * (f - qc_log_series(s * s)) - k * QC_LN2_LOW) - f);
}

/* The logarithm as a sum of two doubles, good to 2^-58 of it; x > 0 and finite. */
static inline double qc_log_exact(double x, double *rest)
{
    double k, f_product, f_rest, tail, sum_rest;
    double f = qc_log_reduce(x, &k) - 1.0;
    double divisor = 2.0 + f, divisor_rest = f - (divisor - 2.0);
    double s = f / divisor;
    f_product = qc_exact_product(s, divisor, &f_rest);
    double s_rest = (((f - f_product) - f_rest) - s * divisor_rest) / divisor;
    double small = qc_exact_sum(2.0 * s, s * qc_log_series(s * s), &tail);
    tail += 2.0 * s_rest + k * QC_LN2_LOW;
    double sum = k != 0.0 ? qc_exact_sum(k * QC_LN2_HIGH, small, &sum_rest) : small;
    tail += k != 0.0 ? sum_rest : 0.0;
    return qc_exact_sum(sum, tail, rest);
}

/* x^y for x > 0 (0 for x = 0 and y > 0); NaN below. 1 ulp where the result is in 1e-9 .. 1e9, and 4 anywhere. */
static inline double qc_pow(double x, double y)
{
    double rest, product_rest;
    if (y == 0.0 || x == 1.0)
        return 1.0;
    if (!(x > 0.0) || x > DBL_MAX || !(y >= -1e300 && y <= 1e300))
        return x == 0.0 && y > 0.0 ? 0.0 : x == 0.0 && y < 0.0 ? HUGE_VAL : qc_exp(y * qc_log(x));
    double log_x = qc_log_exact(x, &rest);
    double whole = y * log_x;
    if (!(whole >= -746.0 && whole <= 710.0) || (whole < 0x1p-200 && whole > -0x1p-200))
        return qc_exp(whole);
    whole = qc_exact_product(y, log_x, &product_rest);
    return qc_exp_sum(whole, product_rest + y * rest);
}

/* Sine and cosine, 1 ulp for |x| <= 1e6. */
static inline void qc_sincos(double x, double *sine, double *cosine)
{
    /* -1/3!, 1/5!, ... 1/17! and 1/4!, -1/6!, ... 1/16!: |r| <= pi / 4 */
    static const double s[] = {-1.0 / 6,        1.0 / 120,        -1.0 / 5040,          1.0 / 362880,
                               -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000};
    static const double c[] = {1.0 / 24,        -1.0 / 720,         1.0 / 40320,         -1.0 / 3628800,
                               1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000};
    double k = qc_nearest(x * 0x1.45f306dc9c883p-1);
    double coarse = x - k * QC_HALF_PI_HIGH, fine = k * QC_HALF_PI_MIDDLE; /* both exact */
    double high = coarse - fine, back = coarse - high;
    double low = k * QC_HALF_PI_LOW - (back - fine + (coarse - (high + back)));
    double r = high - low, tail = (high - r) - low, z = r * r;
    double sin_r = r + (tail + r * z * qc_polynomial(s, (int)(sizeof s / sizeof *s), z));
    double half = 0.5 * z, one = 1.0 - half, c_rest = z * z * qc_polynomial(c, (int)(sizeof c / sizeof *c), z);
    double cos_r = one + (((1.0 - one) - half) + (c_rest - r * tail));
    double quarter = k - 4.0 * qc_nearest(0.25 * k); /* -2 .. 2 */
    int odd = quarter == 1.0 || quarter == -1.0;
    double a = odd ? cos_r : sin_r, b = odd ? sin_r : cos_r;
    *sine = quarter == 2.0 || quarter == -2.0 || quarter == -1.0 ? -a : a;
    *cosine = quarter == 2.0 || quarter == -2.0 || quarter == 1.0 ? -b : b;
}

#endif
