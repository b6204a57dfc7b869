/* Layers of rules, and what each key of a rule means: on a model of two blocks, one word an encoding. */
#include "core/rules.h"
#include "scratch_folder.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { N_TENSORS = 7, N_COUNTS = 4 };

static const struct {
    const char *name, *role;
    int32_t layer;
    uint64_t width;
    int keep;
} described[N_TENSORS] = {
    {"output.weight", "output", -1, 256, 0},
    {"token_embd.weight", "token_embd", -1, 288, 0},
    {"blk.0.attn_v.weight", "attn_v", 0, 256, 0},
    {"blk.0.ffn_down.weight", "ffn_down", 0, 256, 0},
    {"blk.1.attn_norm.weight", "norm", 1, 256, 1},
    {"blk.1.attn_v.weight", "attn_v", 1, 256, 0},
    {"blk.1.ffn_down_exps.weight", "ffn_down", 1, 256, 0},
};

typedef struct small_model {
    model model;
    model_tensor tensors[N_TENSORS];
    qc_meta metas[1 + N_COUNTS], *list[1 + N_COUNTS];
    uint32_t counts[N_COUNTS]; /* blocks, heads, key heads, experts */
    qc_text family;
} small_model;

static void small_model_begin(small_model *m, const char *family, uint32_t experts)
{
    static const char *const keys[] = {"block_count", "attention.head_count", "attention.head_count_kv",
                                       "expert_count"};
    static char names[N_COUNTS][64];
    const uint32_t counts[N_COUNTS] = {2, 8, 2, experts};
    *m = (small_model){.family = {family, strlen(family)}};
    m->metas[0] = (qc_meta){sizeof(qc_meta), "general.architecture", QC_TEXT, 0, 1, &m->family};
    for (size_t i = 0; i < N_COUNTS; i++) {
        snprintf(names[i], sizeof names[i], "%s.%s", family, keys[i]);
        m->counts[i] = counts[i];
        m->metas[1 + i] = (qc_meta){sizeof(qc_meta), names[i], QC_U32, 0, 1, &m->counts[i]};
    }
    for (size_t i = 0; i <= N_COUNTS; i++)
        m->list[i] = &m->metas[i];
    for (size_t i = 0; i < N_TENSORS; i++)
        m->tensors[i] = (model_tensor){.name = (char *)(uintptr_t)described[i].name,
                                       .n_dims = 2,
                                       .dims = {described[i].width, 8, strstr(described[i].name, "exps") ? 4 : 1, 1},
                                       .n_rows = 8,
                                       .encoding = "stored",
                                       .role = described[i].role,
                                       .layer = described[i].layer,
                                       .keep = described[i].keep};
    m->model = (model){.tensors = m->tensors, .n_tensors = N_TENSORS, .metas = m->list, .n_metas = 1 + N_COUNTS};
}

static uint64_t block_cols(void *arg, const char *encoding)
{
    (void)arg;
    return !strcmp(encoding, "wide") ? 256 : !strcmp(encoding, "wider") ? 512 : !strcmp(encoding, "huge") ? 1024 : 32;
}

static qc_status read_list(scratch_folder *s, const char *text, rule_list **list)
{
    yaml_node *root;
    assert_int_equal(yaml_parse(s->job, "r.yaml", text, strlen(text), &root), QC_OK);
    assert_int_equal(rules_new(s->job, list), QC_OK);
    qc_status status = rules_read(s->job, *list, root, 1);
    yaml_node_free(root);
    return status;
}

static void expect_failure(scratch_folder *s, const char *text, const char *message)
{
    small_model m;
    rule_list *list;
    choice choices[N_TENSORS] = {{0}};
    small_model_begin(&m, "llama", 0);
    qc_status status = read_list(s, text, &list);
    if (status == QC_OK)
        status = rules_choose(s->job, list, &m.model, 0, block_cols, NULL, choices);
    assert_int_not_equal(status, QC_OK);
    if (!strstr(job_message(s->job), message))
        fail_msg("'%s' is not in '%s'", message, job_message(s->job));
    job_clear(s->job);
    for (size_t i = 0; i < N_TENSORS; i++)
        free(choices[i].note);
    rules_free(list);
}

