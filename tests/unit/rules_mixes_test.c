/* The mixes: for every tensor of four shapes, presets choose what llama-quantize chose (fixtures/reference/mixes.csv).
 * Presets of encodings that are not built yet are in fixtures/presets: they show that rules can say them. */
#include "core/model.h"
#include "core/roles.h"
#include "core/rules.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_TENSORS = 1024, N_COUNTS = 4 };

/* What the shapes of mixes.csv were; widths are those of attention and of ffn_down. */
typedef struct shape {
    const char *name;
    uint32_t blocks, heads, key_heads, experts;
    uint64_t width, ffn_width;
} shape;

static const shape shapes[] = {
    {"llama-8b-like", 32, 32, 8, 0, 256, 256},
    {"llama-70b-like", 80, 32, 4, 0, 256, 256},
    {"mixtral-like", 32, 32, 8, 8, 256, 256},
    {"odd-288", 6, 6, 6, 0, 288, 768},
};

static const char *const dense_names[] = {"attn_k",   "attn_output", "attn_q", "attn_v",
                                          "ffn_down", "ffn_gate",    "ffn_up"};
static const char *const expert_names[] = {"attn_k",        "attn_output",   "attn_q",       "attn_v",
                                           "ffn_down_exps", "ffn_gate_exps", "ffn_gate_inp", "ffn_up_exps"};

/* A model of a shape, names and metadata alone. */
typedef struct fake {
    model model;
    model_tensor tensors[MAX_TENSORS];
    char names[MAX_TENSORS][64];
    qc_meta metas[1 + N_COUNTS], *list[1 + N_COUNTS];
    uint32_t counts[N_COUNTS];
    qc_text family;
} fake;

static void add_tensor(fake *f, const role_table *roles, const shape *s, const char *name)
{
    assert_true(f->model.n_tensors < MAX_TENSORS);
    size_t i = f->model.n_tensors++;
    model_tensor *t = &f->tensors[i];
    snprintf(f->names[i], sizeof f->names[i], "%s", name);
    int is_down = strstr(name, "ffn_down") != NULL, is_stack = strstr(name, "_exps") != NULL;
    *t = (model_tensor){.name = f->names[i],
                        .n_dims = is_stack ? 3 : 2,
                        .dims = {is_down ? s->ffn_width : s->width, 64, is_stack ? s->experts : 1, 1},
                        .encoding = "f16",
                        .layer = -1};
    t->n_rows = t->dims[1] * t->dims[2];
    if (!strncmp(name, "blk.", 4))
        t->layer = (int32_t)strtol(name + 4, NULL, 10);
    t->role = role_find(roles, t->name, &t->keep);
}

static void add_count(fake *f, size_t i, const char *key, uint32_t value)
{
    f->counts[i - 1] = value;
    f->metas[i] = (qc_meta){sizeof(qc_meta), key, QC_U32, 0, 1, &f->counts[i - 1]};
}

/* In the order of a model's tensors: no block number first, then by block and name. */
static fake *fake_new(const shape *s, const role_table *roles)
{
    fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->family = (qc_text){"llama", 5};
    f->metas[0] = (qc_meta){sizeof(qc_meta), "general.architecture", QC_TEXT, 0, 1, &f->family};
    add_count(f, 1, "llama.block_count", s->blocks);
    add_count(f, 2, "llama.attention.head_count", s->heads);
    add_count(f, 3, "llama.attention.head_count_kv", s->key_heads);
    add_count(f, 4, "llama.expert_count", s->experts);
    f->model.n_metas = s->experts ? 5 : 4;
    for (size_t i = 0; i < f->model.n_metas; i++)
        f->list[i] = &f->metas[i];
    f->model.metas = f->list;
    f->model.tensors = f->tensors;
    add_tensor(f, roles, s, "output.weight");
    add_tensor(f, roles, s, "token_embd.weight");
    const char *const *names = s->experts ? expert_names : dense_names;
    size_t n_names = s->experts ? sizeof expert_names / sizeof *names : sizeof dense_names / sizeof *names;
    for (uint32_t block = 0; block < s->blocks; block++)
        for (size_t i = 0; i < n_names; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%u.%s.weight", block, names[i]);
            add_tensor(f, roles, s, name);
        }
    return f;
}

static uint64_t block_cols(void *arg, const char *encoding)
{
    (void)arg;
    size_t n = strlen(encoding);
    if (!strcmp(encoding, "f16") || !strcmp(encoding, "bf16") || !strcmp(encoding, "f32"))
        return 1;
    int is_small = encoding[n - 2] == '_' && strchr("01", encoding[n - 1]) && strncmp(encoding, "tq", 2) != 0;
    return is_small || !strcmp(encoding, "iq4_nl") ? 32 : 256;
}

/* One shape under one preset, with or without importance. */
typedef struct mix {
    const char *shape;
    char preset[32];
    int importance;
    fake *model;
    rule_list *rules;
    choice *choices; /* their words are the rules' */
} mix;

