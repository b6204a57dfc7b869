/* One block of the llama library over made-up weights: what may see what, what is asked of the host, and what is
 * refused. Whether the numbers are right, logits_test.c says.
 */
#include "lent_pass.h"
#include "meta_text.h"
#include "test_ops.h"
#include "test_plugin.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { WIDTH = 16, MOST_TOKENS = 150 };

#define SIZES(family)                                                                                           \
    family ".block_count u32 2\n" family ".context_length u32 100\n" family ".embedding_length u32 16\n" family \
           ".feed_forward_length u32 24\n" family ".attention.head_count u32 4\n" family                        \
           ".attention.head_count_kv u32 2\n" family ".attention.layer_norm_rms_epsilon f32 1e-5\n"
#define WINDOW "llama.attention.sliding_window u32 20\n"

static const qc_architecture_desc *find_family(const char *id)
{
    const qc_plugin *plugin = test_plugin_open("llama");
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (strcmp(plugin->descs[i]->id, id) == 0)
            return (const qc_architecture_desc *)(const void *)plugin->descs[i];
    fail_msg("no architecture %s", id);
    return NULL;
}

/* A family with its hyperparameters, and a batch of made-up rows. */
typedef struct bench {
    test_host host;
    qc_job *job;
    memory_model model;
    const qc_architecture_desc *family;
    void *state;
    qc_status status; /* of create */
    float x[MOST_TOKENS * WIDTH];
} bench;

static void bench_begin(bench *b, const char *family, const char *sizes, const char *more)
{
    memset(b, 0, sizeof *b);
    b->job = test_host_begin(&b->host);
    b->host.tables = test_ops("scalar");
    memory_model_begin(&b->model);
    meta_text_add(&b->model, sizes);
    meta_text_add(&b->model, more);
    meta_view metadata = meta_view_of(&b->model);
    b->family = find_family(family);
    b->status = b->family->create(b->job, &metadata.api, &b->state);
}

static void bench_end(bench *b)
{
    if (b->state)
        b->family->destroy(&b->host.host, b->state);
    memory_model_end(&b->model);
    test_host_end(&b->host);
}

static void bench_ready(bench *b, const char *family, const char *sizes, const char *more)
{
    bench_begin(b, family, sizes, more);
    if (b->status != QC_OK)
        fail_msg("%s", b->host.message);
}

/* Rows that differ by token; `salt` makes others. */
static void fill_rows(float *x, size_t n_tokens, uint32_t salt)
{
    for (size_t i = 0; i < n_tokens * WIDTH; i++)
        x[i] = (float)((i * 2654435761u + salt * 40503u) % 1000u) / 500.0f - 1;
}

static void run(bench *b, lent_pass *p)
{
    qc_status status = b->family->block(b->job, b->state, &p->pass, b->x);
    if (status != QC_OK)
        fail_msg("status %d: %s", (int)status, b->host.message);
    test_host_reset(&b->host);
}