/* wanted: the encodings in the order of `described`, "-" for one that stays as it is stored. */
static void expect_in(scratch_folder *s, const model *m, int importance, const char *text, const char *wanted)
{
    rule_list *list;
    choice choices[N_TENSORS] = {{0}};
    char got[256] = "";
    qc_status status = read_list(s, text, &list);
    if (status == QC_OK)
        status = rules_choose(s->job, list, m, importance, block_cols, NULL, choices);
    if (status != QC_OK)
        fail_msg("%s", job_message(s->job));
    for (size_t i = 0; i < N_TENSORS; i++) {
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "",
                 choices[i].encoding ? choices[i].encoding : "-");
        free(choices[i].note);
    }
    rules_free(list);
    assert_string_equal(got, wanted);
}

static void expect(scratch_folder *s, const char *text, const char *wanted)
{
    small_model m;
    small_model_begin(&m, "llama", 0);
    expect_in(s, &m.model, 0, text, wanted);
}

/* ---- one rule ---- */

static void test_what_a_rule_selects(void **state)
{
    expect(*state, "{encoding: a}", "a a a a - a a");
    expect(*state, "{encoding: keep}", "- - - - - - -");
    expect(*state, "{encoding: a, rules: [{encoding: b}]}", "b b b b - b b");
    expect(*state, "{encoding: a, rules: [{role: attn_v, encoding: b}]}", "a a b a - b a");
    expect(*state, "{encoding: a, rules: [{role: [attn_v, output], encoding: b}]}", "b a b a - b a");
    expect(*state, "{encoding: a, rules: [{name: 'blk.1.*', encoding: b}]}", "a a a a - b b");
    expect(*state, "{encoding: a, rules: [{name: ['*exps*', 'o*'], encoding: b}]}", "b a a a - a b");
    expect(*state, "{encoding: a, rules: [{layers: 1, encoding: b}]}", "a a a a - b b");
    expect(*state, "{encoding: a, rules: [{layers: [0, last_1], role: attn_v, encoding: b}]}", "a a b a - b a");
    expect(*state, "{encoding: a, rules: [{layers: first_half, encoding: b}]}", "a a b b - a a");
    expect(*state, "{encoding: a, rules: [{role: attn_v, nth: 1, encoding: b}]}", "a a a a - b a");
    expect(*state, "{encoding: a, rules: [{nth: last_1, encoding: b}]}", "a a a a - a b");
    expect(*state, "{encoding: a, rules: [{role: norm, encoding: b}]}", "a a a a - a a");
}

static void test_the_last_rule_wins(void **state)
{
    expect(*state, "{encoding: a, rules: [{role: attn_v, encoding: b}, {layers: 1, encoding: c}]}", "a a b a - c c");
    expect(*state, "{encoding: a, rules: [{layers: 1, encoding: c}, {role: attn_v, encoding: b}]}", "a a b a - b c");
    expect(*state, "{encoding: a, rules: [{role: attn_v, encoding: b}, {layers: 1, encoding: base}]}", "a a b a - a a");
    expect(*state, "{encoding: a, rules: [{role: attn_v, encoding: keep}, {layers: 0, encoding: b}]}", "a a b b - - a");
}

static void test_conditions_on_what_was_chosen(void **state)
{
    expect(*state,
           "{encoding: a, rules: [{role: attn_v, encoding: b}, {when: {encoding: [b, c]}, layers: 1, encoding: d}]}",
           "a a b a - d a");
    expect(*state, "{encoding: keep, rules: [{when: {encoding: a}, encoding: b}]}", "- - - - - - -");
    expect(*state, "{encoding: a, rules: [{when: {dims: 3}, encoding: b}]}", "a a a a - a b");
}

