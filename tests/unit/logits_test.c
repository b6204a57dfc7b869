/* Whole models against Hugging Face's transformers: logits in float32, made by tests/fixtures/make_expected.py, which
 * nothing here needs. Every family, rotary scaling and window, on models small enough to be stored; and the trained one.
 */
#include "core/backends.h"
#include "core/forward.h"
#include "core/recipe.h"
#include "core/roles.h"
#include "qcore/number.h"
#include "scratch_folder.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SMALL_MODELS QC_TEST_DATA "/fixtures/small_models/"
#define TOLERANCE 1e-3f

static unsigned char *read_all(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    unsigned char *data = malloc(1 << 20);
    if (!file || !data)
        fail_msg("%s cannot be read", path);
    *n = fread(data, 1, 1 << 20, file);
    assert_true(*n > 0 && *n < 1 << 20);
    fclose(file);
    return data;
}

/* Ids with -1 after each sequence. */
static sequences read_sequences(const char *path)
{
    size_t bytes, n = 0;
    unsigned char *data = read_all(path, &bytes);
    sequences s = {malloc(bytes), malloc((bytes / 4 + 1) * sizeof *s.starts), 0};
    assert_true(s.tokens && s.starts);
    s.starts[0] = 0;
    for (size_t i = 0; i < bytes / 4; i++) {
        uint32_t id = qc_load_le32(data + 4 * i);
        if (id == UINT32_MAX)
            s.starts[++s.n] = n;
        else
            s.tokens[n++] = id;
    }
    free(data);
    return s;
}

/* A model opened as the program does. */
typedef struct opened {
    recipe *recipe;
    registry *registry;
    role_table *roles;
    model *model;
    forward *forward;
} opened;

static void need(const scratch_folder *s, qc_status status)
{
    if (status != QC_OK)
        fail_msg("%s", job_message(s->job));
}

/* cpu_mask: as registry_new. */
static void open_model(scratch_folder *s, const char *path, const char *cpu_mask, opened *o)
{
    const char *plugins = getenv("QC_PLUGIN_DIR"), *folders[] = {plugins ? plugins : QC_PLUGIN_DIR};
    char set[512];
    snprintf(set, sizeof set, "model.path=%s", path);
    const override_arg sets[] = {{"--set", set}};
    memset(o, 0, sizeof *o);
    need(s, recipe_open(s->job, NULL, sets, 1, 0, &o->recipe));
    need(s, registry_new(s->job, folders, 1, cpu_mask, &o->registry));
    need(s, registry_load_backends(o->registry, s->job, &(backend_choice){0}));
    need(s, roles_read(s->job, QC_CONFIG_DIR "/roles.yaml", &o->roles));
    need(s, model_open(s->job, o->registry, o->recipe, o->roles, &o->model));
    need(s, forward_open(s->job, o->registry, o->model, UINT64_MAX, s->path, &o->forward));
}

static void close_model(opened *o)
{
    forward_free(o->forward);
    model_free(o->model);
    roles_free(o->roles);
    registry_free(o->registry);
    recipe_free(o->recipe);
}

static float *run(scratch_folder *s, opened *o, qc_job *job, const sequences *q)
{
    hidden_states *hidden;
    size_t n = q->starts[q->n];
    float *logits = malloc(n * forward_vocabulary(o->forward) * sizeof *logits);
    size_t *rows = malloc(n * sizeof *rows);
    assert_true(logits && rows);
    for (size_t i = 0; i < n; i++)
        rows[i] = i;
    need(s, forward_run(o->forward, job, q, NULL, NULL, &hidden));
    need(s, forward_logits(o->forward, job, hidden, rows, n, logits));
    hidden_free(hidden);
    free(rows);
    return logits;
}

static float largest_difference(const float *logits, const unsigned char *expected, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++) {
        float difference = fabsf(logits[i] - qc_float_from_bits(qc_load_le32(expected + 4 * i)));
        if (!(difference <= largest)) /* NaN too */
            largest = difference;
    }
    return largest;
}

