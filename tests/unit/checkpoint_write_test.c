/* Checkpoint layouts apart from the program: chunks in any order, stored column orders, config.json, who loads what, and
 * every refusal. That the arrays hold the right values is for tests/integration/checkpoint_write_test.py. */
#include "format_check.h"
#include "qcore/number.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 128, ROWS = 192, MOST_LOADERS = 8 };

static const qc_plugin *formats, *ints;
static const test_setting settings[] = {{"shard_bytes", 5e9, NULL},
                                        {"checkpoint_format", 0, "auto"},
                                        {"layout", 0, "pack-quantized"},
                                        {"scale_dtype", 0, "auto"},
                                        {NULL, 0, NULL}};

static const qc_format_desc *find_format(const char *id)
{
    for (uint32_t i = 0; i < formats->n_descs; i++)
        if (!strcmp(formats->descs[i]->id, id))
            return (const qc_format_desc *)(const void *)formats->descs[i];
    fail_msg("no format %s", id);
    return NULL;
}

/* ---- a model to write ---- */

typedef struct made {
    memory_model m;
    memory_folder source;
    uint32_t order[COLS];
} made;

static void begin(made *x, const char *config)
{
    memory_model_begin(&x->m);
    memory_folder_begin(&x->source);
    memory_folder_add(&x->source, "config.json", config, strlen(config));
}

static void end(made *x)
{
    memory_model_end(&x->m);
    memory_folder_end(&x->source);
}

/* After the last tensor. */
static const qc_model *whole(made *x)
{
    x->m.model.folder = &x->source.source;
    return &x->m.model;
}

static void add_plain(made *x, const char *name, uint64_t cols, uint64_t rows)
{
    format_add_tensor(&x->m, name, "bf16", 1, 2, (const uint64_t[]){cols, rows, 0});
}

static void add_linear(made *x, const char *name, const char *encoding, uint64_t rows, int has_order)
{
    const qc_encoding_desc *d = test_find_encoding(ints, encoding);
    assert_non_null(d);
    qc_tensor t = {.size = sizeof t, .n_dims = 2, .name = name, .encoding = encoding, .dims = {COLS, rows, 1, 1}};
    t.desc = d;
    t.order = has_order ? x->order : NULL;
    t.row_bytes = d->block_cols ? COLS / d->block_cols * d->block_bytes : d->block_bytes + COLS * d->code_bits / 8;
    t.bytes = t.row_bytes * rows;
    memory_model_add_tensor(&x->m, &t);
}

static void add_block(made *x, const char *encoding, int has_order)
{
    add_plain(x, "model.embed_tokens.weight", COLS, 8);
    add_linear(x, "model.layers.0.self_attn.q_proj.weight", encoding, ROWS, has_order);
    add_linear(x, "model.layers.0.self_attn.k_proj.weight", encoding, ROWS, has_order);
    add_linear(x, "model.layers.0.self_attn.v_proj.weight", encoding, ROWS, has_order);
    add_plain(x, "lm_head.weight", COLS, 8);
    for (uint32_t i = 0; i < COLS; i++)
        x->order[i] = i;
}

/* ---- writing in chunks ---- */

/* Rows with sound scales: encoded from numbers that depend on the name. */
static unsigned char *rows_of(qc_job *job, const qc_coder *e, const qc_tensor *t)
{
    size_t n = (size_t)(t->dims[0] * t->dims[1]);
    float *w = malloc(n * sizeof *w);
    unsigned char *data = malloc((size_t)t->bytes + 1);
    uint32_t x = 0;
    for (const char *c = t->name; *c; c++)
        x = x * 31 + (unsigned char)*c;
    assert_non_null(w);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        w[i] = ((float)(x >> 8) * 0x1p-24f - 0.4f) * 0.1f;
    }
    assert_int_equal(qc_encode_rows(job, e, data, w, NULL, n / (size_t)t->dims[0]), QC_OK);
    free(w);
    return data;
}

static void store_linear(test_host *th, const qc_format_desc *format, const void *index, memory_folder *f,
                         const qc_tensor *t, size_t rows_each, int backwards)
{
    qc_coder e;
    qc_ops_encoding ops;
    assert_true(test_coder(&e, &ops, t->desc, "reference", COLS));
    unsigned char *data = rows_of(&th->job, &e, t);
    size_t rows = (size_t)t->dims[1], chunks = (rows + rows_each - 1) / rows_each;
    for (size_t i = 0; i < chunks; i++) {
        size_t row = (backwards ? chunks - 1 - i : i) * rows_each, n = rows - row < rows_each ? rows - row : rows_each;
        if (format->store(&th->job, index, &f->sink, t, &e, row, n, data + row * t->row_bytes) != QC_OK)
            fail_msg("store: %s", th->message);
    }
    free(data);
}

