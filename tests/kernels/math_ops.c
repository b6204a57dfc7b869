/* The math table. The portable entries define it; how near they are to the true values is math_test.c's business. */
#include "check.h"
#include "inputs.h"

enum { BENCH_N = 4096, SHORT = 70 };

typedef void (*map_fn)(float *y, const float *x, size_t n);
typedef double (*sum_fn)(const float *x, size_t n);
typedef void (*norm_fn)(float *y, const float *x, const float *weight, size_t n, float epsilon);

/* Every length up to SHORT, some beyond; all inputs, and steep ones that pass both ends of exp. */
static int row_of_case(const kernel *k, size_t i, size_t least, uint32_t *random, call *c, float **x)
{
    static const size_t longer[] = {127, 128, 129, 300, 511, 1025};
    const size_t kinds = INPUT_KINDS + 1, lengths = SHORT + sizeof longer / sizeof *longer;
    const size_t step = k->effort ? 1 : 5, rounds = k->effort ? k->effort : 1;
    const size_t at = i == BENCH_CASE ? 0 : i * step;
    if (at >= lengths * kinds * rounds)
        return 0;
    const size_t kind = at % kinds, which = at / kinds % lengths;
    const size_t n = i == BENCH_CASE ? BENCH_N : which < SHORT ? which + least : longer[which - SHORT];
    *x = case_room(n * sizeof **x);
    input_fill(*x, n, kind < INPUT_KINDS ? (input_kind)kind : INPUT_GAUSS, random);
    for (size_t j = 0; j < n && (kind == INPUT_KINDS || i == BENCH_CASE); j++)
        (*x)[j] = random_float(random, -120.0f, 120.0f);
    c->number[0] = c->elements = n;
    snprintf(c->input, sizeof c->input, "%zu floats, %s", n,
             kind < INPUT_KINDS ? input_name((input_kind)kind) : "-120 to 120");
    return 1;
}

/* y is x in half of the cases. */
static void map_buffers(call *c, const float *x, int in_place)
{
    if (in_place) {
        call_updates(c, "y", TYPE_FLOATS, x, c->number[0]);
        snprintf(c->input + strlen(c->input), sizeof c->input - strlen(c->input), ", in place");
    } else {
        call_writes(c, "y", TYPE_FLOATS, c->number[0]);
        call_reads(c, "x", TYPE_FLOATS, x, c->number[0]);
    }
    c->number[1] = (size_t)in_place;
}

static float *out(const call *c)
{
    return (float *)(void *)c->buffers[0].at;
}

static const float *in(const call *c)
{
    return (const float *)(const void *)c->buffers[c->number[1] ? 0 : 1].at;
}

static void run_map(any_fn fn, const void *side, call *c)
{
    (void)side;
    ((map_fn)fn)(out(c), in(c), c->number[0]);
}

static int make_map(const kernel *k, size_t i, uint32_t *random, call *c)
{
    float *x;
    if (!row_of_case(k, i, 0, random, c, &x))
        return 0;
    map_buffers(c, x, i != BENCH_CASE && (random_next(random) & 1));
    return 1;
}

static int make_softmax(const kernel *k, size_t i, uint32_t *random, call *c)
{
    float *x;
    if (!row_of_case(k, i, 1, random, c, &x))
        return 0;
    map_buffers(c, x, i != BENCH_CASE && (random_next(random) & 1));
    return 1;
}

static void run_log_sum_exp(any_fn fn, const void *side, call *c)
{
    (void)side;
    const double v = ((sum_fn)fn)((const float *)(const void *)c->buffers[0].at, c->number[0]);
    c->returns_double = 1;
    memcpy(&c->result, &v, sizeof v);
}

static int make_log_sum_exp(const kernel *k, size_t i, uint32_t *random, call *c)
{
    float *x;
    if (!row_of_case(k, i, 1, random, c, &x))
        return 0;
    call_reads(c, "x", TYPE_FLOATS, x, c->number[0]);
    return 1;
}

static void run_rms_norm(any_fn fn, const void *side, call *c)
{
    (void)side;
    const float *weight = (const float *)(const void *)c->buffers[c->n_buffers - 1].at;
    ((norm_fn)fn)(out(c), in(c), weight, c->number[0], c->real);
}

static int make_rms_norm(const kernel *k, size_t i, uint32_t *random, call *c)
{
    static const float epsilons[] = {1e-5f, 0.0f, 1e-6f};
    float *x;
    if (!row_of_case(k, i, 1, random, c, &x))
        return 0;
    map_buffers(c, x, i != BENCH_CASE && (random_next(random) & 1));
    float *weight = case_room(c->number[0] * sizeof *weight);
    input_fill(weight, c->number[0], (input_kind)random_below(random, INPUT_KINDS), random);
    call_reads(c, "weight", TYPE_FLOATS, i == BENCH_CASE || (random_next(random) & 1) ? weight : NULL, c->number[0]);
    c->real = epsilons[random_below(random, 3)];
    return 1;
}

static const signature map_signature = {run_map, make_map};
static const signature softmax_signature = {run_map, make_softmax};
static const signature log_sum_exp_signature = {run_log_sum_exp, make_log_sum_exp};
static const signature rms_norm_signature = {run_rms_norm, make_rms_norm};

const member math_members[] = {
    MEMBER(qc_ops_math, exp, map_signature, NULL),
    MEMBER(qc_ops_math, silu, map_signature, NULL),
    MEMBER(qc_ops_math, softmax, softmax_signature, NULL),
    MEMBER(qc_ops_math, log_sum_exp, log_sum_exp_signature, NULL),
    MEMBER(qc_ops_math, rms_norm, rms_norm_signature, NULL),
    {0},
};
