/* The llama library: names, metadata and what it refuses. Expected keys are those of llama.cpp's converter. */
#include "expect_meta.h"
#include "qcore/architecture.h"
#include "test_host.h"
#include "test_plugin.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const qc_plugin *plugin;

static int open_plugin(void **state)
{
    (void)state;
    plugin = test_plugin_open("llama");
    return 0;
}

static const qc_architecture_desc *find_family(const char *id)
{
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (strcmp(plugin->descs[i]->id, id) == 0)
            return (const qc_architecture_desc *)(const void *)plugin->descs[i];
    fail_msg("no architecture %s", id);
    return NULL;
}

/* One import: a config in memory, what came out. */
typedef struct run {
    test_host host;
    qc_job *job;
    memory_folder folder;
    memory_model model;
    qc_import import;
    qc_status status;
    size_t n_factors;
    float factors[64];
    char shapes[2000]; /* "NAME cols rows\n" of each */
} run;

static run *current;

static qc_status keep_vector(const qc_import *out, qc_job *job, const char *canonical, const float *values, size_t n)
{
    (void)out;
    (void)job;
    assert_string_equal(canonical, "rope_freqs.weight");
    assert_true(n <= 64);
    memcpy(current->factors, values, n * sizeof *values);
    current->n_factors = n;
    return QC_OK;
}

static qc_status keep_shape(const qc_import *out, qc_job *job, const char *canonical, uint64_t cols, uint64_t rows)
{
    (void)out;
    (void)job;
    size_t used = strlen(current->shapes);
    snprintf(current->shapes + used, sizeof current->shapes - used, "%s %d %d\n", canonical, (int)cols, (int)rows);
    return QC_OK;
}

static void run_begin(run *r, const char *family, const char *config)
{
    memset(r, 0, sizeof *r);
    current = r;
    r->job = test_host_begin(&r->host);
    memory_folder_begin(&r->folder);
    memory_folder_add(&r->folder, "config.json", config, strlen(config));
    memory_model_begin(&r->model);
    r->import = (qc_import){sizeof r->import, &r->model.scan, keep_vector, keep_shape};
    r->status = find_family(family)->import(r->job, &r->folder.source, &r->import);
}

static void run_end(run *r)
{
    memory_model_end(&r->model);
    memory_folder_end(&r->folder);
    test_host_end(&r->host);
}

/* `base` without its closing brace, followed by more keys. */
#define BASE                                                                                            \
    "{\"hidden_size\": 256, \"intermediate_size\": 512, \"num_hidden_layers\": 2, \"vocab_size\": 900," \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-5,"                   \
    "\"max_position_embeddings\": 512"

static void test_llama_metadata(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "llama", BASE ", \"_name_or_path\": \"/home/me/models/Tiny-1B/\", \"hidden_act\": \"silu\"}");
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "general.architecture", "llama");
    expect_text(&r.model, "general.type", "model");
    expect_text(&r.model, "general.name", "Tiny-1B");
    expect_u32(&r.model, "llama.block_count", 2);
    expect_u32(&r.model, "llama.context_length", 512);
    expect_u32(&r.model, "llama.embedding_length", 256);
    expect_u32(&r.model, "llama.feed_forward_length", 512);
    expect_u32(&r.model, "llama.attention.head_count", 4);
    expect_u32(&r.model, "llama.attention.head_count_kv", 2);
    expect_u32(&r.model, "llama.rope.dimension_count", 64);
    expect_u32(&r.model, "llama.vocab_size", 900);
    expect_f32(&r.model, "llama.rope.freq_base", 10000.0f);
    expect_f32(&r.model, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    expect_absent(&r.model, "llama.attention.key_length");
    expect_absent(&r.model, "llama.rope.scaling.type");
    assert_int_equal(r.n_factors, 0);
    run_end(&r);
}

static void test_head_size_given(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "qwen3", BASE ", \"head_dim\": 128, \"rope_theta\": 1000000}");
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "general.architecture", "qwen3");
    expect_u32(&r.model, "qwen3.attention.key_length", 128);
    expect_u32(&r.model, "qwen3.attention.value_length", 128);
    expect_u32(&r.model, "qwen3.rope.dimension_count", 128);
    expect_f32(&r.model, "qwen3.rope.freq_base", 1e6f);
    expect_absent(&r.model, "general.name");
    run_end(&r);
}