/* Linears alone; plain tensors stay zero. */
static void write_model(const qc_format_desc *format, const qc_model *model, size_t rows_each, int backwards,
                        memory_folder *f)
{
    test_host th;
    void *index = NULL;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(f);
    if (format->layout(job, model, test_settings(settings), &f->layout, &index) != QC_OK)
        fail_msg("layout: %s", th.message);
    for (size_t i = 0; i < model->n_tensors; i++)
        if (model->tensors[i]->desc)
            store_linear(&th, format, index, f, model->tensors[i], rows_each, backwards);
    format->release(&th.host, index);
    test_host_end(&th);
}

static void expect_same(const memory_folder *a, const memory_folder *b)
{
    assert_int_equal(a->n_files, b->n_files);
    for (uint32_t i = 0; i < a->n_files; i++) {
        assert_int_equal(a->files[i].length, b->files[i].length);
        assert_memory_equal(a->files[i].data, b->files[i].data, (size_t)a->files[i].length);
    }
}

static void takes_chunks_in_any_order(void **state)
{
    static const char *const kinds[][2] = {{"gptq", "int3_g32_asym"},
                                           {"gptq", "int2_channel"},
                                           {"awq", "int4_g64_asym"},
                                           {"compressed-tensors", "int5_g32_asym"},
                                           {"compressed-tensors", "int7_channel_asym"}};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        made x;
        memory_folder one, many;
        const qc_format_desc *format = find_format(kinds[i][0]);
        begin(&x, "{}");
        add_block(&x, kinds[i][1], 0);
        write_model(format, whole(&x), ROWS, 0, &one);
        write_model(format, whole(&x), format->row_multiple, 1, &many);
        expect_same(&one, &many);
        memory_folder_end(&one);
        memory_folder_end(&many);
        end(&x);
    }
}

/* ---- orders ---- */

/* The array `name`'s bytes in model.safetensors. */
static const unsigned char *find_array(memory_folder *f, const char *name)
{
    const memory_file *file = memory_folder_find(f, "model.safetensors");
    size_t n = (size_t)qc_load_le64(file->data);
    char *header = malloc(n + 1), key[128];
    assert_non_null(header);
    memcpy(header, file->data + 8, n);
    header[n] = '\0';
    snprintf(key, sizeof key, "\"%s\":{", name);
    const char *at = strstr(header, key);
    assert_non_null(at);
    uint64_t begin_at = strtoull(strstr(at, "offsets\":[") + 10, NULL, 10);
    free(header);
    return file->data + 8 + n + begin_at;
}

static uint32_t code_at(const unsigned char *qweight, size_t input, size_t row)
{
    return qc_load_le32(qweight + (input / 8 * ROWS + row) * 4) >> (4 * (input % 8)) & 15;
}

/* Codes come in the stored order of columns, and are written at their inputs' own places. */
static void keeps_a_column_order(void **state)
{
    static const char name[] = "model.layers.0.self_attn.q_proj";
    made x;
    memory_folder plain, ordered;
    char array[64];
    (void)state;
    begin(&x, "{}");
    add_block(&x, "int4_g32", 1);
    write_model(find_format("gptq"), whole(&x), ROWS, 0, &plain);
    for (uint32_t i = 0; i < COLS; i++)
        x.order[i] = i * 37 % COLS;
    write_model(find_format("gptq"), whole(&x), 64, 1, &ordered);
    snprintf(array, sizeof array, "%s.g_idx", name);
    const unsigned char *groups = find_array(&ordered, array);
    snprintf(array, sizeof array, "%s.qweight", name);
    const unsigned char *before = find_array(&plain, array), *after = find_array(&ordered, array);
    for (size_t i = 0; i < COLS; i++) {
        assert_int_equal(qc_load_le32(groups + 4 * x.order[i]), i / 32);
        for (size_t row = 0; row < ROWS; row++)
            assert_int_equal(code_at(after, x.order[i], row), code_at(before, i, row));
    }
    const memory_file *config = memory_folder_find(&ordered, "config.json");
    assert_non_null(strstr((const char *)config->data, "\"desc_act\": true"));
    memory_folder_end(&plain);
    memory_folder_end(&ordered);
    end(&x);
}

