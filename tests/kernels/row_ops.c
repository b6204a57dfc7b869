/* The row table, and what ops.h says of each entry, in plain loops. */
#include "check.h"
#include "inputs.h"
#include "qcore/number.h"
#include <math.h>

enum { BENCH_N = 4096 };

/* Every length up to 70, then in steps, to past four pages of doubles. */
static int length_of_case(const kernel *k, size_t i, size_t *n)
{
    static const size_t longer[] = {127, 128, 129, 255, 257, 300, 511, 1000, 1023, 1024, 1025};
    const size_t rounds = 71 + sizeof longer / sizeof *longer, all = rounds * INPUT_KINDS;
    const size_t step = k->effort ? 1 : 5;
    if (i == BENCH_CASE) {
        *n = BENCH_N;
        return 1;
    }
    i *= step;
    if (i >= all * (k->effort ? k->effort : 1))
        return 0;
    i %= all;
    *n = i / INPUT_KINDS < 71 ? i / INPUT_KINDS : longer[i / INPUT_KINDS - 71];
    return 1;
}

static input_kind kind_of_case(const kernel *k, size_t i)
{
    return i == BENCH_CASE ? INPUT_GAUSS : (input_kind)(i * (k->effort ? 1 : 5) % INPUT_KINDS);
}

static const float *new_row(size_t n, input_kind kind, uint32_t *random)
{
    float *x = case_room(n * sizeof *x);
    input_fill(x, n, kind, random);
    return x;
}

static void sums_fold(double *lane, double *sum)
{
    for (size_t half = QC_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    *sum = lane[0];
}

static void take_double(call *c, double v)
{
    c->returns_double = 1;
    memcpy(&c->result, &v, sizeof v);
}

/* ---- all_finite(x, n) ---- */

typedef int (*finite_fn)(const float *x, size_t n);

static int define_all_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

static void run_all_finite(any_fn fn, const void *side, call *c)
{
    (void)side;
    c->result = ((finite_fn)fn)((const float *)(const void *)c->buffers[0].at, c->number[0]) != 0;
}

/* Half of the cases have something that is not finite, at any place. */
static int make_all_finite(const kernel *k, size_t i, uint32_t *random, call *c)
{
    static const uint32_t bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffffffffu};
    size_t n;
    if (!length_of_case(k, i, &n))
        return 0;
    float *x = case_room(n * sizeof *x);
    input_fill(x, n, kind_of_case(k, i), random);
    const int spoilt = i != BENCH_CASE && n > 0 && (random_next(random) & 1);
    if (spoilt)
        x[random_below(random, n)] = qc_float_from_bits(bad[random_below(random, 5)]);
    call_reads(c, "x", TYPE_FLOATS, x, n);
    c->number[0] = c->elements = n;
    snprintf(c->input, sizeof c->input, "%zu floats, %s%s", n, input_name(kind_of_case(k, i)),
             spoilt ? ", one not finite" : "");
    return 1;
}

static const signature all_finite_signature = {run_all_finite, make_all_finite};

/* ---- sum_squares(x, importance, n), squared_error(x, y, importance, n) ---- */

typedef double (*squares_fn)(const float *x, const float *importance, size_t n);
typedef double (*error_fn)(const float *x, const float *y, const float *importance, size_t n);

static double define_squared_error(const float *x, const float *y, const float *importance, size_t n)
{
    double lane[QC_LANES] = {0}, sum;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)y[i];
        lane[i % QC_LANES] += importance ? (double)importance[i] * (d * d) : d * d;
    }
    sums_fold(lane, &sum);
    return sum;
}

static double define_sum_squares(const float *x, const float *importance, size_t n)
{
    double lane[QC_LANES] = {0}, sum;
    for (size_t i = 0; i < n; i++) {
        const double square = (double)x[i] * (double)x[i];
        lane[i % QC_LANES] += importance ? (double)importance[i] * square : square;
    }
    sums_fold(lane, &sum);
    return sum;
}

static const float *floats_at(const call *c, size_t i)
{
    return (const float *)(const void *)c->buffers[i].at;
}

static void run_sum_squares(any_fn fn, const void *side, call *c)
{
    (void)side;
    take_double(c, ((squares_fn)fn)(floats_at(c, 0), floats_at(c, 1), c->number[0]));
}

static void run_squared_error(any_fn fn, const void *side, call *c)
{
    (void)side;
    take_double(c, ((error_fn)fn)(floats_at(c, 0), floats_at(c, 2), floats_at(c, 1), c->number[0]));
}

