/* Byte-level BPE: tokenizer.json and its neighbours into GGUF metadata. */
#include "tokenizer_run.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A tokenizer.json of seven tokens: three parts for the parts that tests change. */
#define TOKENIZER(pre_tokenizer, processor, model)                                                 \
    "{\"added_tokens\": [{\"id\": 5, \"content\": \"<|end|>\", \"special\": true},"                \
    "{\"id\": 6, \"content\": \"<call>\", \"special\": false}], \"pre_tokenizer\": " pre_tokenizer \
    ", \"post_processor\": " processor ", \"model\": {\"type\": \"BPE\", " model "}}"
#define BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}"
#define VOCABULARY "\"vocab\": {\"a\": 0, \"b\": 1, \"\u0120\": 2, \"ab\": 3, \"\u0120ab\": 4}"
#define MERGES "\"merges\": [\"a b\", \"\u0120 ab\"]"
#define PLAIN TOKENIZER(BYTE_LEVEL, "null", VOCABULARY ", " MERGES)

static void begin(tokenizer_run *r, const char *tokenizer, const char *settings, const char *config)
{
    tokenizer_run_begin(r);
    tokenizer_run_add(r, "tokenizer.json", tokenizer);
    if (settings)
        tokenizer_run_add(r, "tokenizer_config.json", settings);
    if (config)
        tokenizer_run_add(r, "config.json", config);
}

static void import(tokenizer_run *r, const char *tokenizer, const char *settings, const char *config)
{
    begin(r, tokenizer, settings, config);
    tokenizer_run_import(r, "bpe", "", 7);
    if (r->status != QC_OK)
        fail_msg("%s", r->host.message);
}

static void test_fixtures(void **state)
{
    (void)state;
    static const struct {
        const char *name, *pre;
        uint32_t rows, bos, eos;
        int add_bos, has_template;
        uint64_t merges;
    } cases[] = {
        {"gpt2", "gpt-2", 701, 700, 700, 0, 0, 444},
        {"llama3", "llama-bpe", 814, 806, 812, 1, 1, 544},
        {"qwen2", "qwen2", 896, 852, 852, 0, 1, 594},
        {"smollm", "smollm", 655, 651, 652, 0, 1, 394},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer_run r;
        char path[512];
        snprintf(path, sizeof path, QC_TEST_DATA "/fixtures/tokenizers/%s", cases[i].name);
        tokenizer_run_begin(&r);
        r.folder.path = path;
        tokenizer_run_import(&r, "bpe", "", cases[i].rows);
        assert_int_equal(r.status, QC_OK);
        expect_text(&r.model, "tokenizer.ggml.model", "gpt2");
        expect_text(&r.model, "tokenizer.ggml.pre", cases[i].pre);
        expect_u32(&r.model, "tokenizer.ggml.bos_token_id", cases[i].bos);
        expect_u32(&r.model, "tokenizer.ggml.eos_token_id", cases[i].eos);
        expect_bool(&r.model, "tokenizer.ggml.add_bos_token", cases[i].add_bos);
        expect_bool(&r.model, "tokenizer.ggml.add_eos_token", 0);
        expect_count(&r.model, "tokenizer.ggml.tokens", cases[i].rows);
        expect_count(&r.model, "tokenizer.ggml.token_type", cases[i].rows);
        expect_count(&r.model, "tokenizer.ggml.merges", cases[i].merges);
        assert_int_equal(memory_model_meta(&r.model, "tokenizer.chat_template") != NULL, cases[i].has_template);
        tokenizer_run_end(&r);
    }
}

static void test_tokens_and_padding(void **state)
{
    (void)state;
    tokenizer_run r;
    begin(&r, PLAIN, NULL, NULL);
    tokenizer_run_import(&r, "bpe", "", 9);
    assert_int_equal(r.status, QC_OK);
    expect_text_at(&r.model, "tokenizer.ggml.tokens", 3, "ab");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 3, 1);
    expect_text_at(&r.model, "tokenizer.ggml.tokens", 5, "<|end|>");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 5, 3);
    expect_text_at(&r.model, "tokenizer.ggml.tokens", 6, "<call>");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 6, 4);
    expect_text_at(&r.model, "tokenizer.ggml.tokens", 8, "[PAD8]");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 8, 5);
    expect_text_at(&r.model, "tokenizer.ggml.merges", 1, "\u0120 ab");
    expect_absent(&r.model, "tokenizer.ggml.scores");
    expect_absent(&r.model, "tokenizer.ggml.bos_token_id");
    tokenizer_run_end(&r);
}

