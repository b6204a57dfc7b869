/* Recording: what it adds up, the same bits however tokens come in batches, experts apart, memory kept to. The rows are
 * made up and handed to the recorder as a forward pass would. */
#include "core/record.h"
#include "opened_model.h"
#include "scratch_folder.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    COLS = 24,
    TOKENS = 5000,
    EXPERTS = 3,
    ALL = QC_STAT_MEAN_SQUARE | QC_STAT_GRAM | QC_STAT_ABSMAX | QC_STAT_SAMPLES
};

#define SMALL QC_TEST_DATA "/fixtures/small_models/llama"

static char gate[] = "blk.0.ffn_gate.weight", up[] = "blk.0.ffn_up.weight", down[] = "blk.0.ffn_down.weight",
            stack[] = "blk.0.ffn_up_exps.weight";

typedef struct fixture {
    scratch_folder *scratch;
    qc_job *job;
    opened_model opened; /* for its op tables */
    model_tensor gate, up, down, stack;
    float *x; /* [TOKENS][COLS] */
    statistics *statistics;
} fixture;

static model_tensor tensor(char *name, uint64_t cols, uint64_t matrices)
{
    return (model_tensor){.name = name, .n_dims = 3, .dims = {cols, 8, matrices, 1}, .n_rows = 8 * matrices};
}

/* Numbers of both signs and several sizes, the same each time. */
static void fill(float *x, size_t n)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ((float)(state >> 8) / 8388608.0f - 1.0f) * (float)(1 + i % 7);
    }
}

static void begin(fixture *f, void **state)
{
    memset(f, 0, sizeof *f);
    f->scratch = *state;
    f->job = f->scratch->job;
    if (opened_model_begin(&f->opened, f->job, SMALL, NULL) != QC_OK)
        fail_msg("%s", job_message(f->job));
    f->gate = tensor(gate, COLS, 1);
    f->up = tensor(up, COLS, 1);
    f->down = tensor(down, COLS, 1);
    f->stack = tensor(stack, COLS, EXPERTS);
    f->x = malloc(TOKENS * COLS * sizeof *f->x);
    assert_non_null(f->x);
    fill(f->x, TOKENS * COLS);
}

static void forget(fixture *f)
{
    statistics_free(f->statistics);
    f->statistics = NULL;
    job_clear(f->job);
}

static void end(fixture *f)
{
    forget(f);
    free(f->x);
    opened_model_end(&f->opened);
}

/* gate and up read all rows, `batch` at a time; down the same rows. */
static qc_status record(fixture *f, uint32_t wanted, size_t batch, uint64_t limit)
{
    const model_tensor *both[] = {&f->gate, &f->up}, *one[] = {&f->down};
    recorder *r = NULL;
    forget(f);
    f->statistics = statistics_new(limit);
    assert_int_equal(recorder_new(f->job, f->statistics, wanted, &r), QC_OK);
    const forward_watch w = recorder_watch(r, 0);
    qc_status status = QC_OK;
    for (size_t t = 0; t < TOKENS && status == QC_OK; t += batch) {
        size_t n = TOKENS - t < batch ? TOKENS - t : batch;
        status = w.linears(w.arg, f->job, 2, both, -1, f->x + t * COLS, n, NULL);
        if (status == QC_OK)
            status = w.linears(w.arg, f->job, 1, one, -1, f->x + t * COLS, n, NULL);
    }
    if (status == QC_OK)
        status = w.block_done(w.arg, f->job, 0);
    if (status == QC_OK)
        status = recorder_finish(r, f->job);
    recorder_free(r);
    return status;
}

