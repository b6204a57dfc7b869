/* SentencePiece: tokenizer.model, or a tokenizer.json in its style, into GGUF metadata. */
#include "tokenizer_run.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A protocol buffer under construction. */
typedef struct buffer {
    unsigned char bytes[4096];
    size_t length;
} buffer;

static void put_byte(buffer *b, unsigned value)
{
    assert_true(b->length < sizeof b->bytes);
    b->bytes[b->length++] = (unsigned char)value;
}

static void put_varint(buffer *b, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        put_byte(b, (unsigned)(value & 127) | 128);
    put_byte(b, (unsigned)value);
}

static void put_number(buffer *b, unsigned field, uint64_t value)
{
    put_varint(b, field << 3);
    put_varint(b, value);
}

static void put_float(buffer *b, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(b, field << 3 | 5);
    for (int i = 0; i < 4; i++)
        put_byte(b, bits >> 8 * i & 255);
}

static void put_bytes(buffer *b, unsigned field, const void *data, size_t length)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, length);
    for (size_t i = 0; i < length; i++)
        put_byte(b, ((const unsigned char *)data)[i]);
}

static void put_piece(buffer *b, const char *text, float score, unsigned type)
{
    buffer piece = {{0}, 0};
    put_bytes(&piece, 1, text, strlen(text));
    put_float(&piece, 2, score);
    if (type != 1) /* the default is not written */
        put_number(&piece, 3, type);
    put_bytes(b, 1, piece.bytes, piece.length);
}

/* Six pieces; trainer and normalizer as given. */
static buffer make_model(const buffer *trainer, const buffer *normalizer)
{
    buffer b = {{0}, 0};
    put_piece(&b, "<unk>", 0, 2);
    put_piece(&b, "<s>", 0, 3);
    put_piece(&b, "</s>", 0, 3);
    put_piece(&b, "<0x0A>", 0, 6);
    put_piece(&b, "\u2581", -1.5f, 1);
    put_piece(&b, "\u2581a", -0.5f, 4);
    if (trainer)
        put_bytes(&b, 2, trainer->bytes, trainer->length);
    if (normalizer)
        put_bytes(&b, 3, normalizer->bytes, normalizer->length);
    return b;
}

static buffer make_trainer(unsigned model_type)
{
    buffer b = {{0}, 0};
    put_bytes(&b, 1, "input.txt", 9);
    put_number(&b, 3, model_type);
    put_float(&b, 10, 0.9995f);
    put_number(&b, 43, (uint64_t)-1); /* pad_id -1, as protocol buffers write a negative number */
    return b;
}

static void begin(tokenizer_run *r, const buffer *model)
{
    tokenizer_run_begin(r);
    memory_folder_add(&r->folder, "tokenizer.model", model->bytes, model->length);
}

static void test_model(void **state)
{
    (void)state;
    const buffer trainer = make_trainer(2), model = make_model(&trainer, NULL);
    tokenizer_run r;
    begin(&r, &model);
    tokenizer_run_import(&r, "spm", "", 8);
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "tokenizer.ggml.model", "llama");
    expect_text(&r.model, "tokenizer.ggml.pre", "default");
    static const struct {
        const char *text;
        int32_t type;
        float score;
    } tokens[] = {{"<unk>", 2, 0},      {"<s>", 3, 0},         {"</s>", 3, 0},        {"<0x0A>", 6, 0},
                  {"\u2581", 1, -1.5f}, {"\u2581a", 1, -0.5f}, {"[PAD6]", 5, -10000}, {"[PAD7]", 5, -10000}};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        expect_text_at(&r.model, "tokenizer.ggml.tokens", i, tokens[i].text);
        expect_i32_at(&r.model, "tokenizer.ggml.token_type", i, tokens[i].type);
        expect_f32_at(&r.model, "tokenizer.ggml.scores", i, tokens[i].score);
    }
    expect_u32(&r.model, "tokenizer.ggml.unknown_token_id", 0);
    expect_u32(&r.model, "tokenizer.ggml.bos_token_id", 1);
    expect_u32(&r.model, "tokenizer.ggml.eos_token_id", 2);
    expect_absent(&r.model, "tokenizer.ggml.padding_token_id");
    expect_bool(&r.model, "tokenizer.ggml.add_bos_token", 1);
    expect_bool(&r.model, "tokenizer.ggml.add_eos_token", 0);
    expect_bool(&r.model, "tokenizer.ggml.add_space_prefix", 1);
    expect_absent(&r.model, "tokenizer.ggml.remove_extra_whitespaces");
    tokenizer_run_end(&r);
}

