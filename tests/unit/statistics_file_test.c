/* Statistics in files: written and read again they are the same, in every number; what a layout cannot hold is refused,
 * and nothing is left behind. */
#include "core/record.h"
#include "opened_model.h"
#include "scratch_folder.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 600, ALL = QC_STAT_MEAN_SQUARE | QC_STAT_GRAM | QC_STAT_ABSMAX | QC_STAT_SAMPLES };

#define SMALL QC_TEST_DATA "/fixtures/small_models/llama"

static const char *const shared[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
static const char *const own[] = {"blk.1.ffn_down.weight"};

typedef struct fixture {
    scratch_folder *scratch;
    qc_job *job;
    opened_model opened;
    statistics *recorded, *read;
} fixture;

static void see(fixture *f, const forward_watch *w, size_t n, const char *const *names)
{
    const model_tensor *weights[3];
    for (size_t i = 0; i < n; i++)
        assert_non_null(weights[i] = model_find(f->opened.model, names[i]));
    size_t cols = (size_t)weights[0]->dims[0];
    float *x = malloc(ROWS * cols * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < ROWS * cols; i++)
        x[i] = (float)((i * 7919 + 13) % 1009) / 500.0f - 1.0f;
    assert_int_equal(w->linears(w->arg, f->job, n, weights, -1, x, ROWS, NULL), QC_OK);
    free(x);
}

static void begin(fixture *f, void **state, uint32_t wanted)
{
    recorder *r = NULL;
    memset(f, 0, sizeof *f);
    f->scratch = *state;
    f->job = f->scratch->job;
    if (opened_model_begin(&f->opened, f->job, SMALL, NULL) != QC_OK)
        fail_msg("%s", job_message(f->job));
    f->recorded = statistics_new(UINT64_MAX);
    assert_int_equal(recorder_new(f->job, f->recorded, wanted, &r), QC_OK);
    const forward_watch w = recorder_watch(r, 0);
    see(f, &w, 3, shared);
    see(f, &w, 1, own);
    assert_int_equal(recorder_finish(r, f->job), QC_OK);
    recorder_free(r);
    assert_int_equal(statistics_add_dataset(f->recorded, f->job, "a.txt", 5), QC_OK);
    f->recorded->chunks = 3;
    f->recorded->chunk_tokens = 200;
}

static void end(fixture *f)
{
    statistics_free(f->read);
    statistics_free(f->recorded);
    opened_model_end(&f->opened);
}

static qc_status write_as(fixture *f, const statistics *s, const char *name, uint32_t which)
{
    job_clear(f->job);
    return statistics_write(s, f->job, f->opened.registry, f->opened.recipe, scratch_path(f->scratch, name), which);
}

static void read_from(fixture *f, const char *name)
{
    recipe rec = *f->opened.recipe; /* shallow */
    char path[200];
    snprintf(path, sizeof path, "%s", scratch_path(f->scratch, name));
    rec.calibration.imatrix = path;
    statistics_free(f->read);
    if (statistics_open(f->job, f->opened.registry, &rec, f->opened.model, &f->read) != QC_OK)
        fail_msg("%s", job_message(f->job));
}

static void expect_same(const float *a, const float *b, size_t n)
{
    assert_true((a == NULL) == (b == NULL));
    if (a)
        assert_memory_equal(a, b, n * sizeof *a);
}

static void expect_same_inputs(const qc_input *a, const qc_input *b)
{
    assert_true(a && b);
    size_t cols = a->cols;
    assert_int_equal(a->cols, b->cols);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_int_equal(a->n_samples, b->n_samples);
    expect_same(a->mean_square, b->mean_square, cols);
    expect_same(a->absmax, b->absmax, cols);
    expect_same(a->gram, b->gram, cols * cols);
    expect_same(a->samples, b->samples, a->n_samples * cols);
}

static void expect_same_files(fixture *f, const char *a, const char *b)
{
    FILE *x = fopen(scratch_path(f->scratch, a), "rb"), *y = fopen(scratch_path(f->scratch, b), "rb");
    assert_true(x && y);
    for (int c = 0; c != EOF;) {
        c = fgetc(x);
        assert_int_equal(c, fgetc(y));
    }
    fclose(x);
    fclose(y);
}

static void everything_comes_back(void **state)
{
    fixture f;
    begin(&f, state, ALL);
    assert_int_equal(write_as(&f, f.recorded, "all.gguf", ALL), QC_OK);
    read_from(&f, "all.gguf");
    assert_int_equal(statistics_entries(f.read), 4);
    assert_int_equal(f.read->n_records, 2);
    assert_int_equal(statistics_known(f.read), ALL);
    assert_int_equal(statistics_chunks(f.read), 3);
    assert_string_equal(statistics_dataset(f.read), "a.txt");
    for (size_t i = 0; i < 3; i++)
        expect_same_inputs(statistics_input(f.recorded, shared[i], 0), statistics_input(f.read, shared[i], 0));
    expect_same_inputs(statistics_input(f.recorded, own[0], 0), statistics_input(f.read, own[0], 0));
    assert_int_equal(write_as(&f, f.read, "again.gguf", ALL), QC_OK);
    expect_same_files(&f, "all.gguf", "again.gguf");
    end(&f);
}

static void only_what_is_asked_for_is_written(void **state)
{
    fixture f;
    begin(&f, state, ALL);
    assert_int_equal(write_as(&f, f.recorded, "some.gguf", QC_STAT_ABSMAX), QC_OK);
    read_from(&f, "some.gguf");
    assert_int_equal(statistics_known(f.read), QC_STAT_MEAN_SQUARE | QC_STAT_ABSMAX);
    assert_null(statistics_input(f.read, own[0], 0)->gram);
    end(&f);
}

/* Mean squares times windows of 200 tokens, of which 600 rows make three. */
static void the_older_layout_has_the_same_means(void **state)
{
    fixture f;
    begin(&f, state, ALL);
    assert_int_equal(write_as(&f, f.recorded, "old.dat", QC_STAT_MEAN_SQUARE), QC_OK);
    read_from(&f, "old.dat");
    const qc_input *a = statistics_input(f.recorded, shared[1], 0), *b = statistics_input(f.read, shared[1], 0);
    assert_int_equal(b->n_tokens, 3);
    for (size_t i = 0; i < a->cols; i++)
        assert_true(fabsf(a->mean_square[i] - b->mean_square[i]) <= 1e-6f * a->mean_square[i]);
    assert_int_equal(statistics_known(f.read), QC_STAT_MEAN_SQUARE);
    end(&f);
}

static void refuses_what_it_cannot_write(void **state)
{
    static const struct {
        const char *name, *words;
        qc_status status;
    } cases[] = {
        {"gram.dat", "cannot hold blk.0.attn_k.weight.absmax", QC_E_UNSUPPORTED},
        {"statistics.txt", "name it *.gguf", QC_E_INVALID},
        {"statistics.safetensors", "name it *.gguf", QC_E_INVALID},
    };
    fixture f;
    begin(&f, state, ALL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(write_as(&f, f.recorded, cases[i].name, ALL), cases[i].status);
        if (!strstr(job_message(f.job), cases[i].words))
            fail_msg("\"%s\" was expected in: %s", cases[i].words, job_message(f.job));
        assert_int_equal(scratch_count(f.scratch), 0);
    }
    assert_int_equal(write_as(&f, f.recorded, "twice.gguf", ALL), QC_OK);
    assert_int_equal(write_as(&f, f.recorded, "twice.gguf", ALL), QC_E_INVALID);
    assert_non_null(strstr(job_message(f.job), "exists already"));
    end(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_comes_back, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(only_what_is_asked_for_is_written, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(the_older_layout_has_the_same_means, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(refuses_what_it_cannot_write, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