static void adds_up_what_it_sees(void **state)
{
    fixture f;
    begin(&f, state);
    assert_int_equal(record(&f, ALL, 512, UINT64_MAX), QC_OK);
    const qc_input *in = statistics_input(f.statistics, gate, 0);
    assert_non_null(in);
    assert_int_equal(in->n_tokens, TOKENS);
    for (size_t i = 0; i < COLS; i++)
        for (size_t k = i; k < COLS; k++) {
            double sum = 0, most = 0;
            for (size_t t = 0; t < TOKENS; t++) {
                sum += (double)f.x[t * COLS + i] * (double)f.x[t * COLS + k];
                most = fmax(most, fabs((double)f.x[t * COLS + i]));
            }
            assert_true(fabs((double)in->gram[i * COLS + k] - sum / TOKENS) < 1e-4);
            assert_true(in->gram[i * COLS + k] == in->gram[k * COLS + i]);
            if (i == k)
                assert_true(in->mean_square[i] == (float)sum / (float)TOKENS);
            assert_true(in->absmax[i] == (float)most);
        }
    end(&f);
}

static void keeps_a_shared_input_once(void **state)
{
    fixture f;
    begin(&f, state);
    assert_int_equal(record(&f, ALL, 512, UINT64_MAX), QC_OK);
    assert_int_equal(statistics_entries(f.statistics), 3);
    assert_int_equal(f.statistics->n_records, 2);
    assert_ptr_equal(statistics_input(f.statistics, gate, 0), statistics_input(f.statistics, up, 0));
    assert_ptr_not_equal(statistics_input(f.statistics, gate, 0), statistics_input(f.statistics, down, 0));
    assert_null(statistics_input(f.statistics, "blk.0.attn_q.weight", 0));
    assert_null(statistics_input(f.statistics, gate, 1));
    assert_int_equal(statistics_known(f.statistics), ALL);
    end(&f);
}

static void samples_are_evenly_spread(void **state)
{
    fixture f;
    begin(&f, state);
    assert_int_equal(record(&f, QC_STAT_SAMPLES, 333, UINT64_MAX), QC_OK);
    const qc_input *in = statistics_input(f.statistics, gate, 0);
    size_t stride = 27; /* 5000 / 27 = 185.2: the least power of three by which they are at most 512 */
    assert_int_equal(in->n_samples, (TOKENS + stride - 1) / stride);
    for (size_t i = 0; i < in->n_samples; i++)
        assert_memory_equal(in->samples + i * COLS, f.x + i * stride * COLS, COLS * sizeof *f.x);
    assert_null(in->gram);
    assert_int_equal(statistics_known(f.statistics), QC_STAT_MEAN_SQUARE | QC_STAT_SAMPLES);
    end(&f);
}

/* Batches that cut the pieces of 4096 tokens in every way. */
static void bits_do_not_depend_on_batches(void **state)
{
    static const size_t batches[] = {1, 100, 512, 4096, TOKENS};
    fixture f;
    float *gram = malloc(COLS * COLS * sizeof *gram), mean[COLS], *samples = malloc(MOST_SAMPLES * sizeof mean);
    begin(&f, state);
    assert_true(gram && samples);
    assert_int_equal(record(&f, ALL, 700, UINT64_MAX), QC_OK);
    const qc_input *in = statistics_input(f.statistics, up, 0);
    memcpy(gram, in->gram, COLS * COLS * sizeof *gram);
    memcpy(mean, in->mean_square, sizeof mean);
    memcpy(samples, in->samples, in->n_samples * sizeof mean);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        assert_int_equal(record(&f, ALL, batches[i], UINT64_MAX), QC_OK);
        in = statistics_input(f.statistics, up, 0);
        assert_memory_equal(gram, in->gram, COLS * COLS * sizeof *gram);
        assert_memory_equal(mean, in->mean_square, sizeof mean);
        assert_memory_equal(samples, in->samples, in->n_samples * sizeof mean);
    }
    end(&f);
    free(gram);
    free(samples);
}