/* Heads need not fill the embedding: q is 4 heads of 128 beside 256 channels. */
static void test_shapes(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "qwen3", BASE ", \"head_dim\": 128}");
    assert_int_equal(r.status, QC_OK);
    assert_non_null(strstr(r.shapes, "token_embd.weight 256 900\n"));
    assert_non_null(strstr(r.shapes, "blk.{}.attn_q.weight 256 512\n"));
    assert_non_null(strstr(r.shapes, "blk.{}.attn_k.weight 256 256\n"));
    assert_non_null(strstr(r.shapes, "blk.{}.attn_k.bias 256 0\n"));
    assert_non_null(strstr(r.shapes, "blk.{}.attn_q_norm.weight 128 0\n"));
    assert_non_null(strstr(r.shapes, "blk.{}.attn_output.weight 512 256\n"));
    assert_non_null(strstr(r.shapes, "blk.{}.ffn_down.weight 512 256\n"));
    run_end(&r);
}

static void test_nested_text_config(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "llama", "{\"vocab_size\": 7, \"text_config\": " BASE "}}");
    assert_int_equal(r.status, QC_OK);
    expect_u32(&r.model, "llama.vocab_size", 900);
    run_end(&r);
}

static void test_old_llama_has_no_key_heads(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "llama",
              "{\"hidden_size\": 256, \"intermediate_size\": 512, \"num_hidden_layers\": 2, \"vocab_size\": 900,"
              "\"num_attention_heads\": 4, \"rms_norm_eps\": 1e-6, \"max_position_embeddings\": 512}");
    assert_int_equal(r.status, QC_OK);
    expect_u32(&r.model, "llama.attention.head_count_kv", 4);
    run_end(&r);
}

static void test_rope_linear(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "llama", BASE ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}}");
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "llama.rope.scaling.type", "linear");
    expect_f32(&r.model, "llama.rope.scaling.factor", 4.0f);
    run_end(&r);
}

static void test_rope_yarn(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "qwen2",
              BASE
              ", \"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4, \"rope_theta\": 1e6, \"beta_fast\": 16,"
              "\"original_max_position_embeddings\": 128, \"attention_factor\": null}}");
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "qwen2.rope.scaling.type", "yarn");
    expect_f32(&r.model, "qwen2.rope.scaling.factor", 4.0f);
    expect_f32(&r.model, "qwen2.rope.freq_base", 1e6f);
    expect_u32(&r.model, "qwen2.rope.scaling.original_context_length", 128);
    expect_f32(&r.model, "qwen2.rope.scaling.yarn_beta_fast", 16.0f);
    expect_absent(&r.model, "qwen2.rope.scaling.yarn_beta_slow");
    expect_absent(&r.model, "qwen2.rope.scaling.yarn_attn_factor");
    run_end(&r);
}

static int is_near(float value, double expected)
{
    return fabs((double)value - expected) < 5.1e-6 * expected; /* the figures below have six digits */
}

/* Figures of Llama-3.2-1B and Llama-3.1-8B, computed by others. */
static void test_rope_llama3(void **state)
{
    (void)state;
    run r;
    run_begin(&r, "llama",
              BASE ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 32.0,"
                   "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}}");
    assert_int_equal(r.status, QC_OK);
    expect_absent(&r.model, "llama.rope.scaling.type");
    assert_int_equal(r.n_factors, 32);
    for (size_t i = 0; i < 32; i++)
        if (i < 15 || i > 17)
            assert_true(r.factors[i] == (i < 15 ? 1.0f : 32.0f));
    assert_true(is_near(r.factors[15], 1.65133) && is_near(r.factors[16], 3.29226) && is_near(r.factors[17], 9.66673));
    run_end(&r);

    run_begin(&r, "llama",
              BASE ", \"head_dim\": 128, \"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 500000,"
                   "\"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4}}");
    assert_int_equal(r.status, QC_OK);
    assert_int_equal(r.n_factors, 64);
    assert_true(r.factors[28] == 1.0f && r.factors[35] == 8.0f);
    assert_true(is_near(r.factors[29], 1.20748) && is_near(r.factors[34], 5.25733));
    run_end(&r);
}