static void test_added_tokens(void **state)
{
    (void)state;
    const buffer trainer = make_trainer(2), model = make_model(&trainer, NULL);
    tokenizer_run r;
    begin(&r, &model);
    tokenizer_run_add(&r, "added_tokens.json", "{\"\u2581\u2581x\": 6, \"<go>\": 7}");
    tokenizer_run_add(&r, "tokenizer_config.json",
                      "{\"add_prefix_space\": false, \"add_eos_token\": true, \"pad_token\": \"<go>\","
                      "\"added_tokens_decoder\": {\"0\": {\"content\": \"<unk>\", \"special\": true},"
                      "\"7\": {\"content\": \"<go>\", \"special\": true}, \"5\": {\"content\": \"<new>\"}}}");
    tokenizer_run_import(&r, "spm", "", 8);
    assert_int_equal(r.status, QC_OK);
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 0, 2);
    expect_text_at(&r.model, "tokenizer.ggml.tokens", 5, "<new>");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 5, 4);
    expect_text_at(&r.model, "tokenizer.ggml.tokens", 6, "  x");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 6, 4);
    expect_f32_at(&r.model, "tokenizer.ggml.scores", 6, -1000);
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 7, 3);
    expect_u32(&r.model, "tokenizer.ggml.padding_token_id", 7);
    expect_bool(&r.model, "tokenizer.ggml.add_space_prefix", 0);
    expect_bool(&r.model, "tokenizer.ggml.add_eos_token", 1);
    tokenizer_run_end(&r);
}

static void test_unigram(void **state)
{
    (void)state;
    buffer normalizer = {{0}, 0};
    put_bytes(&normalizer, 1, "nmt_nfkc", 8);
    put_bytes(&normalizer, 2, "\x01\xff\x00z", 4);
    put_number(&normalizer, 3, 0);
    put_number(&normalizer, 4, 0);
    const buffer trainer = make_trainer(1), model = make_model(&trainer, &normalizer);
    tokenizer_run r;
    begin(&r, &model);
    tokenizer_run_import(&r, "spm", "", 6);
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "tokenizer.ggml.model", "t5");
    expect_bool(&r.model, "tokenizer.ggml.add_space_prefix", 0);
    expect_bool(&r.model, "tokenizer.ggml.remove_extra_whitespaces", 0);
    expect_count(&r.model, "tokenizer.ggml.precompiled_charsmap", 4);
    const qc_meta *map = memory_model_meta(&r.model, "tokenizer.ggml.precompiled_charsmap");
    assert_memory_equal(map->data, "\x01\xff\x00z", 4);
    tokenizer_run_end(&r);
}

/* More pieces than the embedding has rows: the last ones are left out. */
static void test_fewer_rows(void **state)
{
    (void)state;
    const buffer trainer = make_trainer(2), model = make_model(&trainer, NULL);
    tokenizer_run r;
    begin(&r, &model);
    tokenizer_run_import(&r, "spm", "", 5);
    assert_int_equal(r.status, QC_OK);
    expect_count(&r.model, "tokenizer.ggml.tokens", 5);
    tokenizer_run_end(&r);
}

#define STYLE(normalizer, model)                                                                                    \
    "{\"added_tokens\": [{\"id\": 1, \"content\": \"<s>\", \"special\": true}], \"normalizer\": " normalizer        \
    ", \"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"unk_token\": \"<unk>\", \"vocab\": {\"<unk>\": 0," \
    "\"<s>\": 1, \"<0x41>\": 2, \"\u2581\": 3, \"a\": 4, \"aa\": 5, \"\u2581aa\": 6}, " model "}}"
#define PREPEND "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"\u2581\"}]}"

static void test_list_of_merges(void **state)
{
    (void)state;
    tokenizer_run r;
    tokenizer_run_begin(&r);
    tokenizer_run_add(&r, "tokenizer.json",
                      STYLE(PREPEND, "\"merges\": [\"a a\", [\"\u2581\", \"aa\"], \"\u2581 aa\"]"));
    tokenizer_run_import(&r, "spm", "", 7);
    assert_int_equal(r.status, QC_OK);
    expect_text(&r.model, "tokenizer.ggml.model", "llama");
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 0, 2);
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 1, 3);
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 2, 6);
    expect_f32_at(&r.model, "tokenizer.ggml.scores", 5, 0);
    expect_f32_at(&r.model, "tokenizer.ggml.scores", 6, -1);
    expect_f32_at(&r.model, "tokenizer.ggml.scores", 4, -4);
    expect_bool(&r.model, "tokenizer.ggml.add_space_prefix", 1);
    expect_absent(&r.model, "tokenizer.ggml.merges");
    tokenizer_run_end(&r);

    tokenizer_run_begin(&r);
    tokenizer_run_add(&r, "tokenizer.json", STYLE("null", "\"merges\": []"));
    tokenizer_run_import(&r, "spm", "", 7);
    assert_int_equal(r.status, QC_OK);
    expect_bool(&r.model, "tokenizer.ggml.add_space_prefix", 0);
    tokenizer_run_end(&r);
}