static void expect_same(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

/* ---- what sees what ---- */

static void test_sequences_do_not_see_each_other(void **state)
{
    (void)state;
    static const size_t all[] = {0, 5, 6, 140}, alone[] = {0, 134};
    static float together[MOST_TOKENS * WIDTH];
    bench b;
    lent_pass p;
    bench_ready(&b, "llama", SIZES("llama"), WINDOW);
    fill_rows(b.x, 140, 1);
    lent_begin(&p, 0, all, 3);
    run(&b, &p);
    memcpy(together, b.x, sizeof together);
    fill_rows(b.x, 140, 1);
    memmove(b.x, b.x + (size_t)6 * WIDTH, (size_t)134 * WIDTH * sizeof *b.x);
    lent_begin(&p, 0, alone, 1);
    run(&b, &p);
    expect_same(b.x, together + (size_t)6 * WIDTH, (size_t)134 * WIDTH);
    bench_end(&b);
}

/* Which rows of a sequence of 140 change with token 70. */
static void find_changed(const char *more, uint32_t block, unsigned char changed[140])
{
    static const size_t starts[] = {0, 140};
    static float before[MOST_TOKENS * WIDTH];
    bench b;
    lent_pass p;
    bench_ready(&b, "llama", SIZES("llama"), more);
    fill_rows(b.x, 140, 1);
    lent_begin(&p, block, starts, 1);
    run(&b, &p);
    memcpy(before, b.x, sizeof before);
    fill_rows(b.x, 140, 1);
    for (size_t i = 0; i < WIDTH; i++)
        b.x[(size_t)70 * WIDTH + i] = -b.x[(size_t)70 * WIDTH + i] + 3 * (float)(i % 2);
    lent_begin(&p, block, starts, 1);
    run(&b, &p);
    for (size_t row = 0; row < 140; row++)
        changed[row] = memcmp(b.x + row * WIDTH, before + row * WIDTH, WIDTH * sizeof *before) != 0;
    bench_end(&b);
}

static void expect_changed(const unsigned char changed[140], size_t first, size_t end)
{
    for (size_t row = 0; row < 140; row++)
        if (changed[row] != (row >= first && row < end))
            fail_msg("row %zu %s", row, changed[row] ? "changes" : "does not change");
}

static void test_attention_is_causal(void **state)
{
    (void)state;
    unsigned char changed[140];
    find_changed("", 0, changed);
    expect_changed(changed, 70, 140);
}

/* A window of 20 tokens is the token itself and the 19 before it. */
static void test_window(void **state)
{
    (void)state;
    unsigned char changed[140];
    find_changed(WINDOW, 1, changed);
    expect_changed(changed, 70, 90);
    find_changed(WINDOW "llama.attention.sliding_window_pattern bool 1 0\n", 0, changed);
    expect_changed(changed, 70, 90);
    find_changed(WINDOW "llama.attention.sliding_window_pattern bool 1 0\n", 1, changed);
    expect_changed(changed, 70, 140);
}

/* ---- rotation ---- */

static void run_rotated(const char *more, const char *factors_name, float factor, size_t n_tokens, float *out)
{
    const size_t starts[] = {0, n_tokens};
    bench b;
    lent_pass p;
    bench_ready(&b, "llama", SIZES("llama"), more);
    fill_rows(b.x, n_tokens, 2);
    lent_begin(&p, 0, starts, 1);
    p.factors_name = factors_name;
    p.factor = factor;
    run(&b, &p);
    memcpy(out, b.x, n_tokens * WIDTH * sizeof *out);
    bench_end(&b);
}

/* Sequences beyond the original context take the long factors, others the short ones, whatever else is in the batch. */
static void test_longrope(void **state)
{
    (void)state;
    static float is_long[MOST_TOKENS * WIDTH], expected[MOST_TOKENS * WIDTH];
    const char *scaling = "llama.rope.scaling.type text longrope\nllama.rope.scaling.original_context_length u32 30\n";
    run_rotated(scaling, "rope_factors_long.weight", 5, 31, is_long);
    run_rotated("", "rope_freqs.weight", 5, 31, expected);
    expect_same(is_long, expected, (size_t)31 * WIDTH);
    run_rotated(scaling, "rope_factors_long.weight", 5, 30, is_long);
    run_rotated("", NULL, 1, 30, expected);
    expect_same(is_long, expected, (size_t)30 * WIDTH);
}

static void test_linear_scaling_divides_positions(void **state)
{
    (void)state;
    static float scaled[MOST_TOKENS * WIDTH], expected[MOST_TOKENS * WIDTH];
    run_rotated("llama.rope.scaling.factor f32 4\n", NULL, 1, 40, scaled); /* linear where no type is given */
    run_rotated("", "rope_freqs.weight", 4, 40, expected);
    expect_same(scaled, expected, (size_t)40 * WIDTH);
    run_rotated("llama.rope.scaling.factor f32 4\nllama.rope.scaling.type text none\n", NULL, 1, 40, scaled);
    run_rotated("", NULL, 1, 40, expected);
    expect_same(scaled, expected, (size_t)40 * WIDTH);
}

/* ---- what is asked of the host ---- */

static void test_linears_by_input(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 3};
    bench b;
    lent_pass p;
    bench_ready(&b, "qwen3", SIZES("qwen3"), "");
    fill_rows(b.x, 3, 1);
    lent_begin(&p, 1, starts, 1);
    p.norms_heads = 1;
    run(&b, &p);
    assert_string_equal(p.calls, "blk.1.attn_q.weight+blk.1.attn_k.weight+blk.1.attn_v.weight, "
                                 "blk.1.attn_output.weight, blk.1.ffn_gate.weight+blk.1.ffn_up.weight, "
                                 "blk.1.ffn_down.weight");
    bench_end(&b);
}

static void test_early_end(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 3};
    static const char *const names[] = {"blk.0.attn_k.weight", "blk.0.attn_output.weight", "blk.0.ffn_up.weight",
                                        "blk.0.ffn_down.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bench b;
        lent_pass p;
        bench_ready(&b, "llama", SIZES("llama"), "");
        fill_rows(b.x, 3, 1);
        lent_begin(&p, 0, starts, 1);
        p.stop = names[i];
        assert_int_equal(b.family->block(b.job, b.state, &p.pass, b.x), LENT_STOP);
        assert_int_equal(b.host.status, QC_OK);
        bench_end(&b);
    }
}