/* Each family's own rule; llama.cpp's readers pass over the keys. */
static void test_windows(void **state)
{
    (void)state;
    static const struct {
        const char *family, *config;
        uint32_t window;
        const char *pattern; /* one digit a block; NULL: all alike */
    } cases[] = {
        {"llama", BASE ", \"model_type\": \"llama\", \"sliding_window\": 64}", 0, NULL},
        {"llama", BASE ", \"model_type\": \"mistral\", \"sliding_window\": 64}", 64, NULL},
        {"llama", BASE ", \"model_type\": \"mistral\"}", 4096, NULL},
        {"llama", BASE ", \"model_type\": \"mistral\", \"sliding_window\": null}", 0, NULL},
        {"qwen2", BASE ", \"sliding_window\": 64, \"max_window_layers\": 1}", 0, NULL},
        {"qwen2", BASE ", \"use_sliding_window\": false, \"sliding_window\": 64}", 0, NULL},
        {"qwen2", BASE ", \"use_sliding_window\": true, \"sliding_window\": 64}", 0, NULL},
        {"qwen2", BASE ", \"use_sliding_window\": true, \"sliding_window\": null, \"max_window_layers\": 0}", 0, NULL},
        {"qwen2", BASE ", \"use_sliding_window\": true, \"max_window_layers\": 0}", 4096, NULL},
        {"qwen3", BASE ", \"use_sliding_window\": true, \"sliding_window\": 64, \"max_window_layers\": 1}", 64, "01"},
        {"qwen3",
         BASE ", \"use_sliding_window\": true, \"sliding_window\": 64, \"max_window_layers\": 1,"
              "\"layer_types\": [\"sliding_attention\", \"full_attention\"]}",
         64, "10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run r;
        char key[64], pattern_key[80];
        snprintf(key, sizeof key, "%s.attention.sliding_window", cases[i].family);
        snprintf(pattern_key, sizeof pattern_key, "%s_pattern", key);
        run_begin(&r, cases[i].family, cases[i].config);
        assert_int_equal(r.status, QC_OK);
        if (cases[i].window)
            expect_u32(&r.model, key, cases[i].window);
        else
            expect_absent(&r.model, key);
        const qc_meta *pattern = memory_model_meta(&r.model, pattern_key);
        assert_int_equal(pattern != NULL, cases[i].pattern != NULL);
        for (size_t k = 0; pattern && k < 2; k++)
            assert_int_equal(((const uint8_t *)pattern->data)[k], cases[i].pattern[k] - '0');
        run_end(&r);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *family, *config, *message;
    } cases[] = {
        {"llama", "{}", "\"num_hidden_layers\" is missing"},
        {"llama", "[]", "not a JSON object"},
        {"llama", "{\"a\": 1, \"a\": 2}", "duplicate"},
        {"llama", "{\"hidden_size\": 256,", "config.json:1:"},
        {"llama", BASE ", \"num_hidden_layers\": 3}", "duplicate"},
        {"llama", BASE ", \"head_dim\": 33}", "must be even"},
        {"llama", BASE ", \"head_dim\": 1e99}", "\"head_dim\" is 1e+99"},
        {"llama", BASE ", \"head_dim\": 64.5}", "not a whole number"},
        {"llama", BASE ", \"head_dim\": \"64\"}", "must be a number"},
        {"llama", BASE ", \"hidden_act\": \"gelu\"}", "gelu"},
        {"llama", BASE ", \"rope_theta\": 0}", "\"rope_theta\" is 0"},
        {"llama", BASE ", \"rope_scaling\": 4}", "must be an object"},
        {"llama", BASE ", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}}", "\"dynamic\""},
        {"llama", BASE ", \"rope_scaling\": {\"type\": \"longrope\", \"factor\": 2}}", "\"longrope\""},
        {"llama", BASE ", \"rope_scaling\": {\"type\": \"linear\"}}", "\"factor\" is missing"},
        {"llama", BASE ", \"rope_scaling\": {\"type\": [1]}}", "must be a string"},
        {"qwen2", BASE ", \"rope_scaling\": {\"rope_type\": \"llama3\"}}", "cannot run qwen2"},
        {"qwen2", BASE ", \"head_dim\": 128}", "cannot run qwen2 with 4 heads of 128"},
        {"llama", BASE ", \"partial_rotary_factor\": 0.5}", "partial"},
        {"llama", BASE ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"truncate\": false}}", "truncate"},
        {"llama", BASE ", \"model_type\": \"mistral\", \"sliding_window\": 0}", "\"sliding_window\" is 0"},
        {"qwen2", BASE ", \"use_sliding_window\": true, \"layer_types\": [\"full_attention\"]}", "a list of 2 names"},
        {"qwen2", BASE ", \"use_sliding_window\": true, \"layer_types\": [\"full_attention\", \"linear_attention\"]}",
         "\"linear_attention\" for block 1"},
        {"llama", BASE ", \"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}", "(bitsandbytes)"},
        {"llama",
         BASE ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", "
              "\"transform_config\": {\"a\": {}}}}",
         "rotated"},
        {"llama", "{\"text_config\": " BASE "}, \"quantization_config\": {}}", "quantized already"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run r;
        run_begin(&r, cases[i].family, cases[i].config);
        assert_true(r.status < 0);
        if (!strstr(r.host.message, cases[i].message))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].config, r.host.message, cases[i].message);
        run_end(&r);
    }
}