/* An added token that the embedding has no row for is left out; one that only tokenizer_config.json knows counts. */
static void test_added_tokens(void **state)
{
    (void)state;
    tokenizer_run r;
    begin(&r, PLAIN, "{\"added_tokens_decoder\": {\"6\": {\"content\": \"<call>\", \"special\": true}}}", NULL);
    tokenizer_run_import(&r, "bpe", "", 7);
    assert_int_equal(r.status, QC_OK);
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 6, 3);
    tokenizer_run_end(&r);

    begin(&r, PLAIN, NULL, NULL);
    tokenizer_run_import(&r, "bpe", "", 6);
    assert_int_equal(r.status, QC_OK);
    expect_count(&r.model, "tokenizer.ggml.tokens", 6);
    tokenizer_run_end(&r);
}

static void test_merges_with_spaces(void **state)
{
    (void)state;
    tokenizer_run r;
    import(&r,
           TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"a\": 0, \" \": 1, \" a\": 2}, \"merges\": [[\" \", \"a\"]]"),
           NULL, NULL);
    expect_text_at(&r.model, "tokenizer.ggml.merges", 0, "\u0120 a");
    tokenizer_run_end(&r);
}

#define SPLIT(regex) \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"Isolated\", \"invert\": false}"
#define BYTES "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}"
#define SEQUENCE(list) "{\"type\": \"Sequence\", \"pretokenizers\": [" list "]}"
#define ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LL3(digits) \
    ENDINGS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*" TAIL
#define UPPER "[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define LOWER "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define O200(ends, digits)                                                                                      \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "*" LOWER "+" ends "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "+" LOWER \
    "*" ends "|" digits "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*" TAIL

/* Pre-tokenizers as they stand in the files of well-known models. */
static const struct {
    const char *pre_tokenizer, *name;
    int ignore_merges;
} known[] = {
    {BYTE_LEVEL, "gpt-2", 0},
    {SEQUENCE(SPLIT(LL3("\\\\p{N}{1,3}")) ", " BYTES), "llama-bpe", 1},
    {SEQUENCE(SPLIT(LL3("\\\\p{N}{1,3}")) ", " BYTES), "dbrx", 0},
    {SEQUENCE(SPLIT(LL3("\\\\p{N}")) ", " BYTES), "qwen2", 0},
    {SEQUENCE(SPLIT(ENDINGS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}| "
                            "?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*" TAIL) ", " BYTES),
     "qwen35", 0},
    {SEQUENCE(SPLIT(O200("", "\\\\p{N}")) ", " BYTES), "tekken", 0},
    {SEQUENCE(SPLIT(O200(ENDINGS "?", "\\\\p{N}{1,3}")) ", " BYTES), "gpt-4o", 0},
    {SEQUENCE("{\"type\": \"Digits\", \"individual_digits\": true}, " BYTE_LEVEL), "smollm", 0},
    {SEQUENCE(SPLIT("\\\\p{N}{1,3}") ", " SPLIT("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+") ", " SPLIT(
         "[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?"
         "[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+") ", " BYTES),
     "deepseek-v3", 0},
    {SEQUENCE(SPLIT("[\\r\\n]") ", " SPLIT("\\\\s?\\\\p{L}+") ", " SPLIT("\\\\s?\\\\p{P}+") ", " SPLIT(
         "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+") ", {\"type\": \"Digits\", \"individual_digits\": true}, " BYTES),
     "deepseek-coder", 0},
    {SEQUENCE("{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}, " BYTE_LEVEL
              ", {\"type\": \"Digits\", \"individual_digits\": false}, " SPLIT("[0-9][0-9][0-9]")),
     "falcon", 0},
};

static void test_pretokenizers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char text[8192];
        tokenizer_run r;
        snprintf(text, sizeof text,
                 "{\"pre_tokenizer\": %s, \"model\": {\"type\": \"BPE\", \"ignore_merges\": %s, " VOCABULARY ", " MERGES
                 "}}",
                 known[i].pre_tokenizer, known[i].ignore_merges ? "true" : "false");
        import(&r, text, NULL, NULL);
        expect_text(&r.model, "tokenizer.ggml.pre", known[i].name);
        tokenizer_run_end(&r);
    }
}

/* How text is normalized hangs on `pre`; only what departs from that is written down. */
static void test_normalizers(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *normalizer, *expected;
    } cases[] = {
        {"qwen2", "{\"type\": \"NFC\"}", NULL},
        {"qwen2", "null", "none"},
        {"gpt-2", "null", NULL},
        {"gpt-2", "{\"type\": \"NFC\"}", "nfc"},
        {"gpt-2", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}", "nfc"},
        {"gpt-2", "{\"type\": \"Sequence\", \"normalizers\": []}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        tokenizer_run r;
        snprintf(text, sizeof text,
                 "{\"normalizer\": %s, \"pre_tokenizer\": " BYTE_LEVEL ", \"model\": {\"type\": \"BPE\", " VOCABULARY
                 ", " MERGES "}}",
                 cases[i].normalizer);
        begin(&r, text, NULL, NULL);
        tokenizer_run_import(&r, "bpe", cases[i].pre, 7);
        assert_int_equal(r.status, QC_OK);
        if (cases[i].expected)
            expect_text(&r.model, "tokenizer.qcore.normalizer", cases[i].expected);
        else
            expect_absent(&r.model, "tokenizer.qcore.normalizer");
        tokenizer_run_end(&r);
    }
}