static int make_sum_squares(const kernel *k, size_t i, uint32_t *random, call *c)
{
    size_t n;
    if (!length_of_case(k, i, &n))
        return 0;
    const size_t weighted = i == BENCH_CASE ? 1 : i / 3 % IMPORTANCE_KINDS;
    float *f = case_room(n * sizeof *f);
    importance_fill(f, n, weighted, random);
    call_reads(c, "x", TYPE_FLOATS, new_row(n, kind_of_case(k, i), random), n);
    call_reads(c, "importance", TYPE_FLOATS, weighted ? f : NULL, n);
    c->number[0] = c->elements = n;
    snprintf(c->input, sizeof c->input, "%zu floats, %s, %s", n, input_name(kind_of_case(k, i)),
             importance_name(weighted));
    return 1;
}

static int make_squared_error(const kernel *k, size_t i, uint32_t *random, call *c)
{
    if (!make_sum_squares(k, i, random, c))
        return 0;
    call_reads(c, "y", TYPE_FLOATS, new_row(c->number[0], kind_of_case(k, i), random), c->number[0]);
    return 1;
}

static const signature sum_squares_signature = {run_sum_squares, make_sum_squares};
static const signature squared_error_signature = {run_squared_error, make_squared_error};

/* ---- round_activations(code, scale, sum, x, n) ---- */

typedef void (*round_fn)(int8_t *code, float *scale, int16_t *sum, const float *x, size_t n);

static void define_round_activations(int8_t *code, float *scale, int16_t *sum, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += QC_ACTIVATION_COLS) {
        float most = 0.0f;
        for (size_t j = i; j < i + QC_ACTIVATION_COLS; j++)
            most = fmaxf(most, fabsf(x[j]));
        const int counts = most >= 0x1p-100f;
        scale[i / QC_ACTIVATION_COLS] = counts ? most / 127.0f : 0.0f;
        for (size_t j = i; j < i + QC_ACTIVATION_COLS; j++) {
            const float v = counts ? rintf(x[j] * (127.0f / most)) : 0.0f;
            code[j] = (int8_t)fminf(fmaxf(v, -127.0f), 127.0f);
            sum[j / 16] = (int16_t)((j % 16 ? sum[j / 16] : 0) + code[j]);
        }
    }
}

static void run_round_activations(any_fn fn, const void *side, call *c)
{
    (void)side;
    ((round_fn)fn)((int8_t *)c->buffers[0].at, (float *)(void *)c->buffers[1].at, (int16_t *)(void *)c->buffers[2].at,
                   floats_at(c, 3), c->number[0]);
}

/* Ties: with 127 as the largest, codes are the numbers themselves, and every other one lies halfway between two. */
static void make_ties(float *x, size_t n, uint32_t *random)
{
    for (size_t j = 0; j < n; j++) {
        const float v = (float)random_below(random, 126) + (j & 1 ? 0.5f : nextafterf(0.5f, (float)(j & 2)));
        x[j] = j % QC_ACTIVATION_COLS == 5 ? 127.0f : random_next(random) & 1 ? -v : v;
    }
}

static int make_round_activations(const kernel *k, size_t i, uint32_t *random, call *c)
{
    size_t n;
    if (!length_of_case(k, i, &n))
        return 0;
    n = n > 71 ? n / 32 * 32 : n % 12 * QC_ACTIVATION_COLS;
    call_writes(c, "code", TYPE_BYTES, n);
    call_writes(c, "scale", TYPE_FLOATS, n / QC_ACTIVATION_COLS);
    call_writes(c, "sum", TYPE_SHORTS, n / 16);
    float *x = case_room(n * sizeof *x);
    input_fill(x, n, kind_of_case(k, i), random);
    if (kind_of_case(k, i) == INPUT_TIES)
        make_ties(x, n, random);
    call_reads(c, "x", TYPE_FLOATS, x, n);
    c->number[0] = c->elements = n;
    snprintf(c->input, sizeof c->input, "%zu floats, %s", n, input_name(kind_of_case(k, i)));
    return 1;
}

static const signature round_activations_signature = {run_round_activations, make_round_activations};

const member row_members[] = {
    MEMBER(qc_ops_row, all_finite, all_finite_signature, (any_fn)define_all_finite),
    MEMBER(qc_ops_row, sum_squares, sum_squares_signature, (any_fn)define_sum_squares),
    MEMBER(qc_ops_row, squared_error, squared_error_signature, (any_fn)define_squared_error),
    MEMBER(qc_ops_row, round_activations, round_activations_signature, (any_fn)define_round_activations),
    {0},
};
