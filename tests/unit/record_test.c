/* Recording in steps: some inputs of a block, others in the next step over it, to the bit what recording all at once gives;
 * and statistics made over where weights change on the way. */
#include "core/record.h"
#include "made_run.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ALL = QC_STAT_MEAN_SQUARE | QC_STAT_GRAM | QC_STAT_ABSMAX | QC_STAT_SAMPLES };

static void need(const made_run *r, qc_status status)
{
    if (status != QC_OK)
        fail_msg("%s", job_message(r->job));
}

static void expect_same(const float *a, const float *b, size_t n)
{
    assert_true((a == NULL) == (b == NULL));
    if (a)
        assert_memory_equal(a, b, n * sizeof *a);
}

/* All of one input; `which` of it is there. */
static void expect_input(const statistics *s, const statistics *full, const char *tensor, uint32_t which)
{
    const qc_input *a = statistics_input(s, tensor, 0), *b = statistics_input(full, tensor, 0);
    assert_true(a && b);
    assert_int_equal(a->n_tokens, b->n_tokens);
    expect_same(a->mean_square, b->mean_square, a->cols);
    expect_same(a->gram, which & QC_STAT_GRAM ? b->gram : NULL, a->cols * a->cols);
    expect_same(a->absmax, which & QC_STAT_ABSMAX ? b->absmax : NULL, a->cols);
    expect_same(a->samples, which & QC_STAT_SAMPLES ? b->samples : NULL, a->cols * b->n_samples);
}

static statistics *record_all(made_run *r)
{
    recorder *rec = NULL;
    hidden_states *hidden = NULL;
    statistics *s = statistics_new(UINT64_MAX);
    assert_non_null(s);
    need(r, recorder_new(r->job, s, ALL, &rec));
    const forward_watch watch = recorder_watch(rec, 1);
    need(r, forward_run(r->forward, r->job, made_sequences(), &watch, NULL, &hidden));
    hidden_free(hidden);
    need(r, recorder_finish(rec, r->job));
    recorder_free(rec);
    return s;
}

/* ---- some inputs ---- */

typedef struct choice {
    const char *part;
    uint32_t wanted;
    size_t asked;
} choice;

static uint32_t choose(void *arg, size_t n, const model_tensor *const *weights, int *is_last)
{
    choice *c = arg;
    assert_int_equal(*is_last, 0);
    c->asked++;
    for (size_t i = 0; i < n; i++)
        *is_last |= strstr(weights[i]->name, c->part) != NULL;
    return *is_last ? c->wanted : 0;
}

/* The inputs of a block one after another, each in a step of its own. */
static void record_block(made_run *r, forward_steps *steps, recorder *rec, uint32_t block, statistics *s,
                         const statistics *full)
{
    choice all[] = {{"attn_k", QC_STAT_GRAM, 0},
                    {"attn_output", ALL, 0},
                    {"ffn_up", QC_STAT_MEAN_SQUARE, 0},
                    {"ffn_down", QC_STAT_GRAM | QC_STAT_SAMPLES, 0}};
    const forward_watch watch = recorder_watch(rec, 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", block, all[i].part);
        recorder_choose(rec, choose, &all[i]);
        need(r, forward_step(steps, r->job, block, &watch, 0));
        need(r, recorder_finish(rec, r->job));
        assert_int_equal(all[i].asked, i + 1); /* once for each input up to the last */
        assert_int_equal(s->n_records, 1);
        expect_input(s, full, name, all[i].wanted);
        statistics_clear(s);
        assert_int_equal(statistics_bytes(s), 0);
        assert_null(statistics_input(s, name, 0));
    }
}

static void inputs_recorded_one_by_one_are_the_same(void **state)
{
    made_run r;
    forward_steps *steps = NULL;
    recorder *rec = NULL;
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){.threads = 3});
    statistics *full = record_all(&r), *s = statistics_new(UINT64_MAX);
    need(&r, recorder_new(r.job, s, ALL, &rec));
    need(&r, forward_begin(r.forward, r.job, made_sequences(), NULL, &steps));
    for (uint32_t block = 0; block < MADE_BLOCKS; block++) {
        record_block(&r, steps, rec, block, s, full);
        need(&r, forward_step(steps, r.job, block, NULL, 1));
        forward_leave(r.forward);
    }
    statistics *copy = NULL;
    need(&r, statistics_copy(full, r.job, &copy));
    assert_int_equal(statistics_bytes(copy), statistics_bytes(full));
    expect_input(copy, full, "output.weight", ALL);
    expect_input(copy, full, "blk.0.attn_k.weight", ALL);
    statistics_free(copy);
    recorder_choose(rec, NULL, NULL);
    const forward_watch watch = recorder_watch(rec, 1);
    need(&r, forward_step(steps, r.job, MADE_BLOCKS, &watch, 0));
    need(&r, recorder_finish(rec, r.job));
    expect_input(s, full, "output.weight", ALL);
    forward_end(steps);
    recorder_free(rec);
    statistics_free(s);
    statistics_free(full);
    made_run_end(&r);
}

