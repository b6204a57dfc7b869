/* Axes of the llama library's families: every one that the table names, with a factor of its own for each channel, must
 * leave what a block computes as it was; and names must be those of the families.
 */
#include "lent_pass.h"
#include "meta_text.h"
#include "test_ops.h"
#include "test_plugin.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TOKENS = 7, WIDTH = 16, MOST_COLS = 24, MOST_NAMES = 8 };

typedef struct scaled_pass {
    lent_pass lent; /* first */
    const qc_axis_rule *axes; /* one or more, ends with writers NULL */
    qc_status (*linears)(const qc_pass *pass, qc_job *job, size_t n, const char *const *names, int32_t expert,
                         const float *x, size_t n_tokens, float *const *y);
    qc_status (*vector)(const qc_pass *pass, qc_job *job, const char *name, const float **values, size_t *n);
    int used; /* names of the axes that the block asked for */
} scaled_pass;

static float factor_of(size_t channel)
{
    return 0.4f + 0.23f * (float)((channel * 7) % 11);
}

/* Does a rule's list have this name of block 0? */
static int has_name(const char *list, const char *name)
{
    char copy[256], full[64], *rest = copy;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        const char *hole = strstr(word += *word == '?', "{}");
        assert_non_null(hole);
        snprintf(full, sizeof full, "%.*s0%s", (int)(hole - word), word, hole + 2);
        if (!strcmp(full, name))
            return 1;
    }
    return 0;
}

static size_t reader_channel(const lent_pass *p, const qc_axis_rule *a, size_t col)
{
    if (a->channels == QC_CHANNELS_PLAIN)
        return col;
    size_t head = col / p->head_size;
    return head / (p->heads / p->key_heads) * p->head_size + col % p->head_size;
}

static qc_status scaled_linears(const qc_pass *pass, qc_job *job, size_t n, const char *const *names, int32_t expert,
                                const float *x, size_t n_tokens, float *const *y)
{
    scaled_pass *p = (scaled_pass *)(uintptr_t)pass;
    static float read[TOKENS * MOST_COLS];
    for (size_t i = 0; i < n; i++) {
        uint64_t cols, rows;
        pass->shape(pass, names[i], &cols, &rows);
        memcpy(read, x, n_tokens * cols * sizeof *read);
        for (const qc_axis_rule *a = p->axes; a->writers; a++)
            for (size_t k = 0; has_name(a->readers, names[i]) && k < n_tokens * cols; k++, p->used++)
                read[k] *= factor_of(reader_channel(&p->lent, a, k % cols));
        qc_status status = p->linears(pass, job, 1, names + i, expert, read, n_tokens, y + i);
        if (status != QC_OK)
            return status;
        for (const qc_axis_rule *a = p->axes; a->writers; a++)
            for (size_t k = 0; has_name(a->writers, names[i]) && k < n_tokens * rows; k++, p->used++)
                y[i][k] /= factor_of(k % rows);
    }
    return QC_OK;
}

static qc_status scaled_vector(const qc_pass *pass, qc_job *job, const char *name, const float **values, size_t *n)
{
    scaled_pass *p = (scaled_pass *)(uintptr_t)pass;
    qc_status status = p->vector(pass, job, name, values, n);
    float *v = (float *)(uintptr_t)*values;
    for (const qc_axis_rule *a = p->axes; status == QC_OK && v && a->writers; a++)
        for (size_t k = 0; has_name(a->writers, name) && k < *n; k++, p->used++)
            v[k] /= factor_of(k);
    return status;
}

#define SIZES(family)                                                                                           \
    family ".block_count u32 2\n" family ".context_length u32 100\n" family ".embedding_length u32 16\n" family \
           ".feed_forward_length u32 24\n" family ".attention.head_count u32 4\n" family                        \
           ".attention.head_count_kv u32 2\n" family ".attention.layer_norm_rms_epsilon f32 1e-5\n"

static const struct {
    const char *id, *sizes;
    int has_biases, norms_heads;
} families[] = {{"llama", SIZES("llama"), 0, 0},
                {"llama", SIZES("llama"), 1, 0},
                {"qwen2", SIZES("qwen2"), 1, 0},
                {"qwen3", SIZES("qwen3"), 0, 1}};
enum { N_FAMILIES = sizeof families / sizeof *families };

