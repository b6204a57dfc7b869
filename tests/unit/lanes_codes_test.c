/* qc_lanes_codes multiplies where the rule of codes divides: the same codes all the same, also for weights that lie a
 * float or two beside the middle between two codes. */
#include "qcore/lanes.h"
#include "test_rows.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COLS = 256 };

typedef struct block {
    float x[COLS * QC_LANES], step[QC_MAX_SUBS * QC_LANES], offset[QC_MAX_SUBS * QC_LANES];
    float lowest, highest;
    size_t sub_cols;
} block;

static void compare(const block *b, const char *what)
{
    static float value[COLS * QC_LANES];
    static int32_t expected[COLS * QC_LANES];
    static uint8_t code[COLS * QC_LANES];
    const size_t n_subs = COLS / b->sub_cols, n = b->sub_cols * QC_LANES;
    for (size_t j = 0; j < n_subs; j++)
        qc_lanes_snap(b->x + j * n, b->sub_cols, b->lowest, b->highest, b->step + j * QC_LANES,
                      b->offset + j * QC_LANES, value + j * n, expected + j * n);
    qc_lanes_codes(b->x, n_subs, b->sub_cols, b->lowest, b->highest, b->step, b->offset, code);
    for (size_t i = 0; i < COLS * QC_LANES; i++)
        if (code[i] != expected[i] - (int32_t)b->lowest)
            fail_msg("%s: %.9g with step %.9g gets code %d, not %d", what, (double)b->x[i],
                     (double)b->step[i / n * QC_LANES + i % QC_LANES], code[i] + (int)b->lowest, (int)expected[i]);
}

static float uniform(uint32_t *random)
{
    return (float)(rows_random(random) & 0xffffff) * 0x1p-24f;
}

/* Steps as K-quants have them: an f16 number times an integer; a few are 0. */
static void choose_grid(block *b, int with_offset, uint32_t *random)
{
    for (size_t i = 0; i < COLS / b->sub_cols * QC_LANES; i++) {
        float unit = qc_round_f16(0.001f + 0.01f * uniform(random));
        float whole = (float)(int32_t)(127.0f * uniform(random)), min = (float)(int32_t)(63.0f * uniform(random));
        b->step[i] = b->lowest < 0.0f && rows_random(random) & 1 ? -unit * whole : unit * whole;
        b->offset[i] = with_offset ? -(unit * 0.5f * min) : -0.0f;
    }
}

/* Weights at the middle between two codes and up to three floats beside it, past the ends too. */
static void choose_middles(block *b, uint32_t *random)
{
    for (size_t i = 0; i < COLS * QC_LANES; i++) {
        size_t at = i / (b->sub_cols * QC_LANES) * QC_LANES + i % QC_LANES;
        float span = b->highest - b->lowest + 4.0f;
        float half = b->lowest - 2.0f + (float)(int32_t)(span * uniform(random)) + 0.5f;
        uint32_t bits = qc_float_bits(half * b->step[at] + b->offset[at]);
        b->x[i] = qc_float_from_bits(bits + rows_random(random) % 7 - 3);
        if (!qc_is_finite(b->x[i]))
            b->x[i] = 0.0f;
    }
}

static const struct {
    float lowest, highest;
    size_t sub_cols;
    int with_offset;
} kinds[] = {{0, 3, 16, 1},    {-4, 3, 16, 0},     {0, 15, 32, 1}, {0, 31, 32, 1},
             {-32, 31, 16, 0}, {-128, 127, 32, 0}, {1, 4, 16, 1}};

static void test_middles(void **state)
{
    static block b;
    uint32_t random = 1;
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int run = 0; run < 200; run++) {
            b.lowest = kinds[k].lowest;
            b.highest = kinds[k].highest;
            b.sub_cols = kinds[k].sub_cols;
            choose_grid(&b, kinds[k].with_offset, &random);
            choose_middles(&b, &random);
            compare(&b, "middles");
        }
}

static void test_extremes(void **state)
{
    static const float values[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 0x1p-126f,
                                   1.0f, -1.0f, FLT_MAX,   -FLT_MAX,   0x1p100f};
    static const float steps[] = {0.0f, -0.0f, 0x1p-100f,         -0x1p-100f, 0x1p-24f,
                                  1.0f, -3.0f, 65504.0f * 127.0f, 0x1p100f};
    static block b = {.lowest = -4, .highest = 3, .sub_cols = 16};
    uint32_t random = 1;
    (void)state;
    for (int run = 0; run < 100; run++) {
        for (size_t i = 0; i < COLS * QC_LANES; i++)
            b.x[i] = values[rows_random(&random) % (sizeof values / sizeof *values)];
        for (size_t i = 0; i < QC_MAX_SUBS * QC_LANES; i++) {
            b.step[i] = steps[rows_random(&random) % (sizeof steps / sizeof *steps)];
            b.offset[i] = rows_random(&random) & 1 ? -0.0f : -0x1p20f;
        }
        compare(&b, "extremes");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_middles), cmocka_unit_test(test_extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