static void expect_if(scratch_folder *s, const char *condition, uint32_t experts, int importance, int holds)
{
    char text[200];
    small_model m;
    small_model_begin(&m, "qwen2", experts);
    snprintf(text, sizeof text, "{encoding: a, rules: [{when: {%s}, role: attn_v, encoding: b}]}", condition);
    expect_in(s, &m.model, importance, text, holds ? "a a b a - b a" : "a a a a - a a");
}

static void test_conditions_on_the_model(void **state)
{
    expect_if(*state, "importance: true", 0, 1, 1);
    expect_if(*state, "importance: true", 0, 0, 0);
    expect_if(*state, "importance: false", 0, 0, 1);
    expect_if(*state, "tied: true", 0, 0, 0);
    expect_if(*state, "tied: false", 0, 0, 1);
    expect_if(*state, "experts: 8", 8, 0, 1);
    expect_if(*state, "experts: 8", 4, 0, 0);
    expect_if(*state, "experts: 0", 0, 0, 1);
    expect_if(*state, "experts: 0", 8, 0, 0);
    expect_if(*state, "min_experts: 4", 8, 0, 1);
    expect_if(*state, "min_experts: 9", 8, 0, 0);
    expect_if(*state, "min_gqa: 4", 0, 0, 1);
    expect_if(*state, "min_gqa: 5", 0, 0, 0);
    expect_if(*state, "blocks: 2", 0, 0, 1);
    expect_if(*state, "blocks: 3", 0, 0, 0);
    expect_if(*state, "architecture: [llama, qwen2]", 0, 0, 1);
    expect_if(*state, "architecture: llama", 0, 0, 0);
    expect_if(*state, "blocks: 2, experts: 8", 0, 0, 0);
}

/* ---- layers ---- */

static const char *preset_text(scratch_folder *s, const char *file, const char *rest)
{
    static char text[512];
    snprintf(text, sizeof text, "{preset: %s/%s%s}", s->path, file, rest);
    return text;
}

static void put(scratch_folder *s, const char *name, const char *text)
{
    scratch_write(s, name, text, strlen(text));
}

static void test_files_build_on_files(void **state)
{
    scratch_folder *s = *state;
    put(s, "first.yaml", "encoding: a\nrules: [{role: output, encoding: b}, {role: attn_v, encoding: b}]\n");
    put(s, "last.yaml", "rules: [{role: attn_v, layers: 1, encoding: z}]\n");
    put(s, "mix.yaml",
        "include: first.yaml\nrules: [{role: attn_v, encoding: c}, {role: ffn_down, encoding: c}]\n"
        "include_last: last.yaml\n");
    put(s, "upon.yaml", "preset: mix.yaml\nencoding: d\nrules: [{role: attn_v, layers: 0, encoding: e}]\n");
    expect(s, preset_text(s, "first.yaml", ""), "b a b a - b a");
    expect(s, preset_text(s, "mix.yaml", ""), "b a c c - z c");
    expect(s, preset_text(s, "upon.yaml", ""), "b d e c - z c");
    expect(s, preset_text(s, "upon.yaml", ", encoding: f"), "b f e c - z c");
    expect(s, preset_text(s, "upon.yaml", ", rules: [{role: attn_v, encoding: g}]"), "b d g c - g c");
}

/* A list of files, one in a folder of its own that includes one beside it. */
static void test_includes_are_beside_the_file(void **state)
{
    scratch_folder *s = *state;
    assert_int_equal(mkdir(scratch_path(s, "common"), 0755), 0);
    put(s, "common/a.yaml", "include: b.yaml\nencoding: a\n");
    put(s, "common/b.yaml", "rules: [{role: output, encoding: b}]\n");
    put(s, "c.yaml", "rules: [{role: token_embd, encoding: c}]\n");
    put(s, "mix.yaml", "include: [common/a.yaml, c.yaml]\n");
    expect(s, preset_text(s, "mix.yaml", ""), "b c a a - a a");
}