static void check_model(void **state, const char *path, const char *ids, const char *expected_logits)
{
    scratch_folder *s = *state;
    opened o;
    size_t bytes;
    sequences q = read_sequences(ids);
    unsigned char *expected = read_all(expected_logits, &bytes);
    open_model(s, path, NULL, &o);
    float *logits = run(s, &o, s->job, &q);
    size_t n = q.starts[q.n] * forward_vocabulary(o.forward);
    assert_int_equal(bytes, 4 * n);
    float difference = largest_difference(logits, expected, n);
    printf("%s: largest difference %.2g\n", path, (double)difference);
    if (!(difference <= TOLERANCE))
        fail_msg("%s: logits differ by %.3g", path, (double)difference);
    free(logits);
    free(expected);
    close_model(&o);
    free(q.tokens);
    free(q.starts);
}

static void check_small(void **state, const char *name)
{
    char path[256], ids[300], logits[300];
    snprintf(path, sizeof path, SMALL_MODELS "%s", name);
    snprintf(ids, sizeof ids, "%s/ids.i32", path);
    snprintf(logits, sizeof logits, "%s/logits.f32", path);
    check_model(state, path, ids, logits);
}

#define SMALL(function, name)          \
    static void function(void **state) \
    {                                  \
        check_small(state, name);      \
    }

SMALL(test_llama, "llama")
SMALL(test_llama_biases, "llama-biases")
SMALL(test_llama_rope_llama3, "llama-rope-llama3")
SMALL(test_llama_rope_linear, "llama-rope-linear")
SMALL(test_llama_rope_yarn, "llama-rope-yarn")
SMALL(test_mistral, "mistral")
SMALL(test_qwen2, "qwen2")
SMALL(test_qwen2_rope_yarn, "qwen2-rope-yarn")
SMALL(test_qwen2_window, "qwen2-window")
SMALL(test_qwen3, "qwen3")
SMALL(test_qwen3_tied, "qwen3-tied")

static void test_trained(void **state)
{
    const char *stem = QC_TEST_DATA "/fixtures/expected_logits/tale";
    char ids[300], logits[300];
    snprintf(ids, sizeof ids, "%s.i32", stem);
    snprintf(logits, sizeof logits, "%s.f32", stem);
    check_model(state, QC_TEST_DATA "/models/tale", ids, logits);
}

/* The trained model's logits with so many threads and no better a CPU than that; NULL: this one. */
static float *run_trained(scratch_folder *s, unsigned threads, const char *cpu_mask, size_t *n)
{
    opened o;
    sequences q = read_sequences(QC_TEST_DATA "/fixtures/expected_logits/tale.i32");
    pool *workers = pool_new(s->host, threads);
    assert_non_null(workers);
    open_model(s, QC_TEST_DATA "/models/tale", cpu_mask, &o);
    float *logits = run(s, &o, pool_job(workers), &q);
    *n = q.starts[q.n] * forward_vocabulary(o.forward);
    close_model(&o);
    pool_free(workers);
    free(q.tokens);
    free(q.starts);
    return logits;
}

static void test_same_bits(void **state)
{
    static const struct {
        unsigned threads;
        const char *cpu_mask;
    } cases[] = {{2, NULL}, {7, NULL}, {1, "x86-v3"}, {2, "generic"}};
    size_t n;
    float *alone = run_trained(*state, 1, NULL, &n);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *other = run_trained(*state, cases[i].threads, cases[i].cpu_mask, &n);
        assert_memory_equal(other, alone, n * sizeof *alone);
        free(other);
    }
    free(alone);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_llama),
        IN_FOLDER(test_llama_biases),
        IN_FOLDER(test_llama_rope_llama3),
        IN_FOLDER(test_llama_rope_linear),
        IN_FOLDER(test_llama_rope_yarn),
        IN_FOLDER(test_mistral),
        IN_FOLDER(test_qwen2),
        IN_FOLDER(test_qwen2_rope_yarn),
        IN_FOLDER(test_qwen2_window),
        IN_FOLDER(test_qwen3),
        IN_FOLDER(test_qwen3_tied),
        IN_FOLDER(test_trained),
        IN_FOLDER(test_same_bits),
    };
    return cmocka_run_group_tests_name("logits", tests, NULL, NULL);
}