static void test_unknown_pretokenizer(void **state)
{
    (void)state;
    tokenizer_run r;
    const char *text = TOKENIZER(SEQUENCE(SPLIT("[xyz]+") ", " BYTES), "null", VOCABULARY ", " MERGES);
    begin(&r, text, NULL, NULL);
    tokenizer_run_import(&r, "bpe", "", 7);
    tokenizer_run_expect_refusal(&r, QC_E_INVALID, "Split [xyz]+");
    tokenizer_run_end(&r);

    begin(&r, text, NULL, NULL);
    tokenizer_run_import(&r, "bpe", "command-r", 7);
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "tokenizer.ggml.pre", "command-r");
    tokenizer_run_end(&r);
}

#define TEMPLATE(single) "{\"type\": \"TemplateProcessing\", \"single\": [" single "]}"
#define FIRST "{\"SpecialToken\": {\"id\": \"<|end|>\", \"type_id\": 0}}, "
#define TEXT "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define LAST ", {\"SpecialToken\": {\"id\": \"<call>\", \"type_id\": 0}}"

static void test_framing(void **state)
{
    (void)state;
    tokenizer_run r;
    import(&r,
           TOKENIZER(BYTE_LEVEL,
                     "{\"type\": \"Sequence\", \"processors\": [" BYTE_LEVEL ", " TEMPLATE(FIRST TEXT LAST) "]}",
                     VOCABULARY ", " MERGES),
           "{\"eos_token\": \"<|end|>\", \"add_bos_token\": false}", NULL);
    expect_u32(&r.model, "tokenizer.ggml.bos_token_id", 5);
    expect_u32(&r.model, "tokenizer.ggml.eos_token_id", 6);
    expect_u32(&r.model, "tokenizer.ggml.eot_token_id", 5);
    expect_bool(&r.model, "tokenizer.ggml.add_bos_token", 1);
    expect_bool(&r.model, "tokenizer.ggml.add_eos_token", 1);
    tokenizer_run_end(&r);

    import(&r, TOKENIZER(BYTE_LEVEL, TEMPLATE(TEXT), VOCABULARY ", " MERGES),
           "{\"bos_token\": {\"content\": \"<|end|>\"}, \"add_bos_token\": true}", NULL);
    expect_u32(&r.model, "tokenizer.ggml.bos_token_id", 5);
    expect_bool(&r.model, "tokenizer.ggml.add_bos_token", 1);
    expect_bool(&r.model, "tokenizer.ggml.add_eos_token", 0);
    tokenizer_run_end(&r);
}

static void test_special_ids(void **state)
{
    (void)state;
    tokenizer_run r;
    import(&r, PLAIN, "{\"eos_token\": \"<|end|>\", \"unk_token\": null, \"add_bos_token\": true}",
           "{\"eos_token_id\": 1, \"pad_token_id\": [4, 5], \"text_config\": {\"unk_token_id\": 2}, \"mask_token_id\": "
           "99}");
    expect_u32(&r.model, "tokenizer.ggml.eos_token_id", 5);
    expect_u32(&r.model, "tokenizer.ggml.padding_token_id", 4);
    expect_u32(&r.model, "tokenizer.ggml.unknown_token_id", 2);
    expect_absent(&r.model, "tokenizer.ggml.mask_token_id");
    expect_u32(&r.model, "tokenizer.ggml.bos_token_id", 5); /* the end of text, where there is no beginning */
    expect_bool(&r.model, "tokenizer.ggml.add_bos_token", 0);
    tokenizer_run_end(&r);
}