static const qc_architecture_desc *find_family(const char *id)
{
    const qc_plugin *plugin = test_plugin_open("llama");
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (strcmp(plugin->descs[i]->id, id) == 0)
            return (const qc_architecture_desc *)(const void *)plugin->descs[i];
    fail_msg("no architecture %s", id);
    return NULL;
}

/* One block over TOKENS rows with the factors of `axes`; how often one of them was applied. */
static int run_block(size_t family, const qc_axis_rule *axes, float *x)
{
    static const size_t starts[] = {0, TOKENS};
    test_host host;
    memory_model model;
    void *made = NULL;
    scaled_pass p;
    qc_job *job = test_host_begin(&host);
    host.tables = test_ops("scalar");
    memory_model_begin(&model);
    meta_text_add(&model, families[family].sizes);
    meta_view metadata = meta_view_of(&model);
    const qc_architecture_desc *d = find_family(families[family].id);
    assert_int_equal(d->create(job, &metadata.api, &made), QC_OK);
    lent_begin(&p.lent, 0, starts, 1);
    p.lent.has_biases = families[family].has_biases;
    p.lent.norms_heads = families[family].norms_heads;
    p.axes = axes;
    p.linears = p.lent.pass.linears;
    p.vector = p.lent.pass.vector;
    p.lent.pass.linears = scaled_linears;
    p.lent.pass.vector = scaled_vector;
    p.used = 0;
    for (size_t i = 0; i < (size_t)TOKENS * WIDTH; i++)
        x[i] = (float)((i * 2654435761u + 40503u) % 1000u) / 500.0f - 1;
    if (d->block(job, made, &p.lent.pass, x) != QC_OK)
        fail_msg("%s", host.message);
    d->destroy(&host.host, made);
    memory_model_end(&model);
    test_host_end(&host);
    return p.used;
}

static void expect_same_output(size_t family, const qc_axis_rule *axes)
{
    static const qc_axis_rule none[] = {{NULL, NULL, 0}};
    static float plain[TOKENS * WIDTH], scaled[TOKENS * WIDTH];
    run_block(family, none, plain);
    assert_true(run_block(family, axes, scaled) > 0);
    for (size_t i = 0; i < (size_t)TOKENS * WIDTH; i++)
        if (fabsf(plain[i] - scaled[i]) > 1e-4f * (1 + fabsf(plain[i])))
            fail_msg("%s, %s: value %zu is %g, was %g", families[family].id, axes->readers, i, (double)scaled[i],
                     (double)plain[i]);
}

static void test_factors_change_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const qc_axis_rule *axes = find_family(families[i].id)->axes;
        assert_non_null(axes);
        for (const qc_axis_rule *a = axes; a->writers; a++) {
            const qc_axis_rule one[] = {*a, {NULL, NULL, 0}};
            expect_same_output(i, one);
        }
        expect_same_output(i, axes); /* all at once: v and up are read and written */
    }
}

/* A factor where the table has none would be seen. */
static void test_others_do(void **state)
{
    (void)state;
    static const qc_axis_rule none[] = {{NULL, NULL, 0}},
                              wrong[] = {{"blk.{}.ffn_gate.weight", "blk.{}.ffn_down.weight", 0}, {NULL, NULL, 0}};
    static float plain[TOKENS * WIDTH], scaled[TOKENS * WIDTH];
    float most = 0;
    run_block(0, none, plain);
    run_block(0, wrong, scaled);
    for (size_t i = 0; i < (size_t)TOKENS * WIDTH; i++)
        most = fmaxf(most, fabsf(plain[i] - scaled[i]));
    assert_true(most > 1e-2f);
}

/* Every name that must be there is one that the family can bring. */
static void expect_known(const qc_architecture_desc *d, const char *list)
{
    char copy[256], *rest = copy;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        const qc_name_rule *r = d->names;
        while (r->source && (!r->canonical || strcmp(r->canonical, word) != 0))
            r++;
        if (!r->source && *word != '?')
            fail_msg("%s has no %s", d->base.id, word);
        assert_true(!r->source || !(r->flags & QC_NAME_OPTIONAL));
    }
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const qc_architecture_desc *d = find_family(families[i].id);
        for (const qc_axis_rule *a = d->axes; a->writers; a++) {
            expect_known(d, a->writers);
            expect_known(d, a->readers);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factors_change_nothing),
        cmocka_unit_test(test_others_do),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