/* ---- config.json ---- */

static void expect_config(const char *config, const char *before, const char *behind)
{
    made x;
    memory_folder f;
    begin(&x, config);
    add_block(&x, "int4_g32", 0);
    write_model(find_format("compressed-tensors"), whole(&x), ROWS, 0, &f);
    const memory_file *file = memory_folder_find(&f, "config.json");
    assert_non_null(file);
    char *text = calloc((size_t)file->length + 1, 1);
    assert_non_null(text);
    memcpy(text, file->data, (size_t)file->length);
    char *quantization = strstr(text, "{\n    \"quant_method\": \"compressed-tensors\"");
    if (!quantization)
        fail_msg("no quantization_config in %s", text);
    assert_int_equal(quantization - text, strlen(before));
    assert_memory_equal(text, before, strlen(before));
    assert_string_equal(text + strlen(text) - strlen(behind), behind);
    free(text);
    memory_folder_end(&f);
    end(&x);
}

static void edits_what_changes_and_nothing_else(void **state)
{
    (void)state;
    expect_config("{}", "{\n  \"quantization_config\": ", "}}");
    expect_config("{ }\n", "{\n  \"quantization_config\": ", "} }\n");
    expect_config("{\"a\": 1e-05, \"b\":[1,{\"c\":\"}]\\\",\"}] }",
                  "{\"a\": 1e-05, \"b\":[1,{\"c\":\"}]\\\",\"}],\n  "
                  "\"quantization_config\": ",
                  "} }");
    expect_config("{\n  \"torch_dtype\": \"float16\",\n  \"x\": 1.0\n}\n",
                  "{\n  \"torch_dtype\": \"bfloat16\",\n  \"x\": 1.0,\n  \"quantization_config\": ", "}\n}\n");
    expect_config("{\"quantization_config\": {\"bits\": [2]}, \"dtype\":\"float32\" }",
                  "{\"quantization_config\": ", "}, \"dtype\":\"bfloat16\" }");
    expect_config("{\"dtype\": \"float16\", \"torch_dtype\": \"float32\"}",
                  "{\"dtype\": \"bfloat16\", \"torch_dtype\": \"bfloat16\",\n  \"quantization_config\": ", "}}");
    expect_config("{\"compression_config\": {}, \"tie_word_embeddings\": true}",
                  "{ \"tie_word_embeddings\": false,\n  \"quantization_config\": ", "}}");
}

/* ---- refusals ---- */

static void expect_refusal(const char *format, made *x, const char *words)
{
    test_host th;
    memory_folder f;
    void *index = NULL;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    assert_int_not_equal(find_format(format)->layout(job, &x->m.model, test_settings(settings), &f.layout, &index),
                         QC_OK);
    if (!strstr(th.message, words))
        fail_msg("\"%s\" was expected in: %s", words, th.message);
    memory_folder_end(&f);
    test_host_end(&th);
}

static void refuses_what_it_cannot_keep(void **state)
{
    static char long_name[258];
    static const struct {
        const char *format, *config, *name, *encoding, *words;
        uint64_t rows;
    } cases[] = {
        {"gptq", "{}", "a.weight", "int6_g32", "2, 3, 4 or 8 bits", 64},
        {"gptq", "{}", "a.weight", "int4_g32", "do not fill whole 32-bit words", 12},
        {"gptq", "{}", "a.weight", "int3_g32", "do not fill whole 32-bit words", 48},
        {"awq", "{}", "a.weight", "int8_g32", "AWQ layouts have 4 bits", 64},
        {"awq", "{}", "a.weight", "int4_g32", "multiple of 8 rows", 12},
        {"awq", "{}", "experts", "int4_g32", "called NAME.weight", 64},
        {"gptq", "{}", "model.embed_tokens.weight", "int4_g32", "look embeddings up as plain numbers", 64},
        {"awq", "{}", "token_embd.weight", "int4_g32", "look embeddings up as plain numbers", 64},
        {"gptq", "{}", long_name, "int4_g32", "names of at most 256 characters", 64},
        {"compressed-tensors", "[]", "a.weight", "int4_g32", "config.json: not a JSON object", 64},
        {"compressed-tensors", "{", "a.weight", "int4_g32", "config.json:1:", 64},
    };
    (void)state;
    memset(long_name, 'x', 250);
    memcpy(long_name + 250, ".weight", sizeof ".weight");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made x;
        begin(&x, cases[i].config);
        add_linear(&x, cases[i].name, cases[i].encoding, cases[i].rows, 0);
        whole(&x);
        expect_refusal(cases[i].format, &x, cases[i].words);
        end(&x);
    }
}