static void test_chat_templates(void **state)
{
    (void)state;
    tokenizer_run r;
    import(&r, PLAIN, "{\"model_max_length\": 1000000000000000019884624838656, \"chat_template\": \"{{ x }}\"}", NULL);
    expect_text(&r.model, "tokenizer.chat_template", "{{ x }}");
    tokenizer_run_end(&r);

    import(&r, PLAIN,
           "{\"chat_template\": [{\"name\": \"default\", \"template\": \"A\"}, {\"name\": \"tool use\", \"template\": "
           "\"B\"}]}",
           NULL);
    expect_text(&r.model, "tokenizer.chat_template", "A");
    expect_text(&r.model, "tokenizer.chat_template.tool_use", "B");
    expect_text_at(&r.model, "tokenizer.chat_templates", 0, "tool_use");
    tokenizer_run_end(&r);

    begin(&r, PLAIN, "{}", NULL);
    tokenizer_run_add(&r, "chat_template.json", "{\"chat_template\": \"C\"}");
    tokenizer_run_import(&r, "bpe", "", 7);
    expect_text(&r.model, "tokenizer.chat_template", "C");
    tokenizer_run_end(&r);

    begin(&r, PLAIN, NULL, NULL);
    tokenizer_run_add(&r, "chat_template.jinja", "D\n");
    tokenizer_run_add(&r, "chat_template.json", "{\"chat_template\": \"C\"}");
    tokenizer_run_import(&r, "bpe", "", 7);
    expect_text(&r.model, "tokenizer.chat_template", "D\n");
    tokenizer_run_end(&r);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *tokenizer;
        qc_status status;
        const char *message;
    } cases[] = {
        {"{\"a\": 1, \"a\": 1}", QC_E_CORRUPT, "duplicate"},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}", QC_E_UNSUPPORTED, "not BPE"},
        {TOKENIZER("null", "null", VOCABULARY ", " MERGES), QC_E_UNSUPPORTED, "not over bytes"},
        {TOKENIZER(BYTE_LEVEL, "null", VOCABULARY ", \"end_of_word_suffix\": \"</w>\", " MERGES), QC_E_UNSUPPORTED,
         "inside of words"},
        {TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []"), QC_E_CORRUPT, "share id 0"},
        {TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"a\": -1}, \"merges\": []"), QC_E_CORRUPT, "\"a\" has no id"},
        {TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"a\": 1.5}, \"merges\": []"), QC_E_CORRUPT, "\"a\" has no id"},
        {TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"a\": 7}, \"merges\": []"), QC_E_INVALID, "only 7 rows"},
        {TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"<call>\": 0}, \"merges\": []"), QC_E_CORRUPT, "occurs twice"},
        {TOKENIZER(BYTE_LEVEL, "null", "\"vocab\": {\"[PAD3]\": 0}, \"merges\": []"), QC_E_CORRUPT, "occurs twice"},
        {TOKENIZER(BYTE_LEVEL, "null", VOCABULARY), QC_E_CORRUPT, "no list of merges"},
        {TOKENIZER(BYTE_LEVEL, "null", VOCABULARY ", \"merges\": [\"ab\"]"), QC_E_CORRUPT, "merge 0 is not a pair"},
        {TOKENIZER(BYTE_LEVEL, "null", VOCABULARY ", \"merges\": [[\"a\"]]"), QC_E_CORRUPT, "merge 0 is not a pair"},
        {TOKENIZER(BYTE_LEVEL, "null", VOCABULARY ", \"merges\": [\"a b\", \"b a\"]"), QC_E_CORRUPT,
         "merge 1 (b and a)"},
        {"{\"added_tokens\": [{\"id\": 1}], \"pre_tokenizer\": " BYTE_LEVEL ", \"model\": {" VOCABULARY ", " MERGES
         "}}",
         QC_E_CORRUPT, "added token 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer_run r;
        begin(&r, cases[i].tokenizer, NULL, NULL);
        tokenizer_run_import(&r, "bpe", "", 7);
        tokenizer_run_expect_refusal(&r, cases[i].status, cases[i].message);
        tokenizer_run_end(&r);
    }
    tokenizer_run r;
    tokenizer_run_begin(&r);
    tokenizer_run_import(&r, "bpe", "", 7);
    tokenizer_run_expect_refusal(&r, QC_E_UNSUPPORTED, "no tokenizer.json");
    tokenizer_run_end(&r);
}

/* Whichever allocation fails, the import says so and leaves nothing behind (the sanitizer looks). */
static void test_out_of_memory(void **state)
{
    (void)state;
    size_t k = 0;
    for (qc_status status = QC_E_NOMEM; status != QC_OK; k++) {
        tokenizer_run r;
        begin(&r, PLAIN, "{\"chat_template\": \"x\"}", "{}");
        r.host.fail_at = k + 1;
        tokenizer_run_import(&r, "bpe", "", 7);
        status = r.status;
        if (status != QC_OK)
            tokenizer_run_expect_refusal(&r, QC_E_NOMEM, "out of memory");
        tokenizer_run_end(&r);
    }
    assert_true(k > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),      cmocka_unit_test(test_tokens_and_padding),
        cmocka_unit_test(test_added_tokens),  cmocka_unit_test(test_merges_with_spaces),
        cmocka_unit_test(test_pretokenizers), cmocka_unit_test(test_unknown_pretokenizer),
        cmocka_unit_test(test_normalizers),   cmocka_unit_test(test_framing),
        cmocka_unit_test(test_special_ids),   cmocka_unit_test(test_chat_templates),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tokenizer_bpe", tests, NULL, NULL);
}
