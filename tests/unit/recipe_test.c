/* Recipes as structs: defaults, every key, site settings beneath, --set above. */
#include "core/recipe.h"
#include "core/rules.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PRESET "quantize: {preset: " QC_CONFIG_DIR "/presets/Q4_K_M.yaml}\n"
#define PATHS "model: {path: in}\noutput: {path: out.gguf}\n"

static int begin(void **state)
{
    int failed = scratch_begin(state);
    scratch_folder *s = *state;
    scratch_write(s, "site.ini", "", 0);
    setenv("QCORE_CONFIG", scratch_path(s, "site.ini"), 1);
    return failed;
}

static recipe *open_with(scratch_folder *s, const char *text, const override_arg *sets, size_t n_sets)
{
    recipe *r;
    scratch_write(s, "r.yaml", text, strlen(text));
    if (recipe_open(s->job, scratch_path(s, "r.yaml"), sets, n_sets, RECIPE_OUTPUT, &r) != QC_OK)
        fail_msg("%s", job_message(s->job));
    return r;
}

static void test_defaults(void **state)
{
    recipe *r = open_with(*state, PATHS PRESET, NULL, 0);
    assert_string_equal(r->model.path, "in");
    assert_string_equal(r->output.path, "out.gguf");
    assert_null(r->model.format.id);
    assert_null(r->model.tokenizer.id);
    assert_null(r->output.format.id);
    assert_null(r->calibration.imatrix);
    assert_false(r->output.overwrite);
    assert_int_equal(r->run.memory, 1u << 30);
    assert_int_equal(r->run.threads, 0);
    assert_int_equal(r->run.seed, 0);
    assert_true(r->run.exact);
    assert_int_equal(r->plugins.n_paths, 0);
    assert_int_equal(r->quantize.n_methods, 1);
    assert_string_equal(r->quantize.methods[0].id, "rtn");
    assert_string_equal(r->quantize.rules->encoding, "q4_k");
    recipe_free(r);
}

static void test_every_key(void **state)
{
    recipe *r = open_with(*state,
                          "model: {path: in, format: gguf, architecture: llama, tokenizer: {bpe: {pre: x, n: 3}}}\n"
                          "calibration: {imatrix: i.dat}\n"
                          "quantize:\n"
                          "  preset: " QC_CONFIG_DIR "/presets/Q4_K_M.yaml\n"
                          "  encoding: q5_k\n"
                          "  methods: [{gptq: {damp: 0.02}}, rtn]\n"
                          "  rules: [{role: attn_v, encoding: q6_k}]\n"
                          "output: {path: o, format: safetensors, overwrite: true}\n"
                          "plugins: {path: [a, b]}\n"
                          "run: {memory: 64MiB, threads: 7, seed: 9, exact: false}\n",
                          NULL, 0);
    assert_string_equal(r->model.tokenizer.id, "bpe");
    assert_int_equal(r->model.tokenizer.n_settings, 2);
    assert_string_equal(r->model.tokenizer.names[1], "n");
    assert_string_equal(r->model.tokenizer.values[1], "3");
    assert_string_equal(r->calibration.imatrix, "i.dat");
    assert_string_equal(r->quantize.rules->encoding, "q5_k");
    assert_int_equal(r->quantize.n_methods, 2);
    assert_string_equal(r->quantize.methods[0].values[0], "0.02");
    assert_int_equal(r->quantize.methods[0].at.line, 6);
    const rule *last = &r->quantize.rules->rules[r->quantize.rules->n_rules - 1];
    assert_true(last->own);
    assert_int_equal(last->at.line, 7);
    assert_string_equal(r->output.format.id, "safetensors");
    assert_true(r->output.overwrite);
    assert_int_equal(r->plugins.n_paths, 2);
    assert_string_equal(r->plugins.paths[1], "b");
    assert_int_equal(r->run.memory, 64u << 20);
    assert_int_equal(r->run.threads, 7);
    assert_int_equal(r->run.seed, 9);
    assert_false(r->run.exact);
    recipe_free(r);
}

static void expect_methods(scratch_folder *s, const char *text, const char *id)
{
    recipe *r = open_with(s, text, NULL, 0);
    assert_int_equal(r->quantize.n_methods, 1);
    assert_string_equal(r->quantize.methods[0].id, id);
    recipe_free(r);
}

/* A preset rounds by importance where there is some; a recipe's own word holds either way. */
static void test_methods(void **state)
{
    expect_methods(*state, PATHS PRESET "calibration: {imatrix: i.dat}\n", "imatrix");
    expect_methods(*state,
                   PATHS "calibration: {imatrix: i.dat}\n"
                         "quantize: {preset: " QC_CONFIG_DIR "/presets/Q4_K_M.yaml, methods: rtn}\n",
                   "rtn");
}

static void test_site(void **state)
{
    scratch_folder *s = *state;
    static const char site[] = "[run]\nmemory = 2GiB\nthreads = 3\n[plugins]\npath = x:y\n";
    scratch_write(s, "site.ini", site, sizeof site - 1);
    recipe *r = open_with(s, PATHS PRESET "run: {threads: 5}\nplugins: {path: a}\n", NULL, 0);
    assert_int_equal(r->run.memory, 2u << 30);
    assert_int_equal(r->run.threads, 5);
    assert_int_equal(r->plugins.n_paths, 3);
    assert_string_equal(r->plugins.paths[0], "a");
    assert_string_equal(r->plugins.paths[2], "y");
    recipe_free(r);
}

static void test_sets(void **state)
{
    static const override_arg sets[] = {{NULL, "run.threads=2"},
                                        {NULL, "run.memory=8MiB"},
                                        {NULL, "model.path=else"},
                                        {NULL, "run.threads=4"},
                                        {NULL, "quantize.rules[]={role: attn_v, encoding: q6_k}"},
                                        {NULL, "quantize.rules[0].role=attn_k"},
                                        {NULL, "calibration.imatrix=i.gguf"}};
    recipe *r = open_with(*state, PATHS PRESET, sets, sizeof sets / sizeof *sets);
    assert_int_equal(r->run.threads, 4);
    assert_int_equal(r->run.memory, 8u << 20);
    assert_string_equal(r->model.path, "else");
    assert_string_equal(r->calibration.imatrix, "i.gguf");
    const rule *last = &r->quantize.rules->rules[r->quantize.rules->n_rules - 1];
    assert_string_equal(last->roles.items[0], "attn_k");
    assert_string_equal(last->encoding, "q6_k");
    recipe_free(r);
}

static void test_sets_alone(void **state)
{
    scratch_folder *s = *state;
    static const override_arg sets[] = {{NULL, "model={path: in}"},
                                        {"--preset", "quantize.preset=" QC_CONFIG_DIR "/presets/F16.yaml"},
                                        {NULL, "output.path=out.gguf"}};
    recipe *r;
    assert_int_equal(recipe_open(s->job, NULL, sets, 3, RECIPE_OUTPUT, &r), QC_OK);
    assert_string_equal(r->model.path, "in");
    recipe_free(r);
    assert_int_equal(recipe_open(s->job, NULL, sets, 2, RECIPE_OUTPUT, &r), QC_E_INVALID);
    assert_null(r);
    assert_non_null(strstr(job_message(s->job), "output.path is missing"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults), TEST(test_every_key), TEST(test_methods),
        TEST(test_site),     TEST(test_sets),      TEST(test_sets_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