static void test_finish(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 3};
    float expected[3 * WIDTH], x[3 * WIDTH];
    bench b;
    lent_pass p;
    bench_ready(&b, "qwen2", SIZES("qwen2"), "");
    fill_rows(b.x, 3, 1);
    memcpy(x, b.x, sizeof x);
    lent_begin(&p, 2, starts, 1);
    assert_int_equal(b.family->finish(b.job, b.state, &p.pass, b.x), QC_OK);
    for (size_t row = 0; row < 3; row++)
        test_ops_math()->rms_norm(expected + row * WIDTH, x + row * WIDTH, p.vectors[0], WIDTH, 1e-5f);
    expect_same(b.x, expected, sizeof expected / sizeof *expected);
    bench_end(&b);
}

/* ---- what is refused ---- */

static void test_bad_tensors(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 3};
    static const struct {
        const char *missing, *odd, *infinite, *message;
        qc_status status;
    } cases[] = {
        {"blk.0.attn_v.weight", NULL, NULL, "blk.0.attn_v.weight: the model has no such tensor", QC_E_CORRUPT},
        {"blk.0.attn_norm.weight", NULL, NULL, "blk.0.attn_norm.weight: the model has no such", QC_E_CORRUPT},
        {"blk.0.attn_k_norm.weight", NULL, NULL, "blk.0.attn_k_norm.weight: the model has no", QC_E_CORRUPT},
        {"token_embd.weight", NULL, NULL, "token_embd.weight: 0 columns", QC_E_CORRUPT},
        {NULL, "blk.0.attn_k.weight", NULL, "16 x 9 weights; the model's metadata asks for 16 x 8", QC_E_CORRUPT},
        {NULL, "blk.0.ffn_down.weight", NULL, "blk.0.ffn_down.weight: 24 x 17", QC_E_CORRUPT},
        {NULL, "blk.0.attn_q.bias", NULL, "blk.0.attn_q.bias: 17 values; the model's metadata asks", QC_E_CORRUPT},
        {NULL, "blk.0.ffn_norm.weight", NULL, "blk.0.ffn_norm.weight: 17 values", QC_E_CORRUPT},
        {NULL, NULL, "blk.0.attn_q.weight", "blk.0.attn_q.weight: the attention scores of token 0", QC_E_NUMERIC},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        lent_pass p;
        bench_ready(&b, "qwen3", SIZES("qwen3"), "");
        fill_rows(b.x, 3, 1);
        lent_begin(&p, 0, starts, 1);
        p.norms_heads = p.has_biases = 1;
        p.missing = cases[i].missing;
        p.odd = cases[i].odd;
        p.infinite = cases[i].infinite;
        assert_int_equal(b.family->block(b.job, b.state, &p.pass, b.x), cases[i].status);
        if (!strstr(b.host.message, cases[i].message))
            fail_msg("\"%s\" lacks \"%s\"", b.host.message, cases[i].message);
        bench_end(&b);
    }
}

static void test_bad_rotary_factors(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 3};
    static const float factors[] = {0, -1, INFINITY};
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        bench b;
        lent_pass p;
        bench_ready(&b, "llama", SIZES("llama"), "");
        lent_begin(&p, 0, starts, 1);
        p.factors_name = "rope_freqs.weight";
        p.factor = factors[i];
        assert_int_equal(b.family->block(b.job, b.state, &p.pass, b.x), QC_E_CORRUPT);
        assert_non_null(strstr(b.host.message, "rope_freqs.weight: value 0 is not a factor above 0"));
        bench_end(&b);
    }
}

/* Each allocation fails once, that of the state included. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 70};
    qc_status status = QC_E_NOMEM;
    size_t k = 0;
    while (status != QC_OK && ++k < 200) {
        bench b;
        lent_pass p;
        bench_ready(&b, "llama", SIZES("llama"), "");
        fill_rows(b.x, 70, 1);
        lent_begin(&p, 0, starts, 1);
        b.host.n_allocs = 0;
        b.host.fail_at = k;
        status = b.family->block(b.job, b.state, &p.pass, b.x);
        assert_true(status == QC_OK || status == QC_E_NOMEM);
        assert_int_equal(status == QC_OK, b.host.status == QC_OK);
        bench_end(&b);
    }
    assert_int_equal(status, QC_OK);
    assert_true(k > 5);
}

/* ---- hyperparameters ---- */