typedef struct fixture {
    scratch_folder *scratch;
    role_table *roles;
    mix mix; /* the last one made */
    size_t n_compared, n_wrong;
} fixture;

static void mix_end(mix *m)
{
    for (size_t i = 0; m->model && i < m->model->model.n_tensors; i++)
        free(m->choices[i].note);
    rules_free(m->rules);
    free(m->choices);
    free(m->model);
    *m = (mix){0};
}

static void choose(fixture *f, const char *text)
{
    qc_job *job = f->scratch->job;
    yaml_node *root;
    mix *m = &f->mix;
    m->choices = calloc(MAX_TENSORS, sizeof *m->choices);
    assert_non_null(m->choices);
    qc_status status = yaml_parse(job, "recipe", text, strlen(text), &root);
    if (status == QC_OK)
        status = rules_new(job, &m->rules);
    assert_int_equal(status, QC_OK);
    status = rules_read(job, m->rules, root, 1);
    if (status == QC_OK)
        status = rules_choose(job, m->rules, &m->model->model, m->importance, block_cols, NULL, m->choices);
    if (status != QC_OK)
        fail_msg("%s, %s: %s", m->shape, m->preset, job_message(job));
    yaml_node_free(root);
}

static const shape *find_shape(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, name))
            return &shapes[i];
    fail_msg("no shape %s", name);
    return NULL;
}

static void make_mix(fixture *f, const char *shape_name, const char *preset, int importance)
{
    static const char *const folders[] = {QC_CONFIG_DIR "/presets", QC_TEST_DATA "/fixtures/presets"};
    char path[1024], text[1100];
    mix_end(&f->mix);
    const shape *s = find_shape(shape_name);
    f->mix = (mix){.shape = s->name, .importance = importance, .model = fake_new(s, f->roles)};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s.yaml", folders[i], preset);
        if (access(path, R_OK) == 0)
            break;
    }
    snprintf(f->mix.preset, sizeof f->mix.preset, "%s", preset);
    snprintf(text, sizeof text, "preset: %s\n", path);
    choose(f, text);
}

static void compare(fixture *f, const char *tensor, const char *wanted)
{
    const model *m = &f->mix.model->model;
    size_t i = 0;
    while (i < m->n_tensors && strcmp(m->tensors[i].name, tensor) != 0)
        i++;
    assert_true(i < m->n_tensors);
    const char *chosen = f->mix.choices[i].encoding ? f->mix.choices[i].encoding : m->tensors[i].encoding;
    f->n_compared++;
    if (!strcmp(chosen, wanted))
        return;
    if (f->n_wrong++ < 20)
        print_error("%s, %s%s, %s: %s, not %s\n", f->mix.shape, f->mix.preset,
                    f->mix.importance ? " with importance" : "", tensor, chosen, wanted);
}

/* blocks: "0-3 7 9-11"; empty: the name has no block number. */
static void compare_blocks(fixture *f, const char *tensor, const char *encoding, const char *blocks)
{
    char name[128];
    if (!*blocks)
        compare(f, tensor, encoding);
    while (*blocks) {
        char *end;
        unsigned long first = strtoul(blocks, &end, 10), last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
        for (unsigned long block = first; block <= last; block++) {
            snprintf(name, sizeof name, "blk.%lu.%s", block, tensor);
            compare(f, name, encoding);
        }
        blocks = end + (*end == ' ');
    }
}

/* shape,preset,importance,tensor,encoding,blocks */
static void compare_row(fixture *f, char *row)
{
    char *fields[6] = {row};
    for (int i = 1; i < 6; i++) {
        fields[i] = strchr(fields[i - 1], ',');
        assert_non_null(fields[i]);
        *fields[i]++ = 0;
    }
    int importance = !strcmp(fields[2], "yes");
    if (!f->mix.model || strcmp(f->mix.shape, fields[0]) != 0 || strcmp(f->mix.preset, fields[1]) != 0 ||
        f->mix.importance != importance)
        make_mix(f, fields[0], fields[1], importance);
    compare_blocks(f, fields[3], fields[4], fields[5]);
}

static void test_every_row(void **state)
{
    fixture f = {.scratch = *state};
    char line[512];
    FILE *in = fopen(QC_TEST_DATA "/fixtures/reference/mixes.csv", "r");
    assert_non_null(in);
    assert_int_equal(roles_read(f.scratch->job, QC_CONFIG_DIR "/roles.yaml", &f.roles), QC_OK);
    assert_non_null(fgets(line, sizeof line, in)); /* the header */
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = 0;
        compare_row(&f, line);
    }
    fclose(in);
    mix_end(&f.mix);
    roles_free(f.roles);
    assert_int_equal(f.n_compared, 23980);
    assert_int_equal(f.n_wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_row, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