static void refuses_models_that_are_none(void **state)
{
    made x;
    (void)state;
    begin(&x, "{}");
    add_plain(&x, "a.weight", COLS, 4);
    whole(&x);
    expect_refusal("gptq", &x, "no linear is in an encoding that gptq keeps");
    x.m.model.folder = NULL;
    expect_refusal("gptq", &x, "needs a Hugging Face folder as its input");
    end(&x);
    begin(&x, "{}");
    add_block(&x, "int4_g32", 0);
    add_linear(&x, "model.layers.0.self_attn.o_proj.weight", "int4_g64", ROWS, 0);
    whole(&x);
    expect_refusal("awq", &x, "groups of different sizes");
    memory_folder_rename(&x.source, 0, "other.json");
    expect_refusal("compressed-tensors", &x, "config.json: no such file");
    end(&x);
}

static void refuses_scales_that_would_be_rounded(void **state)
{
    static const test_setting narrow[] = {
        {"shard_bytes", 5e9, NULL}, {"layout", 0, "pack-quantized"}, {"scale_dtype", 0, "bf16"}, {NULL, 0, NULL}};
    test_host th;
    made x;
    memory_folder f;
    void *index = NULL;
    qc_coder e;
    qc_ops_encoding ops;
    (void)state;
    begin(&x, "{}");
    add_linear(&x, "a.weight", "int8_g32", 32, 0);
    const qc_tensor *t = whole(&x)->tensors[0];
    const qc_format_desc *format = find_format("compressed-tensors");
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    assert_int_equal(format->layout(job, &x.m.model, test_settings(narrow), &f.layout, &index), QC_OK);
    assert_true(test_coder(&e, &ops, t->desc, "reference", COLS));
    unsigned char *data = rows_of(job, &e, t);
    qc_store_le16(data + 3 * t->row_bytes, 0x3c01); /* 1 + 2^-10 */
    assert_int_equal(format->store(job, index, &f.sink, t, &e, 0, 32, data), QC_E_NUMERIC);
    assert_non_null(strstr(th.message, "row 3: the scale 1.00097656 is no bf16"));
    format->release(&th.host, index);
    free(data);
    memory_folder_end(&f);
    test_host_end(&th);
    end(&x);
}

static void survives_lack_of_memory(void **state)
{
    made x;
    qc_status status = QC_E_NOMEM;
    (void)state;
    begin(&x, "{\"torch_dtype\": \"float16\"}");
    add_block(&x, "int4_g32_asym", 0);
    whole(&x);
    for (size_t k = 1; status != QC_OK; k++) {
        test_host th;
        memory_folder f;
        void *index = NULL;
        qc_job *job = test_host_begin(&th);
        th.fail_at = k;
        memory_folder_begin(&f);
        status = find_format("gptq")->layout(job, &x.m.model, test_settings(settings), &f.layout, &index);
        assert_true(status == QC_OK || status == QC_E_NOMEM || status == QC_E_INVALID);
        assert_int_equal(th.status, status);
        find_format("gptq")->release(&th.host, index);
        memory_folder_end(&f);
        test_host_end(&th);
    }
    end(&x);
}

/* ---- who loads it ---- */

typedef struct heard {
    qc_loaders base;
    size_t n;
    struct {
        char name[40], why[100];
        int takes;
    } loader[MOST_LOADERS];
} heard;

static qc_status hear(const qc_loaders *out, qc_job *job, const char *name, int takes, const char *why)
{
    heard *h = (heard *)(uintptr_t)out;
    (void)job;
    assert_true(h->n < MOST_LOADERS);
    snprintf(h->loader[h->n].name, sizeof h->loader->name, "%s", name);
    snprintf(h->loader[h->n].why, sizeof h->loader->why, "%s", why ? why : "");
    h->loader[h->n++].takes = takes;
    return QC_OK;
}