static void test_layers_may_differ(void **state)
{
    (void)state;
    static const size_t starts[] = {0, 3};
    bench b;
    lent_pass p;
    bench_ready(&b, "llama", SIZES("llama"),
                "llama.attention.head_count u32 4 2\nllama.attention.head_count_kv i32 2 1\n"
                "llama.feed_forward_length u32 24 8\nllama.rope.dimension_count u32 2\n");
    fill_rows(b.x, 3, 1);
    lent_begin(&p, 1, starts, 1);
    p.heads = 2;
    p.key_heads = 1;
    p.inner = 8;
    run(&b, &p);
    bench_end(&b);
}

static void test_refused_hyperparameters(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
        qc_status status;
    } cases[] = {
        {"llama.block_count u32 0\n", "llama.block_count: 0, not from 1", QC_E_CORRUPT},
        {"llama.block_count u32 4294967295\n", "llama.block_count: 4.2949673e+09, not from", QC_E_CORRUPT},
        {"llama.block_count f32 1.5\n", "1.5, not a whole number", QC_E_CORRUPT},
        {"llama.block_count text two\n", "must be a number", QC_E_CORRUPT},
        {"llama.block_count u32 2 2\n", "must be a number", QC_E_CORRUPT},
        {"llama.attention.head_count u32 0\n", "llama.attention.head_count: 0", QC_E_CORRUPT},
        {"llama.attention.head_count u32 4 4 4\n", "3 values for 2 blocks", QC_E_CORRUPT},
        {"llama.attention.head_count f32 4 4\n", "must be an array of whole numbers", QC_E_CORRUPT},
        {"llama.attention.head_count_kv u32 3\n", "3 key/value heads do not divide 4 heads of block 0", QC_E_CORRUPT},
        {"llama.attention.head_count_kv i32 -1 2\n", "-1, not from 1", QC_E_CORRUPT},
        {"llama.attention.head_count u32 6\n", "llama.attention.key_length: the model's metadata lacks", QC_E_CORRUPT},
        {"llama.attention.key_length u32 3\n", "llama.attention.value_length: differs", QC_E_UNSUPPORTED},
        {"llama.rope.dimension_count u32 6\n", "llama.rope.dimension_count: 6, not from 2 to 4", QC_E_CORRUPT},
        {"llama.rope.dimension_count u32 3\n", "3, not an even number", QC_E_CORRUPT},
        {"llama.rope.freq_base f32 0\n", "llama.rope.freq_base: 0", QC_E_CORRUPT},
        {"llama.rope.freq_base f32 nan\n", "llama.rope.freq_base: nan", QC_E_CORRUPT},
        {"llama.rope.scaling.type text dynamic\n", "\"dynamic\" cannot be run", QC_E_UNSUPPORTED},
        {"llama.rope.scaling.type u32 1\n", "must be a text", QC_E_CORRUPT},
        {"llama.rope.scaling.factor f32 -1\n", "llama.rope.scaling.factor: -1", QC_E_CORRUPT},
        {"llama.attention.layer_norm_rms_epsilon f32 0\n", "rms_epsilon: 0", QC_E_CORRUPT},
        {"llama.attention.causal bool 0\n", "only causal attention", QC_E_UNSUPPORTED},
        {"llama.expert_count u32 8\n", "llama.expert_count: a mixture of experts", QC_E_UNSUPPORTED},
        {WINDOW "llama.attention.sliding_window_pattern u32 2\n", "one value a block", QC_E_UNSUPPORTED},
        {"llama.attention.sliding_window i32 -4\n", "-4, not from 0", QC_E_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        bench_begin(&b, "llama", SIZES("llama"), cases[i].line);
        if (b.status != cases[i].status || !strstr(b.host.message, cases[i].message))
            fail_msg("%sstatus %d, \"%s\" lacks \"%s\"", cases[i].line, (int)b.status, b.host.message,
                     cases[i].message);
        assert_null(b.state);
        bench_end(&b);
    }
}

static void test_no_backend(void **state)
{
    (void)state;
    bench b;
    bench_ready(&b, "llama", SIZES("llama"), "");
    meta_view metadata = meta_view_of(&b.model);
    void *other = NULL;
    b.host.tables = NULL;
    assert_int_equal(b.family->create(b.job, &metadata.api, &other), QC_E_UNSUPPORTED);
    assert_non_null(strstr(b.host.message, "no backend has the operations that running llama needs"));
    bench_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences_do_not_see_each_other),
        cmocka_unit_test(test_attention_is_causal),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test(test_linear_scaling_divides_positions),
        cmocka_unit_test(test_linears_by_input),
        cmocka_unit_test(test_early_end),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_bad_rotary_factors),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_layers_may_differ),
        cmocka_unit_test(test_refused_hyperparameters),
        cmocka_unit_test(test_no_backend),
    };
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
