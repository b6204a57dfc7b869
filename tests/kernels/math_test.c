/* How near the portable math ops, which define the others (check_kernels), and qcore/math.h come to what long double
 * gives. */
#include "backend_tables.h"
#include "qcore/encoding.h"
#include "qcore/math.h"
#include "qcore/number.h"
#include "test_rows.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST = 300 };

static backend_tables scalar;

static int open_all(void **state)
{
    (void)state;
    assert_true(backend_open(&scalar, "scalar"));
    return 0;
}

/* ---- rows of every kind ---- */

enum { GENTLE, STEEP };

static float value(int kind, uint32_t *random)
{
    float unit = (float)(int32_t)(rows_random(random) >> 8) * 0x1p-23f - 1.0f;
    return unit * (kind == STEEP ? 120.0f : 4.0f);
}

typedef struct rows {
    float x[MOST], weight[MOST], got[MOST];
} rows;

static void fill(rows *r, int kind, uint32_t seed)
{
    for (size_t i = 0; i < MOST; i++) {
        r->x[i] = value(kind, &seed);
        r->weight[i] = (float)(rows_random(&seed) >> 8) * 0x1p-23f;
    }
}

/* ---- accuracy ---- */

/* |got - want| in units of the last place of a float (bits 24) or double (53). */
static long double ulps(long double got, long double want, int bits)
{
    int exponent;
    frexpl(want, &exponent);
    return fabsl(got - want) / ldexpl(1.0L, exponent - bits);
}

static void test_exp_and_silu(void **state)
{
    (void)state;
    for (int i = -87300; i <= 88700; i++) {
        float x = (float)i * 0.001f, y, z;
        scalar.math.exp(&y, &x, 1);
        scalar.math.silu(&z, &x, 1);
        assert_true(ulps(y, expl(x), 24) <= 1.5L);
        assert_true(ulps(z, x / (1.0L + expl(-(long double)x)), 24) <= 3.0L || i == 0);
    }
}

static void test_ends_of_exp(void **state)
{
    float x[] = {0.0f, -0.0f, -88.0f, -1e30f, 89.0f, 1e30f, 88.7228f, -FLT_MAX, FLT_MAX}, y[9];
    (void)state;
    scalar.math.exp(y, x, 9);
    assert_true(y[0] == 1.0f && y[1] == 1.0f && y[2] == 0.0f && y[3] == 0.0f);
    assert_true(y[4] == FLT_MAX && y[5] == FLT_MAX && y[6] < FLT_MAX && y[7] == 0.0f && y[8] == FLT_MAX);
}

static void test_softmax(void **state)
{
    static rows r;
    (void)state;
    for (size_t n = 1; n <= MOST; n++) {
        long double sum = 0.0L, most = -1e30L;
        fill(&r, n % 2 ? GENTLE : STEEP, (uint32_t)n);
        for (size_t i = 0; i < n; i++)
            most = r.x[i] > most ? (long double)r.x[i] : most;
        for (size_t i = 0; i < n; i++)
            sum += expl(r.x[i] - most);
        scalar.math.softmax(r.got, r.x, n);
        for (size_t i = 0; i < n; i++)
            assert_true(fabsl(r.got[i] - expl(r.x[i] - most) / sum) <= 2e-6L * r.got[i] + 1e-30L);
        assert_true(fabsl(scalar.math.log_sum_exp(r.x, n) - (most + logl(sum))) <= 1e-6L);
    }
}

static void test_rms_norm(void **state)
{
    static rows r;
    (void)state;
    for (size_t n = 1; n <= MOST; n += 13) {
        long double sum = 0.0L;
        fill(&r, GENTLE, (uint32_t)n);
        for (size_t i = 0; i < n; i++)
            sum += (long double)r.x[i] * r.x[i];
        scalar.math.rms_norm(r.got, r.x, r.weight, n, 1e-5f);
        long double scale = 1.0L / sqrtl(sum / (long double)n + 1e-5f);
        for (size_t i = 0; i < n; i++)
            assert_true(fabsl(r.got[i] - r.x[i] * scale * r.weight[i]) <= 2e-7L * fabsl(r.x[i] * scale * r.weight[i]));
    }
}

static double between(double low, double high, uint32_t *random)
{
    double unit = (double)(rows_random(random) >> 8) * 0x1p-24 + (double)(rows_random(random) >> 8) * 0x1p-48;
    return low + (high - low) * unit;
}

static void test_functions_of_double(void **state)
{
    uint32_t random = 7;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        double x = between(-700, 700, &random), y = between(-1, 1, &random), sine, cosine;
        assert_true(ulps(qc_exp(x), expl(x), 53) <= 1.0L && ulps(qc_exp(y), expl(y), 53) <= 1.0L);
        x = ldexp(between(1, 2, &random), (int)between(-1000, 1000, &random));
        assert_true(ulps(qc_log(x), logl(x), 53) <= 1.0L);
        x = between(0.7, 1.4, &random);
        assert_true(ulps(qc_log(x), logl(x), 53) <= 1.0L);
        x = i % 2 ? 10000.0 : between(1, 1e6, &random);
        assert_true(ulps(qc_pow(x, y), powl(x, y), 53) <= 1.0L);
        x = between(1e-3, 1e3, &random);
        y = between(-100, 100, &random);
        assert_true(ulps(qc_pow(x, y), powl(x, y), 53) <= 4.0L);
        x = i % 2 ? between(-1e6, 1e6, &random) : (double)(i % 1000) * 3.14159265358979 / 4;
        qc_sincos(x, &sine, &cosine);
        assert_true((ulps(sine, sinl(x), 53) <= 1.0L || x == 0.0) && ulps(cosine, cosl(x), 53) <= 1.0L);
    }
}

static void test_ends_of_functions_of_double(void **state)
{
    double sine, cosine;
    (void)state;
    assert_true(qc_exp(0.0) == 1.0 && qc_exp(-800.0) == 0.0 && qc_exp(800.0) > DBL_MAX && qc_exp(-745.0) > 0.0);
    assert_true(qc_log(1.0) == 0.0 && qc_log(0.0) < -DBL_MAX && qc_log(HUGE_VAL) > DBL_MAX);
    assert_true(isnan(qc_log(-1.0)) && isnan(qc_exp(NAN)) && isnan(qc_log(NAN)) && isnan(qc_pow(-2.0, 0.5)));
    assert_true(fabs(qc_log(0x1p-1074) + 744.4400719213812) < 1e-12);
    assert_true(qc_pow(2.0, 10.0) == 1024.0 && qc_pow(2.0, -1074.0) == 0x1p-1074 && qc_pow(0.0, 2.0) == 0.0);
    assert_true(qc_pow(5.0, 0.0) == 1.0 && qc_pow(1.0, 1e300) == 1.0 && qc_pow(10.0, 400.0) > DBL_MAX);
    qc_sincos(0.0, &sine, &cosine);
    assert_true(sine == 0.0 && cosine == 1.0);
    qc_sincos(HUGE_VAL, &sine, &cosine);
    assert_true(isnan(sine) && isnan(cosine));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_and_silu),
        cmocka_unit_test(test_ends_of_exp),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_functions_of_double),
        cmocka_unit_test(test_ends_of_functions_of_double),
    };
    return cmocka_run_group_tests(tests, open_all, NULL);
}