static void an_input_is_recorded_once(void **state)
{
    made_run r;
    forward_steps *steps = NULL;
    recorder *rec = NULL;
    choice down = {"ffn_down", QC_STAT_GRAM, 0};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    statistics *s = statistics_new(UINT64_MAX);
    need(&r, recorder_new(r.job, s, 0, &rec));
    recorder_choose(rec, choose, &down);
    const forward_watch watch = recorder_watch(rec, 0);
    need(&r, forward_begin(r.forward, r.job, made_sequences(), NULL, &steps));
    need(&r, forward_step(steps, r.job, 0, &watch, 0));
    need(&r, recorder_finish(rec, r.job));
    assert_int_equal(forward_step(steps, r.job, 0, &watch, 0), QC_E_INTERNAL);
    assert_non_null(strstr(job_message(r.job), "blk.0.ffn_down.weight is recorded a second time"));
    forward_end(steps);
    recorder_free(rec);
    statistics_free(s);
    made_run_end(&r);
}

/* What is held while it is recorded, and after that. */
static void memory_is_what_was_said(void **state)
{
    made_run r;
    forward_steps *steps = NULL;
    recorder *rec = NULL;
    choice down = {"ffn_down", QC_STAT_GRAM, 0};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    uint64_t held = record_bytes(QC_STAT_GRAM, MADE_INNER, 1), beside = recording_bytes(QC_STAT_GRAM, MADE_INNER, 1);
    assert_true(held + beside < 8 * MADE_INNER * MADE_INNER + 64 * MADE_INNER);
    statistics *s = statistics_new(held + beside);
    need(&r, recorder_new(r.job, s, 0, &rec));
    recorder_choose(rec, choose, &down);
    const forward_watch watch = recorder_watch(rec, 0);
    need(&r, forward_begin(r.forward, r.job, made_sequences(), NULL, &steps));
    need(&r, forward_step(steps, r.job, 0, &watch, 0));
    assert_int_equal(statistics_bytes(s), held + beside - sizeof(float)); /* no count of samples */
    need(&r, recorder_finish(rec, r.job));
    assert_int_equal(statistics_bytes(s), held - sizeof(float));
    statistics_drop_gram(s, "blk.0.ffn_down.weight");
    statistics_drop_gram(s, "blk.0.ffn_down.weight");
    statistics_drop_gram(s, "blk.0.ffn_up.weight");
    assert_int_equal(statistics_bytes(s), record_bytes(0, MADE_INNER, 1) - sizeof(float));
    assert_null(statistics_input(s, "blk.0.ffn_down.weight", 0)->gram);
    forward_end(steps);
    recorder_free(rec);
    statistics_free(s);
    made_run_end(&r);
}

/* ---- scaling ---- */

static void expect_near(float got, double expected)
{
    assert_true(fabs((double)got - expected) <= 1e-6 * fabs(expected));
}

static void expect_scaled(const qc_input *a, const qc_input *b, const float *factor)
{
    for (size_t i = 0; i < a->cols; i++) {
        double f = (double)factor[i];
        expect_near(a->mean_square[i], (double)b->mean_square[i] / (f * f));
        expect_near(a->absmax[i], (double)b->absmax[i] / fabs(f));
        for (size_t k = 0; k < a->cols; k++)
            expect_near(a->gram[i * a->cols + k], (double)b->gram[i * a->cols + k] / (f * (double)factor[k]));
        for (size_t k = 0; k < a->n_samples; k++)
            expect_near(a->samples[k * a->cols + i], (double)b->samples[k * a->cols + i] / f);
    }
}

static void factors_change_all_that_is_known(void **state)
{
    made_run r;
    float factor[MADE_WIDTH];
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){.threads = 3});
    statistics *before = record_all(&r), *s = record_all(&r);
    for (size_t i = 0; i < MADE_WIDTH; i++)
        factor[i] = (i % 3 ? 1.0f : -1.0f) * (0.25f + 0.3f * (float)(i % 7));
    need(&r, statistics_scale(s, r.job, "blk.1.attn_k.weight", 0, factor));
    const qc_input *in = statistics_input(s, "blk.1.attn_q.weight", 0);
    expect_scaled(in, statistics_input(before, "blk.1.attn_q.weight", 0), factor);
    for (size_t i = 0; i < MADE_WIDTH * MADE_WIDTH; i++)
        assert_true(in->gram[i] == in->gram[i % MADE_WIDTH * MADE_WIDTH + i / MADE_WIDTH]);
    expect_input(s, before, "blk.0.attn_q.weight", ALL);
    expect_input(s, before, "blk.1.ffn_up.weight", ALL);
    factor[5] = 0;
    assert_int_equal(statistics_scale(s, r.job, "blk.1.attn_k.weight", 0, factor), QC_E_NUMERIC);
    assert_non_null(strstr(job_message(r.job), "blk.1.attn_k.weight: the factor of column 5 is 0"));
    job_clear(r.job);
    factor[5] = 1e-30f;
    assert_int_equal(statistics_scale(s, r.job, "blk.1.attn_k.weight", 0, factor), QC_E_NUMERIC);
    assert_non_null(strstr(job_message(r.job), "column 5"));
    statistics_free(s);
    statistics_free(before);
    made_run_end(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(inputs_recorded_one_by_one_are_the_same),
        TEST(an_input_is_recorded_once),
        TEST(memory_is_what_was_said),
        TEST(factors_change_all_that_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