/* takes: a letter for each of vLLM on a GPU, on a CPU, Transformers, TensorRT-LLM, llama.cpp. */
static void expect_loaders(const char *format, const qc_model *model, const test_setting *list, const char *takes,
                           const char *words)
{
    test_host th;
    heard h = {.base = {.size = sizeof h.base, .loader = hear}};
    char got[MOST_LOADERS + 1] = "";
    int found = words == NULL;
    qc_job *job = test_host_begin(&th);
    if (find_format(format)->loaders(job, model, test_settings(list), &h.base) != QC_OK)
        fail_msg("loaders: %s", th.message);
    for (size_t i = 0; i < h.n; i++) {
        got[i] = h.loader[i].takes ? 'y' : 'n';
        found = found || strstr(h.loader[i].why, words);
    }
    assert_string_equal(got, takes);
    if (!found)
        fail_msg("no program said \"%s\"", words);
    test_host_end(&th);
}

static void says_who_loads_it(void **state)
{
    static const test_setting activations[] = {
        {"shard_bytes", 5e9, NULL}, {"layout", 0, "int-quantized"}, {"scale_dtype", 0, "auto"}, {NULL, 0, NULL}};
    static const struct {
        const char *format, *encoding, *takes, *words;
        int has_order;
        const test_setting *list;
    } cases[] = {
        {"gptq", "int4_g128", "yyyny", "through GPTQModel", 0, settings},
        {"gptq", "int8_g128", "ynyny", "have 4 bits", 0, settings},
        {"gptq", "int3_g128", "nnynn", "its GPTQ has 4 and 8 bits", 0, settings},
        {"gptq", "int4_g128_asym", "nnyny", "no zero points", 0, settings},
        {"gptq", "int4_g32", "nnyny", "no column order in groups", 1, settings},
        {"gptq", "int4_channel", "yyyny", NULL, 1, settings},
        {"awq", "int4_g128_asym", "yyynn", "no AWQ layout", 0, settings},
        {"compressed-tensors", "int4_g128", "yyyny", NULL, 0, settings},
        {"compressed-tensors", "int4_g128_asym", "yyyny", "dequantize=True", 0, settings},
        {"compressed-tensors", "int8_g128", "ynyny", "have 4 bits", 0, settings},
        {"compressed-tensors", "int3_g128", "ynynn", "Humming", 0, settings},
        {"compressed-tensors", "int4_channel", "yyynn", "not whole rows", 0, settings},
        {"compressed-tensors", "int8_channel", "yyyny", "FP8", 0, activations},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made x;
        begin(&x, "{}");
        add_block(&x, cases[i].encoding, cases[i].has_order);
        expect_loaders(cases[i].format, whole(&x), cases[i].list, cases[i].takes, cases[i].words);
        end(&x);
    }
}

static void says_who_minds_exceptions(void **state)
{
    made x;
    (void)state;
    begin(&x, "{}");
    add_block(&x, "int4_g128", 0);
    add_linear(&x, "model.layers.0.self_attn.o_proj.weight", "int4_g64", ROWS, 0);
    expect_loaders("compressed-tensors", whole(&x), settings, "yyynn", "one scheme for all linears");
    add_linear(&x, "model.layers.1.self_attn.q_proj.weight", "int4_g128", ROWS, 0);
    add_plain(&x, "model.layers.1.self_attn.v_proj.weight", COLS, ROWS);
    expect_loaders("compressed-tensors", whole(&x), settings, "nnynn", "which must be quantized alike");
    end(&x);
    begin(&x, "{}");
    add_plain(&x, "model.norm.weight", COLS, 1);
    expect_loaders("safetensors", whole(&x), settings, "yyyyy", NULL);
    x.m.model.folder = NULL;
    expect_loaders("safetensors", &x.m.model, settings, "nnnnn", "config.json");
    end(&x);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_chunks_in_any_order),
        cmocka_unit_test(keeps_a_column_order),
        cmocka_unit_test(edits_what_changes_and_nothing_else),
        cmocka_unit_test(refuses_what_it_cannot_keep),
        cmocka_unit_test(refuses_models_that_are_none),
        cmocka_unit_test(refuses_scales_that_would_be_rounded),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(says_who_loads_it),
        cmocka_unit_test(says_who_minds_exceptions),
    };
    formats = test_plugin_open("safetensors");
    ints = test_plugin_open("ints");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
