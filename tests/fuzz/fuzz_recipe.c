/* Any text as a recipe, as a preset, as a table of roles and as a --set argument. What is accepted must be whole. */
#include "core/override.h"
#include "core/roles.h"
#include "core/rules.h"
#include "fuzz.h"
#include "scratch_folder.h"
#include <stdlib.h>

enum { N_TENSORS = 6 };

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void expect_message(qc_job *job, qc_status status)
{
    expect((status == QC_OK) == (*job_message(job) == 0), "a failure has a message, a success none");
    job_clear(job);
}

static uint64_t block_cols(void *arg, const char *encoding)
{
    (void)arg;
    return encoding[0] == 'q' ? 256 : encoding[0] == 'i' ? 32 : 1;
}

/* A model of two blocks with a bias. */
static void try_choices(qc_job *job, const rule_list *rules)
{
    static const char *const names[N_TENSORS] = {"output.weight",       "token_embd.weight",   "blk.0.attn_v.bias",
                                                 "blk.0.attn_v.weight", "blk.1.attn_v.weight", "blk.1.ffn_down.weight"};
    static const char *const roles[N_TENSORS] = {"output", "token_embd", "bias", "attn_v", "attn_v", "ffn_down"};
    model_tensor tensors[N_TENSORS];
    for (size_t i = 0; i < N_TENSORS; i++)
        tensors[i] = (model_tensor){.name = (char *)(uintptr_t)names[i],
                                    .n_dims = 2,
                                    .dims = {288, 32, 1, 1},
                                    .n_rows = 32,
                                    .encoding = "f16",
                                    .role = roles[i],
                                    .layer = (int32_t)i / 2 - 1,
                                    .keep = i == 2};
    const model m = {.tensors = tensors, .n_tensors = N_TENSORS};
    for (int importance = 0; importance < 2; importance++) {
        choice choices[N_TENSORS] = {{0}};
        qc_status status = rules_choose(job, rules, &m, importance, block_cols, NULL, choices);
        for (size_t i = 0; i < N_TENSORS; i++) {
            const char *e = choices[i].encoding;
            expect(status != QC_OK || !e || tensors[i].dims[0] % block_cols(NULL, e) == 0,
                   "an encoding fits the width");
            expect(status != QC_OK || !tensors[i].keep || !e, "what is kept stays as it is");
            free(choices[i].note);
        }
        expect_message(job, status);
    }
}

static void try_rules(qc_job *job, const yaml_node *map)
{
    rule_list *rules;
    expect(rules_new(job, &rules) == QC_OK, "an empty list of rules");
    qc_status status = rules_read(job, rules, map, 0);
    expect_message(job, status);
    if (status == QC_OK && rules->encoding)
        try_choices(job, rules);
    rules_free(rules);
}

/* Is it YAML? */
static int try_tree(qc_job *job, const char *text, size_t size)
{
    yaml_node *root = NULL;
    qc_status status = yaml_parse(job, "text", text, size, &root);
    expect((status == QC_OK) == (root != NULL), "a tree or a failure");
    expect_message(job, status);
    if (root) {
        const yaml_node *quantize = yaml_get(root, "quantize");
        try_rules(job, root);
        if (quantize)
            try_rules(job, quantize);
    }
    yaml_node_free(root);
    return status == QC_OK;
}

static void try_set(qc_job *job, const char *text, size_t size)
{
    static const char text_of_recipe[] = "{model: {path: a}, quantize: {preset: F16, rules: [{role: b, encoding: c}]}}";
    char *set = strndup(text, size);
    yaml_node *root = NULL;
    expect(set && yaml_parse(job, "recipe", text_of_recipe, sizeof text_of_recipe - 1, &root) == QC_OK,
           "the recipe that is set");
    expect_message(job, override_apply(job, root, "--set", set));
    yaml_node_free(root);
    free(set);
}

static void try_files(const uint8_t *data, size_t size)
{
    recipe *r = NULL;
    role_table *roles = NULL;
    void *state = NULL;
    scratch_begin(&state);
    scratch_folder *s = state;
    scratch_write(s, "text.yaml", data, size);
    qc_status status = recipe_open(s->job, scratch_path(s, "text.yaml"), NULL, 0, RECIPE_OUTPUT, &r);
    expect(status != QC_OK || (r->model.path && r->output.path), "a recipe names input and output");
    expect_message(s->job, status);
    recipe_free(r);
    expect_message(s->job, roles_read(s->job, scratch_path(s, "text.yaml"), &roles));
    roles_free(roles);
    scratch_end(&state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qc_host *host = host_new();
    pool *p = host ? pool_new(host, 1) : NULL;
    expect(p != NULL, "memory for a job");
    int is_yaml = try_tree(pool_job(p), (const char *)data, size);
    try_set(pool_job(p), (const char *)data, size);
    pool_free(p);
    host_free(host);
    if (is_yaml)
        try_files(data, size);
    return 0;
}
