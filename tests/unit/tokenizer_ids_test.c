/* Ids are those of Hugging Face's own code: the awkward strings of tests/fixtures, and texts with special tokens. */
#include "tokenizer_run.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FIXTURES QC_TEST_DATA "/fixtures/"

static const struct family {
    const char *name, *folder, *tokenizer;
    uint32_t rows;
} families[] = {
    {"gpt2", FIXTURES "tokenizers/gpt2", "bpe", 701},   {"llama3", FIXTURES "tokenizers/llama3", "bpe", 814},
    {"qwen2", FIXTURES "tokenizers/qwen2", "bpe", 896}, {"smollm", FIXTURES "tokenizers/smollm", "bpe", 655},
    {"spm", FIXTURES "tokenizers/spm", "spm", 900},     {"tale", QC_TEST_DATA "/models/tale", "bpe", 1536},
};

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

static void begin(tokenizer_run *r, opened_tokenizer *t, const struct family *f)
{
    tokenizer_run_begin(r);
    r->folder.path = f->folder;
    tokenizer_run_import(r, f->tokenizer, "", f->rows);
    if (r->status == QC_OK)
        tokenizer_run_open(r, f->tokenizer, t);
    if (r->status != QC_OK)
        fail_msg("%s: %s", f->name, r->host.message);
}

static void end(tokenizer_run *r, opened_tokenizer *t)
{
    opened_tokenizer_end(r, t);
    tokenizer_run_end(r);
}

static void expect_ids(const opened_tokenizer *t, const json_t *expected, const char *family, const char *text)
{
    int same = t->n == json_array_size(expected);
    for (size_t i = 0; same && i < t->n; i++)
        same = t->ids[i] == (uint32_t)json_integer_value(json_array_get(expected, i));
    if (same)
        return;
    char *wanted = json_dumps(expected, JSON_COMPACT);
    print_error("%s: \"%s\": expected %s, got", family, text, wanted);
    for (size_t i = 0; i < t->n; i++)
        print_error(" %u", t->ids[i]);
    print_error("\n");
    free(wanted);
    fail();
}

/* What the tokens stand for is the text again, the space that SentencePiece puts in front aside. */
static void expect_round_trip(const opened_tokenizer *t, const char *text, size_t length, int has_prefix)
{
    size_t at = 0;
    for (size_t i = 0; i < t->n; i++) {
        size_t n;
        const char *piece = t->desc->piece(t->state, t->ids[i], &n);
        size_t skip = i == 0 && has_prefix ? 1 : 0;
        assert_true(n >= skip && n - skip <= length - at);
        assert_memory_equal(piece + skip, text + at, n - skip);
        at += n - skip;
    }
    assert_int_equal(at, length);
}

static void check_plain(tokenizer_run *r, opened_tokenizer *t, const struct family *f, const json_t *ids)
{
    json_t *texts = load(FIXTURES "awkward.json");
    assert_int_equal(json_array_size(texts), json_array_size(ids));
    assert_true(json_array_size(texts) > 300);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        const char *value = json_string_value(text);
        size_t length = json_string_length(text);
        opened_tokenizer_encode(r, t, value, length, 0);
        assert_int_equal(r->status, QC_OK);
        expect_ids(t, json_array_get(ids, i), f->name, value);
        int is_spm = !strcmp(f->tokenizer, "spm");
        if (!is_spm || !strstr(value, "\xe2\x96\x81")) /* which SentencePiece cannot tell from a space */
            expect_round_trip(t, value, length, is_spm);
    }
    json_decref(texts);
}

static void check_parsed(tokenizer_run *r, opened_tokenizer *t, const struct family *f, const json_t *cases)
{
    assert_true(json_array_size(cases) > 3);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *text = json_array_get(json_array_get(cases, i), 0);
        opened_tokenizer_encode(r, t, json_string_value(text), json_string_length(text),
                                QC_ENCODE_ADD | QC_ENCODE_SPECIAL);
        assert_int_equal(r->status, QC_OK);
        expect_ids(t, json_array_get(json_array_get(cases, i), 1), f->name, json_string_value(text));
    }
}

static void test_expected_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        tokenizer_run r;
        opened_tokenizer t;
        char path[512];
        snprintf(path, sizeof path, FIXTURES "expected_ids/%s.json", families[i].name);
        json_t *expected = load(path);
        begin(&r, &t, &families[i]);
        check_plain(&r, &t, &families[i], json_object_get(expected, "plain"));
        check_parsed(&r, &t, &families[i], json_object_get(expected, "parsed"));
        end(&r, &t);
        json_decref(expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expected_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