/* The fixture's model and its tokenizer.json say the same, but for the scores' scale. */
static void test_fixture(void **state)
{
    (void)state;
    tokenizer_run r;
    tokenizer_run_begin(&r);
    r.folder.path = QC_TEST_DATA "/fixtures/tokenizers/spm";
    tokenizer_run_import(&r, "spm", "", 900);
    assert_int_equal(r.status, QC_OK);
    expect_count(&r.model, "tokenizer.ggml.tokens", 900);
    expect_u32(&r.model, "tokenizer.ggml.bos_token_id", 1);
    expect_bool(&r.model, "tokenizer.ggml.add_bos_token", 1);
    expect_i32_at(&r.model, "tokenizer.ggml.token_type", 3, 6);
    tokenizer_run_end(&r);
}

/* Files of the name tokenizer.model that hold something else, and nothing at all, are left to other tokenizers. */
static void test_other_kinds(void **state)
{
    (void)state;
    tokenizer_run r;
    tokenizer_run_begin(&r);
    tokenizer_run_add(&r, "tokenizer.model", "IQ== 0\nIg== 1\n");
    tokenizer_run_add(&r, "tokenizer.json", "{\"model\": {\"type\": \"BPE\", \"byte_fallback\": false}}");
    tokenizer_run_import(&r, "spm", "", 7);
    tokenizer_run_expect_refusal(&r, QC_E_UNSUPPORTED, "SentencePiece");
    tokenizer_run_end(&r);

    const buffer words = make_trainer(3), model = make_model(&words, NULL);
    begin(&r, &model);
    tokenizer_run_import(&r, "spm", "", 7);
    tokenizer_run_expect_refusal(&r, QC_E_UNSUPPORTED, "words or characters");
    tokenizer_run_end(&r);
}

static void test_damaged_models(void **state)
{
    (void)state;
    const buffer trainer = make_trainer(2), model = make_model(&trainer, NULL);
    tokenizer_run r;
    size_t refused = 0;
    for (size_t n = 1; n < model.length; n++) { /* a cut between two fields leaves a whole, shorter model */
        buffer cut = model;
        cut.length = n;
        begin(&r, &cut);
        tokenizer_run_import(&r, "spm", "", 8);
        refused += r.status == QC_E_CORRUPT;
        tokenizer_run_end(&r);
    }
    assert_true(refused > model.length - 12);

    buffer twice = {{0}, 0};
    put_piece(&twice, "x", 0, 1);
    put_piece(&twice, "x", 0, 1);
    put_bytes(&twice, 2, trainer.bytes, trainer.length);
    begin(&r, &twice);
    tokenizer_run_import(&r, "spm", "", 8);
    tokenizer_run_expect_refusal(&r, QC_E_CORRUPT, "occurs twice");
    tokenizer_run_end(&r);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const buffer trainer = make_trainer(2), model = make_model(&trainer, NULL);
    size_t k = 0;
    for (qc_status status = QC_E_NOMEM; status != QC_OK; k++) {
        tokenizer_run r;
        begin(&r, &model);
        tokenizer_run_add(&r, "added_tokens.json", "{\"<go>\": 7}");
        r.host.fail_at = k + 1;
        tokenizer_run_import(&r, "spm", "", 8);
        status = r.status;
        if (status != QC_OK)
            tokenizer_run_expect_refusal(&r, QC_E_NOMEM, "out of memory");
        tokenizer_run_end(&r);
    }
    assert_true(k > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),       cmocka_unit_test(test_added_tokens),   cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_fewer_rows),  cmocka_unit_test(test_list_of_merges), cmocka_unit_test(test_fixture),
        cmocka_unit_test(test_other_kinds), cmocka_unit_test(test_damaged_models), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tokenizer_spm", tests, NULL, NULL);
}
