/* Row and math ops of every backend that this CPU runs: the same bits as the portable one for any length and alignment,
 * in place or not, nothing written past the end; and near what long double gives. qcore/math.h too. */
#include "backend_tables.h"
#include "qcore/encoding.h"
#include "qcore/math.h"
#include "qcore/number.h"
#include "test_rows.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST = 300, GUARD = 20 };
static const float guard_value = 12345.0f;

static backend_tables scalar;
static backend_tables fast[3];
static size_t n_fast;

static int open_all(void **state)
{
    (void)state;
    assert_true(backend_open(&scalar, "scalar"));
    n_fast += (size_t)backend_open(&fast[n_fast], "avx2");
    n_fast += (size_t)backend_open(&fast[n_fast], "avx512");
    n_fast += (size_t)backend_open(&fast[n_fast], "neon");
    return 0;
}

/* ---- rows of every kind ---- */

enum { GENTLE, STEEP, EQUAL, TINY, N_KINDS };

static float value(int kind, uint32_t *random)
{
    float unit = (float)(int32_t)(rows_random(random) >> 8) * 0x1p-23f - 1.0f;
    const float values[N_KINDS] = {unit * 4.0f, unit * 120.0f, -3.25f, unit * 0x1p-126f};
    return values[kind];
}

typedef struct rows {
    float x[MOST + GUARD], weight[MOST + GUARD], got[MOST + GUARD], want[MOST + GUARD];
} rows;

static void fill(rows *r, int kind, uint32_t seed)
{
    for (size_t i = 0; i < MOST + GUARD; i++) {
        r->x[i] = value(kind, &seed);
        r->weight[i] = (float)(rows_random(&seed) >> 8) * 0x1p-23f;
    }
}

typedef void (*map_fn)(const qc_ops_math *ops, float *y, const float *x, const float *weight, size_t n);

static void do_exp(const qc_ops_math *ops, float *y, const float *x, const float *weight, size_t n)
{
    (void)weight;
    ops->exp(y, x, n);
}

static void do_silu(const qc_ops_math *ops, float *y, const float *x, const float *weight, size_t n)
{
    (void)weight;
    ops->silu(y, x, n);
}

static void do_softmax(const qc_ops_math *ops, float *y, const float *x, const float *weight, size_t n)
{
    (void)weight;
    if (n > 0)
        ops->softmax(y, x, n);
}

static void do_rms_norm(const qc_ops_math *ops, float *y, const float *x, const float *weight, size_t n)
{
    ops->rms_norm(y, x, n % 2 ? weight : NULL, n, 1e-5f);
}

static void compare_map(rows *r, map_fn f, const qc_ops_math *ops, size_t at, size_t n, int in_place)
{
    for (size_t i = 0; i < MOST + GUARD; i++)
        r->got[i] = r->want[i] = guard_value;
    if (in_place) {
        memcpy(r->got + at, r->x + at, n * sizeof *r->x);
        memcpy(r->want + at, r->x + at, n * sizeof *r->x);
    }
    f(&scalar.math, r->want + at, in_place ? r->want + at : r->x + at, r->weight + at, n);
    f(ops, r->got + at, in_place ? r->got + at : r->x + at, r->weight + at, n);
    assert_memory_equal(r->got, r->want, sizeof r->got);
    assert_true(r->got[at + n] == guard_value);
}

static void test_maps_have_the_same_bits(void **state)
{
    static const map_fn maps[] = {do_exp, do_silu, do_softmax, do_rms_norm};
    static rows r;
    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++)
        for (size_t n = 0; n <= MOST; n += n < 70 ? 1 : 23) {
            fill(&r, kind, (uint32_t)n + 1);
            for (size_t f = 0; f < sizeof maps / sizeof *maps; f++)
                for (size_t b = 0; b < n_fast; b++)
                    for (size_t at = 0; at < 3; at++)
                        compare_map(&r, maps[f], &fast[b].math, at, n, (int)(n + at) % 2);
        }
}

static void assert_same_double(double got, double want)
{
    assert_memory_equal(&got, &want, sizeof got);
}

static void compare_sums(const rows *r, const backend_tables *t, size_t n)
{
    const float *x = r->x + 1, *y = r->weight + 2, *f = r->weight;
    if (n > 0)
        assert_same_double(t->math.log_sum_exp(x, n), scalar.math.log_sum_exp(x, n));
    assert_same_double(t->row.sum_squares(x, NULL, n), scalar.row.sum_squares(x, NULL, n));
    assert_same_double(t->row.sum_squares(x, f, n), scalar.row.sum_squares(x, f, n));
    assert_same_double(t->row.squared_error(x, y, NULL, n), scalar.row.squared_error(x, y, NULL, n));
    assert_same_double(t->row.squared_error(x, y, f, n), scalar.row.squared_error(x, y, f, n));
    assert_int_equal(t->row.all_finite(x, n), 1);
}

static void test_sums_have_the_same_bits(void **state)
{
    static rows r;
    (void)state;
    for (int kind = 0; kind < N_KINDS; kind++)
        for (size_t n = 0; n <= MOST; n++) {
            fill(&r, kind, (uint32_t)n + 1);
            for (size_t b = 0; b < n_fast; b++)
                compare_sums(&r, &fast[b], n);
        }
}

/* As ops.h defines it: lane i % 16, then folded. */
static void test_sums_are_in_lanes(void **state)
{
    static rows r;
    (void)state;
    for (size_t n = 0; n <= MOST; n += 7) {
        double lane[QC_LANES] = {0};
        fill(&r, GENTLE, (uint32_t)n);
        for (size_t i = 0; i < n; i++)
            lane[i % QC_LANES] += (double)r.weight[i] * ((double)r.x[i] * (double)r.x[i]);
        for (size_t half = QC_LANES / 2; half > 0; half /= 2)
            for (size_t l = 0; l < half; l++)
                lane[l] += lane[l + half];
        assert_same_double(scalar.row.sum_squares(r.x, r.weight, n), lane[0]);
    }
}

static void test_finite(void **state)
{
    static const uint32_t bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffffffffu};
    float x[64];
    (void)state;
    for (size_t b = 0; b <= n_fast; b++)
        for (size_t i = 0; i < 64; i++)
            for (size_t v = 0; v < sizeof bad / sizeof *bad; v++) {
                const qc_ops_row *row = b < n_fast ? &fast[b].row : &scalar.row;
                for (size_t j = 0; j < 64; j++)
                    x[j] = 3e38f;
                x[i] = qc_float_from_bits(bad[v]);
                assert_int_equal(row->all_finite(x, 64), 0);
                assert_int_equal(row->all_finite(x, i), 1);
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
        cmocka_unit_test(test_maps_have_the_same_bits),
        cmocka_unit_test(test_sums_have_the_same_bits),
        cmocka_unit_test(test_sums_are_in_lanes),
        cmocka_unit_test(test_finite),
        cmocka_unit_test(test_exp_and_silu),
        cmocka_unit_test(test_ends_of_exp),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_functions_of_double),
        cmocka_unit_test(test_ends_of_functions_of_double),
    };
    return cmocka_run_group_tests(tests, open_all, NULL);
}