static void test_methods_of_layers(void **state)
{
    scratch_folder *s = *state;
    rule_list *list;
    put(s, "p.yaml", "encoding: a\nmethods: [m]\nmethods_with_importance: [i, j]\n");
    put(s, "q.yaml", "preset: p.yaml\nmethods: [n]\n");
    assert_int_equal(read_list(s, preset_text(s, "q.yaml", ""), &list), QC_OK);
    assert_string_equal(list->methods.items[0].id, "n");
    assert_int_equal(list->methods_with_importance.n, 0); /* what a mix names over another holds either way */
    rules_free(list);
    put(s, "r.yaml", "preset: p.yaml\nmethods: [n]\nmethods_with_importance: [k]\n");
    assert_int_equal(read_list(s, preset_text(s, "r.yaml", ""), &list), QC_OK);
    assert_int_equal(list->methods_with_importance.n, 1);
    assert_string_equal(list->methods_with_importance.items[0].id, "k");
    rules_free(list);
    assert_int_equal(read_list(s, preset_text(s, "q.yaml", ", methods: {o: {x: 1}}"), &list), QC_OK);
    assert_string_equal(list->methods.items[0].id, "o");
    assert_int_equal(list->methods_with_importance.n, 0);
    rules_free(list);
}

static void test_maps_are_merged_key_by_key(void **state)
{
    scratch_folder *s = *state;
    rule_list *list;
    put(s, "p.yaml", "encoding: a\nmetadata: {x: 1, y: old}\nfallback: {wide: p, wider: q}\n");
    assert_int_equal(
        read_list(s, preset_text(s, "p.yaml", ", metadata: {y: 'new', z: null}, fallback: {wide: r}"), &list), QC_OK);
    assert_string_equal(yaml_get(list->metadata, "x")->text, "1");
    assert_string_equal(yaml_get(list->metadata, "y")->text, "new");
    assert_true(yaml_get(list->metadata, "y")->quoted);
    assert_false(yaml_get(list->metadata, "z")->quoted);
    assert_string_equal(yaml_get(list->fallback, "wide")->text, "r");
    assert_string_equal(yaml_get(list->fallback, "wider")->text, "q");
    rules_free(list);
}

/* ---- widths ---- */

static void test_widths_fall_back_step_by_step(void **state)
{
    scratch_folder *s = *state;
    small_model m;
    rule_list *list;
    choice choices[N_TENSORS] = {{0}};
    small_model_begin(&m, "llama", 0);
    assert_int_equal(read_list(s, "{encoding: wider, fallback: {wider: wide, wide: a}}", &list), QC_OK);
    assert_int_equal(rules_choose(s->job, list, &m.model, 0, block_cols, NULL, choices), QC_OK);
    assert_string_equal(choices[0].encoding, "wide");
    assert_string_equal(choices[0].note, "width 256: wider falls back to wide");
    assert_string_equal(choices[1].encoding, "a");
    assert_string_equal(choices[1].note, "width 288: wider falls back to a");
    assert_null(choices[4].note);
    for (size_t i = 0; i < N_TENSORS; i++)
        free(choices[i].note);
    rules_free(list);
}

static void test_widths_without_a_way_out(void **state)
{
    expect_failure(*state, "{encoding: huge}",
                   "r.yaml:1:12: output.weight: huge needs a width that is a multiple of 1024, not 256, and has no "
                   "fallback");
    expect_failure(*state, "{encoding: wide, fallback: {wide: wider, wider: wide}}", "token_embd.weight: ");
}

/* ---- refusals ---- */