/* Expert 0 gets 10 rows, expert 2 gets 3, expert 1 none. */
static void experts_are_apart(void **state)
{
    fixture f;
    recorder *r = NULL;
    begin(&f, state);
    const model_tensor *one[] = {&f.stack};
    f.statistics = statistics_new(UINT64_MAX);
    assert_int_equal(recorder_new(f.job, f.statistics, ALL, &r), QC_OK);
    const forward_watch w = recorder_watch(r, 0);
    assert_int_equal(w.linears(w.arg, f.job, 1, one, 2, f.x, 3, NULL), QC_OK);
    assert_int_equal(w.linears(w.arg, f.job, 1, one, 0, f.x, 10, NULL), QC_OK);
    assert_int_equal(w.linears(w.arg, f.job, 1, one, EXPERTS, f.x, 1, NULL), QC_E_INTERNAL);
    assert_int_equal(w.block_done(w.arg, f.job, 0), QC_OK);
    assert_int_equal(recorder_finish(r, f.job), QC_OK);
    recorder_free(r);
    const qc_input *in[EXPERTS];
    for (uint64_t i = 0; i < EXPERTS; i++)
        in[i] = statistics_input(f.statistics, stack, i);
    assert_int_equal(in[0]->n_tokens, 10);
    assert_int_equal(in[1]->n_tokens, 0);
    assert_int_equal(in[2]->n_tokens, 3);
    assert_int_equal(in[0]->n_samples, 10);
    assert_int_equal(in[1]->n_samples, 0);
    assert_true(in[1]->mean_square[5] == 1.0f && in[1]->gram[5 * COLS + 5] == 1.0f && in[1]->gram[5] == 0.0f);
    float sum = f.x[0] * f.x[0] + f.x[COLS] * f.x[COLS] + f.x[2 * COLS] * f.x[2 * COLS];
    assert_true(fabsf(in[2]->mean_square[0] - sum / 3) < 1e-5f * sum);
    end(&f);
}

static void keeps_to_its_memory(void **state)
{
    fixture f;
    begin(&f, state);
    uint64_t needed = 2 * (record_bytes(ALL, COLS, 1) + recording_bytes(ALL, COLS, 1));
    assert_int_equal(record(&f, ALL, 512, needed), QC_OK);
    assert_true(statistics_bytes(f.statistics) <= needed);
    assert_int_equal(record(&f, ALL, 512, needed - 1), QC_E_LIMIT);
    assert_non_null(strstr(job_message(f.job), down));
    assert_int_equal(record_bytes(ALL, UINT64_MAX / 4, 1), UINT64_MAX);
    end(&f);
}

static void refuses_rows_that_are_no_numbers(void **state)
{
    fixture f;
    begin(&f, state);
    f.x[77 * COLS + 3] = (float)NAN;
    assert_int_equal(record(&f, 0, 512, UINT64_MAX), QC_E_NUMERIC);
    assert_non_null(strstr(job_message(f.job), "column 3"));
    f.x[77 * COLS + 3] = 1e38f;
    assert_int_equal(record(&f, 0, 512, UINT64_MAX), QC_E_NUMERIC);
    end(&f);
}

static void refuses_inputs_that_cannot_be_one(void **state)
{
    fixture f;
    recorder *r = NULL;
    begin(&f, state);
    f.up.dims[0] = COLS / 2;
    const model_tensor *both[] = {&f.gate, &f.up};
    f.statistics = statistics_new(UINT64_MAX);
    assert_int_equal(recorder_new(f.job, f.statistics, 0, &r), QC_OK);
    const forward_watch w = recorder_watch(r, 0);
    assert_int_equal(w.linears(w.arg, f.job, 2, both, -1, f.x, 8, NULL), QC_E_CORRUPT);
    recorder_free(r);
    end(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(adds_up_what_it_sees, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(keeps_a_shared_input_once, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(samples_are_evenly_spread, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(bits_do_not_depend_on_batches, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(experts_are_apart, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(keeps_to_its_memory, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(refuses_rows_that_are_no_numbers, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(refuses_inputs_that_cannot_be_one, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