static const qc_name_rule *find_rule(const char *family, const char *source)
{
    for (const qc_name_rule *rule = find_family(family)->names; rule->source; rule++)
        if (strcmp(rule->source, source) == 0)
            return rule;
    return NULL;
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *family, *source, *canonical;
        uint32_t flags, rows;
    } cases[] = {
        {"llama", "model.embed_tokens.weight", "token_embd.weight", 0, 0},
        {"llama", "lm_head.weight", "output.weight", QC_NAME_OPTIONAL, 0},
        {"llama", "model.norm.weight", "output_norm.weight", QC_NAME_KEEP_F32, 0},
        {"llama", "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", 0, QC_ROWS_PAIR_QUERY_HEADS},
        {"llama", "model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", 0, QC_ROWS_PAIR_KEY_HEADS},
        {"llama", "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", 0, 0},
        {"llama", "model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", QC_NAME_OPTIONAL | QC_NAME_KEEP_F32,
         QC_ROWS_PAIR_KEY_HEADS},
        {"llama", "model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", QC_NAME_OPTIONAL | QC_NAME_KEEP_F32, 0},
        {"llama", "model.layers.{}.self_attn.rotary_emb.inv_freq", NULL, QC_NAME_OPTIONAL | QC_NAME_DROP, 0},
        {"qwen2", "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", 0, 0},
        {"qwen2", "model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", QC_NAME_OPTIONAL | QC_NAME_KEEP_F32,
         0},
        {"qwen3", "model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", QC_NAME_KEEP_F32, 0},
        {"qwen3", "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", QC_NAME_KEEP_F32, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const qc_name_rule *rule = find_rule(cases[i].family, cases[i].source);
        assert_non_null(rule);
        assert_int_equal(rule->flags, cases[i].flags);
        assert_int_equal(rule->rows, cases[i].rows);
        if (cases[i].canonical)
            assert_string_equal(rule->canonical, cases[i].canonical);
        else
            assert_null(rule->canonical);
    }
    assert_null(find_rule("qwen2", "model.layers.{}.self_attn.q_norm.weight"));
    assert_null(find_rule("qwen3", "model.layers.{}.self_attn.o_proj.bias"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_metadata),
        cmocka_unit_test(test_head_size_given),
        cmocka_unit_test(test_nested_text_config),
        cmocka_unit_test(test_old_llama_has_no_key_heads),
        cmocka_unit_test(test_rope_linear),
        cmocka_unit_test(test_rope_yarn),
        cmocka_unit_test(test_rope_llama3),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_windows),
    };
    return cmocka_run_group_tests_name("architecture", tests, open_plugin, NULL);
}