static void test_importance_can_be_required(void **state)
{
    scratch_folder *s = *state;
    small_model m;
    small_model_begin(&m, "llama", 0);
    expect_failure(s, "{encoding: a, require: importance}", "r.yaml:1:24: this preset needs to know what matters");
    expect_failure(s, "{encoding: a, require: patience}", "r.yaml:1:24: only 'importance' can be required");
    expect_in(s, &m.model, 1, "{encoding: a, require: importance}", "a a a a - a a");
}

static void expect_roles(scratch_folder *s, const char *text, const char *message)
{
    rule_list *list;
    role_table *roles;
    assert_int_equal(roles_read(s->job, QC_CONFIG_DIR "/roles.yaml", &roles), QC_OK);
    assert_int_equal(read_list(s, text, &list), QC_OK);
    assert_int_equal(rules_check_roles(s->job, list, roles), message ? QC_E_INVALID : QC_OK);
    assert_string_equal(job_message(s->job), message ? message : "");
    job_clear(s->job);
    rules_free(list);
    roles_free(roles);
}

static void test_roles_are_those_of_the_table(void **state)
{
    expect_roles(*state, "{encoding: a, rules: [{role: [attn_v, ffn_down], encoding: b}]}", NULL);
    expect_roles(*state, "{encoding: a, rules: [{role: [attn_v, fnn_down], encoding: b}]}",
                 "r.yaml:1:23: no role 'fnn_down'; did you mean 'ffn_down'?");
    expect_roles(*state, "{encoding: a, rules: [{role: blk.0.attn_v.weight, encoding: b}]}",
                 "r.yaml:1:23: no role 'blk.0.attn_v.weight' (roles.yaml lists them; a tensor's name is `name`)");
}

/* All presets of a folder read well, say a summary and name known roles. */
static size_t check_presets(scratch_folder *s, const char *folder)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char path[1024], text[1100];
        yaml_node *root;
        if (!strstr(entry->d_name, ".yaml"))
            continue;
        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        snprintf(text, sizeof text, "{preset: %s}", path);
        expect_roles(s, text, NULL);
        assert_int_equal(yaml_read(s->job, path, &root), QC_OK);
        assert_non_null(yaml_get(root, "summary"));
        yaml_node_free(root);
        n++;
    }
    closedir(dir);
    return n;
}

static void test_presets_are_whole(void **state)
{
    assert_int_equal(check_presets(*state, QC_CONFIG_DIR "/presets"), 24);
    assert_int_equal(check_presets(*state, QC_TEST_DATA "/fixtures/presets"), 3);
}

static void test_files_that_are_not_there(void **state)
{
    scratch_folder *s = *state;
    put(s, "p.yaml", "encoding: a\ninclude: nowhere.yaml\n");
    expect_failure(s, "{preset: nowhere.yaml}", "nowhere.yaml: No such file or directory (r.yaml:1:10)");
    expect_failure(s, preset_text(s, "p.yaml", ""), "/p.yaml:2:10)");
    expect_failure(s, "{preset: Q4_KM}", "r.yaml:1:10: no preset 'Q4_KM'; did you mean 'Q4_K_M'?");
    expect_failure(s, "{preset: ../roles}", "r.yaml:1:10: no preset '../roles' in ");
    expect_failure(s, "{}", "r.yaml:1:1: quantize names neither a preset nor an encoding");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {TEST(test_what_a_rule_selects),
                                       TEST(test_the_last_rule_wins),
                                       TEST(test_conditions_on_what_was_chosen),
                                       TEST(test_conditions_on_the_model),
                                       TEST(test_files_build_on_files),
                                       TEST(test_includes_are_beside_the_file),
                                       TEST(test_methods_of_layers),
                                       TEST(test_maps_are_merged_key_by_key),
                                       TEST(test_widths_fall_back_step_by_step),
                                       TEST(test_widths_without_a_way_out),
                                       TEST(test_importance_can_be_required),
                                       TEST(test_roles_are_those_of_the_table),
                                       TEST(test_presets_are_whole),
                                       TEST(test_files_that_are_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
