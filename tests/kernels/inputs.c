#include "inputs.h"
#include "qcore/number.h"
#include <float.h>
#include <math.h>
#include <string.h>

const char *input_name(input_kind kind)
{
    static const char *const names[INPUT_KINDS] = {
        "Gaussian", "equal", "zeros",       "largest", "smallest normal", "denormal",     "powers of two",
        "ties",     "mixed", "one outlier", "runs",    "shifted",         "heavy-tailed", "any bits"};
    return names[kind];
}

uint32_t random_next(uint32_t *random) /* xorshift32 */
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random;
}

size_t random_below(uint32_t *random, size_t n)
{
    return random_next(random) % n;
}

float random_float(uint32_t *random, float low, float high)
{
    return low + (high - low) * ((float)(random_next(random) >> 8) * 0x1p-24f);
}

static float bell(uint32_t *random)
{
    float sum = 0.0f;
    for (int i = 0; i < 4; i++)
        sum += random_float(random, -1.0f, 1.0f);
    return sum * 0.87f;
}

static float with_sign(float v, uint32_t *random)
{
    return random_next(random) & 1 ? -v : v;
}

static float neighbour_of(float v, uint32_t *random)
{
    const size_t which = random_below(random, 3);
    return which == 0 ? v : nextafterf(v, which == 1 ? FLT_MAX : -FLT_MAX);
}

static float any_finite(uint32_t *random)
{
    for (;;) {
        const float v = qc_float_from_bits(random_next(random));
        if (qc_is_finite(v))
            return v;
    }
}

static float one(input_kind kind, uint32_t *random)
{
    const float g = bell(random), u = random_float(random, -1.0f, 1.0f);
    switch (kind) {
    case INPUT_ZEROS:
        return with_sign(0.0f, random);
    case INPUT_LARGEST:
        return with_sign(random_next(random) % 4 ? FLT_MAX : FLT_MAX * 0.5f, random);
    case INPUT_SMALLEST:
        return neighbour_of(with_sign(FLT_MIN * (float)(1 + random_below(random, 3)), random), random);
    case INPUT_DENORMAL:
        return u * FLT_MIN;
    case INPUT_POWERS:
        return with_sign(ldexpf(1.0f, (int)random_below(random, 40) - 20), random);
    case INPUT_TIES:
        return neighbour_of((float)(int)random_below(random, 300) - 150.5f, random);
    case INPUT_MIXED:
        return ldexpf(g, (int)random_below(random, 160) - 80);
    case INPUT_SHIFTED:
        return 3.0f + 0.01f * g;
    case INPUT_HEAVY:
        return 0.05f * g * (1.0f + 3.0f * u * u * u * u) * (random_next(random) % 200 ? 1.0f : 20.0f);
    case INPUT_BITS:
        return any_finite(random);
    default:
        return 0.05f * g;
    }
}

/* Runs of neighbours, which often are a sub-block, each of a magnitude of its own. */
static void fill_runs(float *x, size_t n, uint32_t *random)
{
    float all = 0.0f;
    int exponent = 0, equal = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0) {
            exponent = (int)random_below(random, 64) - 34;
            equal = random_below(random, 3) == 0;
            all = random_float(random, -1.0f, 1.0f);
        }
        x[i] = ldexpf(equal ? all : bell(random), exponent);
    }
}

void input_fill(float *x, size_t n, input_kind kind, uint32_t *random)
{
    const float all = random_float(random, -2.0f, 2.0f);
    for (size_t i = 0; i < n; i++)
        x[i] = kind == INPUT_EQUAL ? all : one(kind, random);
    if (kind == INPUT_RUNS)
        fill_runs(x, n, random);
    if (kind == INPUT_OUTLIER && n > 0)
        x[random_below(random, n)] = with_sign(1000.0f, random);
}

void input_bytes(void *x, size_t n, uint32_t *random)
{
    unsigned char *at = x;
    for (size_t i = 0; i < n; i++)
        at[i] = (unsigned char)(random_next(random) >> 11);
}

const char *importance_name(size_t kind)
{
    static const char *const names[IMPORTANCE_KINDS] = {"without importance", "importance",
                                                        "importance 0",       "one huge importance",
                                                        "equal importance",   "denormal importance"};
    return names[kind];
}

void importance_fill(float *f, size_t n, size_t kind, uint32_t *random)
{
    for (size_t i = 0; i < n; i++) {
        const float u = random_float(random, 0.0f, 1.0f);
        const size_t which = random_below(random, 40);
        f[i] = kind == 2 ? 0.0f : kind == 3 ? 1e-30f * (float)(which & 1) : kind == 4 ? 0.25f : u * u;
        if (kind == 1 && which < 4)
            f[i] = which == 0 ? 300.0f * u : 0.0f;
    }
    const float large = random_next(random) & 1 ? 1.0f : FLT_MIN;
    for (size_t i = 0; kind == 5 && i < n; i++)
        f[i] = random_float(random, 0.0f, i / 32 % 2 ? large : FLT_MIN);
    if (kind == 3 && n > 0)
        f[random_below(random, n)] = 1e30f;
}
