/* Tokenizers at work on made-up vocabularies: markers, broken bytes, normal forms, ties, and what is refused. */
#include "tokenizer_run.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 1, U = 2, C = 3, D = 4, B = 6 }; /* normal, unknown, control, user-defined, byte */

/* A vocabulary; tokens and merges end with NULL. */
typedef struct made {
    const char *model, *pre;
    const char *const *tokens;
    const int32_t *types; /* NULL: all normal */
    const float *scores;
    const char *const *merges;
} made;

static size_t count(const char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

static void add_texts(memory_model *m, const char *key, const char *const *list)
{
    size_t n = count(list);
    qc_text *texts = calloc(n + 1, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < n; i++)
        texts[i] = (qc_text){list[i], strlen(list[i])};
    const qc_meta meta = {sizeof meta, key, QC_TEXT, 1, n, texts};
    memory_model_add_meta(m, &meta);
    free(texts);
}

static void add_numbers(memory_model *m, const char *key, uint32_t type, size_t n, const void *data)
{
    const qc_meta meta = {sizeof meta, key, type, n > 0, n > 0 ? n : 1, data};
    if (data)
        memory_model_add_meta(m, &meta);
}

static void add_text(memory_model *m, const char *key, const char *value)
{
    const qc_text text = {value, strlen(value)};
    const qc_meta meta = {sizeof meta, key, QC_TEXT, 0, 1, &text};
    memory_model_add_meta(m, &meta);
}

static void add_u32(memory_model *m, const char *key, uint32_t value)
{
    add_numbers(m, key, QC_U32, 0, &value);
}

static void add_bool(memory_model *m, const char *key, uint8_t value)
{
    add_numbers(m, key, QC_BOOL, 0, &value);
}

static void begin(tokenizer_run *r, const made *v)
{
    size_t n = count(v->tokens);
    tokenizer_run_begin(r);
    add_text(&r->model, "tokenizer.ggml.model", v->model);
    if (v->pre)
        add_text(&r->model, "tokenizer.ggml.pre", v->pre);
    add_texts(&r->model, "tokenizer.ggml.tokens", v->tokens);
    add_numbers(&r->model, "tokenizer.ggml.token_type", QC_I32, n, v->types);
    add_numbers(&r->model, "tokenizer.ggml.scores", QC_F32, n, v->scores);
    if (v->merges)
        add_texts(&r->model, "tokenizer.ggml.merges", v->merges);
}

static void open(tokenizer_run *r, const char *id, opened_tokenizer *t)
{
    tokenizer_run_open(r, id, t);
    if (r->status != QC_OK)
        fail_msg("%s", r->host.message);
}

static void end(tokenizer_run *r, opened_tokenizer *t)
{
    opened_tokenizer_end(r, t);
    tokenizer_run_end(r);
}

/* The ids of a text as "1 2 3". */
static void expect(tokenizer_run *r, opened_tokenizer *t, const char *text, size_t n, uint32_t flags,
                   const char *expected)
{
    char got[4096] = "";
    size_t used = 0;
    opened_tokenizer_encode(r, t, text, n, flags);
    assert_int_equal(r->status, QC_OK);
    for (size_t i = 0; i < t->n && used < sizeof got - 16; i++)
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%u", i ? " " : "", t->ids[i]);
    assert_string_equal(got, expected);
}

static void expect_all(tokenizer_run *r, opened_tokenizer *t, const char *text, const char *expected)
{
    expect(r, t, text, strlen(text), 0, expected);
}

static const char *const letters[] = {"a", "b", "c", "ab", "bc", "abc", "\u0120", "\u00c3", "\u0140", NULL};
static const made plain = {"gpt2", "gpt-2", letters, NULL, NULL, (const char *const[]){"b c", "a b", "a bc", NULL}};

static void test_merges(void **state)
{
    (void)state;
    tokenizer_run r;
    opened_tokenizer t;
    begin(&r, &plain);
    open(&r, "bpe", &t);
    expect_all(&r, &t, "", "");
    expect_all(&r, &t, "abc", "5"); /* b c goes first */
    expect_all(&r, &t, "aab abcab", "0 3 6 5 3");
    expect_all(&r, &t, "cba", "2 1 0");
    expect_all(&r, &t, "aqb", "0 1"); /* a byte without a token, and no unknown one */
    expect(&r, &t,
           "a\xc3\xff\xc3"
           "a",
           5, 0, "0 7 7 0"); /* broken bytes are bytes all the same */
    end(&r, &t);
}

/* With one token for every byte nothing is lost. */
static void test_any_bytes(void **state)
{
    (void)state;
    tokenizer_run r;
    opened_tokenizer t;
    char text[2048];
    size_t at = 0;
    tokenizer_run_begin(&r);
    r.folder.path = QC_TEST_DATA "/fixtures/tokenizers/gpt2";
    tokenizer_run_import(&r, "bpe", "", 701);
    open(&r, "bpe", &t);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 167 ^ i >> 5);
    opened_tokenizer_encode(&r, &t, text, sizeof text, 0);
    for (size_t i = 0; i < t.n; i++) {
        size_t n;
        const char *piece = t.desc->piece(t.state, t.ids[i], &n);
        assert_true(n <= sizeof text - at);
        assert_memory_equal(piece, text + at, n);
        at += n;
    }
    assert_int_equal(at, sizeof text);
    end(&r, &t);
}

static void test_markers(void **state)
{
    (void)state;
    static const int32_t types[] = {N, N, N, D, D, C, C, D, N};
    const made v = {
        "gpt2", "gpt-2", (const char *const[]){"a", "b", "\u0120", "<a", "<ab>", "<ab", "<c>", "b> a", "ab", NULL},
        types,  NULL,    (const char *const[]){NULL}};
    tokenizer_run r;
    opened_tokenizer t;
    begin(&r, &v);
    add_u32(&r.model, "tokenizer.ggml.bos_token_id", 6);
    add_u32(&r.model, "tokenizer.ggml.eos_token_id", 5);
    add_bool(&r.model, "tokenizer.ggml.add_bos_token", 1);
    add_bool(&r.model, "tokenizer.ggml.add_eos_token", 1);
    open(&r, "bpe", &t);
    expect_all(&r, &t, "a<ab>b", "0 4 1"); /* the longest */
    expect_all(&r, &t, "<ab> a", "4 2 0"); /* the leftmost */
    expect_all(&r, &t, "<abb<", "3 1 1"); /* <ab is a control token */
    expect(&r, &t, "<abb", 4, QC_ENCODE_SPECIAL, "5 1");
    expect_all(&r, &t, "<c>", "");
    expect(&r, &t, "<c>a", 4, QC_ENCODE_SPECIAL, "6 0");
    expect(&r, &t, "a", 1, QC_ENCODE_ADD, "6 0 5");
    expect(&r, &t, "", 0, QC_ENCODE_ADD, "6 5");
    size_t n;
    assert_memory_equal(t.desc->piece(t.state, 7, &n), "b> a", 4);
    assert_int_equal(n, 4);
    t.desc->piece(t.state, 6, &n);
    assert_int_equal(n, 0); /* control */
    t.desc->piece(t.state, 9, &n);
    assert_int_equal(n, 0); /* there is none */
    assert_memory_equal(t.desc->piece(t.state, 2, &n), " ", 1);
    end(&r, &t);
}

/* e and an acute accent are one character in normal form C, which Qwen 2 asks for and GPT-2 does not. */
static void test_normal_form(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *normalizer, *expected;
    } cases[] = {
        {"qwen2", NULL, "1"},  {"qwen2", "none", "0 2"}, {"gpt-2", NULL, "0 2"},
        {"gpt-2", "nfc", "1"}, {"qwen35", NULL, "1"},    {"command-r", NULL, "1"},
    };
    static const char *const tokens[] = {"e",      "\u00c3\u00a9", "\u00cc\u0123", "\u00c3",
                                         "\u00a9", "\u00cc",       "\u0123",       NULL};
    static const char *const merges[] = {"\u00c3 \u00a9", "\u00cc \u0123", NULL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const made v = {"gpt2", cases[i].pre, tokens, NULL, NULL, merges};
        tokenizer_run r;
        opened_tokenizer t;
        begin(&r, &v);
        if (cases[i].normalizer)
            add_text(&r.model, "tokenizer.qcore.normalizer", cases[i].normalizer);
        open(&r, "bpe", &t);
        expect_all(&r, &t, "e\u0301", cases[i].expected);
        expect_all(&r, &t, "\u00e9", "1");
        end(&r, &t);
    }
}

static void test_whole_pieces(void **state)
{
    (void)state;
    static const char *const tokens[] = {"a", "b", "abb", "\u0120", "\u0120abb", NULL};
    static const struct {
        const char *pre, *expected;
    } cases[] = {{"llama-bpe", "2 4"}, {"dbrx", "0 1 1 3 0 1 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const made v = {"gpt2", cases[i].pre, tokens, NULL, NULL, (const char *const[]){NULL}};
        tokenizer_run r;
        opened_tokenizer t;
        qc_special_tokens special = {.size = sizeof special};
        begin(&r, &v);
        add_u32(&r.model, "tokenizer.ggml.bos_token_id", 0);
        open(&r, "bpe", &t);
        expect_all(&r, &t, "abb abb", cases[i].expected);
        t.desc->special(t.state, &special);
        assert_int_equal(special.add_bos, i == 0); /* it hangs on the name where nothing is said */
        assert_int_equal(special.eos, QC_NO_TOKEN);
        end(&r, &t);
    }
}

static const char *const sp_tokens[] = {"<unk>", "<s>", "</s>",    "<0xC3>", "<0xFF>", "<0x71>",  "\u2581",   "a",
                                        "b",     "ab",  "\u2581a", "aa",     "aaa",    "b\u2581", "\u2581ab", NULL};
static const int32_t sp_types[] = {U, C, C, B, B, B, N, N, N, N, N, N, N, N, N};
static const float sp_scores[] = {0, 0, 0, 0, 0, 0, -9, -9, -9, -1, -2, -3, -3, -4, -5};
static const made sp = {"llama", NULL, sp_tokens, sp_types, sp_scores, NULL};

static void test_scores(void **state)
{
    (void)state;
    tokenizer_run r;
    opened_tokenizer t;
    begin(&r, &sp);
    open(&r, "spm", &t);
    expect_all(&r, &t, "", "");
    expect_all(&r, &t, "ab", "14"); /* ab, then the space and it */
    expect_all(&r, &t, "aab", "10 9"); /* ab is better than aa */
    expect_all(&r, &t, "aaaaa", "10 12 7"); /* equal scores: the leftmost */
    expect_all(&r, &t, "b b", "6 13 8"); /* over the space */
    expect_all(&r, &t, "q", "6 5"); /* by its byte */
    expect_all(&r, &t, "\xff", "6 4");
    expect_all(&r, &t, "\xc3\xa9", "6 0"); /* not all its bytes have tokens */
    expect_all(&r, &t, "\xc3\xa9\xe2\x82\xac!a", "6 0 7"); /* unknown ones in a row are one */
    expect(&r, &t, "a</s>a", 6, QC_ENCODE_ADD | QC_ENCODE_SPECIAL, "1 10 2 10");
    size_t n;
    assert_memory_equal(t.desc->piece(t.state, 14, &n), " ab", 3);
    assert_memory_equal(t.desc->piece(t.state, 4, &n), "\xff", 1);
    assert_int_equal(n, 1);
    end(&r, &t);
}

static void test_without_prefix(void **state)
{
    (void)state;
    tokenizer_run r;
    opened_tokenizer t;
    begin(&r, &sp);
    add_bool(&r.model, "tokenizer.ggml.add_space_prefix", 0);
    add_bool(&r.model, "tokenizer.ggml.add_bos_token", 0);
    open(&r, "spm", &t);
    expect(&r, &t, "ab ab", 5, QC_ENCODE_ADD, "9 14");
    end(&r, &t);
}

/* Two million bytes without a space: quadratic time would be noticed. */
static void test_long_words(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 21 };
    const made *vocabularies[] = {&plain, &sp};
    const char *const ids[] = {"bpe", "spm"};
    char *text = malloc(LENGTH);
    assert_non_null(text);
    for (size_t i = 0; i < LENGTH; i++)
        text[i] = (char)('a' + (i * i >> 3 & 1));
    for (size_t i = 0; i < 2; i++) {
        tokenizer_run r;
        opened_tokenizer t;
        begin(&r, vocabularies[i]);
        open(&r, ids[i], &t);
        opened_tokenizer_encode(&r, &t, text, LENGTH, 0);
        assert_int_equal(r.status, QC_OK);
        assert_true(t.n > LENGTH / 4 && t.n <= LENGTH);
        end(&r, &t);
    }
    free(text);
}

/* No expression backtracks without end, or over more than a stack holds, on long runs of one kind of character. */
static void test_long_runs(void **state)
{
    (void)state;
    enum { REPEATS = 1 << 18, LENGTH = 4 * REPEATS };
    static const char *const names[] = {"gpt-2",  "llama-bpe",   "qwen2",          "qwen35", "smollm", "tekken",
                                        "gpt-4o", "deepseek-v3", "deepseek-coder", "falcon", "bloom",  "default"};
    static const char *const runs[] = {"A", "a", "aA", " ", "\n", " \n", "!", "'", "1", "\u0301", "\u6cb3", " /"};
    char *text = malloc(LENGTH);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const made v = {"gpt2", names[i], letters, NULL, NULL, (const char *const[]){NULL}};
        tokenizer_run r;
        opened_tokenizer t;
        begin(&r, &v);
        open(&r, "bpe", &t);
        for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) {
            size_t n = strlen(runs[k]);
            for (size_t at = 0; at < REPEATS; at++)
                memcpy(text + at * n, runs[k], n);
            opened_tokenizer_encode(&r, &t, text, REPEATS * n, 0);
            if (r.status != QC_OK)
                fail_msg("%s, run %zu: %s", names[i], k, r.host.message);
        }
        end(&r, &t);
    }
    free(text);
}

static void refuse(const made *v, const char *id, qc_status status, const char *part)
{
    tokenizer_run r;
    opened_tokenizer t;
    begin(&r, v);
    tokenizer_run_open(&r, id, &t);
    tokenizer_run_expect_refusal(&r, status, part);
    end(&r, &t);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const ab[] = {"a", "b", NULL}, *const none[] = {NULL}, *const twice[] = {"a", "b", "a", NULL};
    static const int32_t bad_type[] = {1, 7};
    static const float bad_score[] = {0, __builtin_nanf("")};
    static const char *const half[] = {"ab", NULL}, *const unknown[] = {"a b", NULL}, *const spaces[] = {"  ", NULL};
    char long_token[400] = "";
    memset(long_token, 'a', sizeof long_token - 1);
    const char *const long_tokens[] = {long_token, "b", NULL};
    static const float scores[] = {0, 0};
    const struct {
        made made;
        const char *id;
        qc_status status;
        const char *part;
    } cases[] = {
        {{"gpt2", "gpt-2", none, NULL, NULL, none}, "bpe", QC_E_CORRUPT, "0 entries"},
        {{"gpt2", "gpt-2", twice, NULL, NULL, none}, "bpe", QC_E_CORRUPT, "\"a\" occurs twice, as id 0 and as id 2"},
        {{"gpt2", "gpt-2", ab, bad_type, NULL, none}, "bpe", QC_E_CORRUPT, "token 1 has type 7"},
        {{"gpt2", "gpt-2", ab, NULL, NULL, NULL}, "bpe", QC_E_CORRUPT, "no tokenizer.ggml.merges"},
        {{"gpt2", "gpt-2", ab, NULL, NULL, half}, "bpe", QC_E_CORRUPT, "merge 0 (\"ab\") is not two tokens"},
        {{"gpt2", "gpt-2", ab, NULL, NULL, spaces}, "bpe", QC_E_CORRUPT, "is not two tokens"},
        {{"gpt2", "gpt-2", ab, NULL, NULL, unknown}, "bpe", QC_E_CORRUPT, "(\"a b\") has a part that is no token"},
        {{"gpt2", "gpt-3", ab, NULL, NULL, none}, "bpe", QC_E_UNSUPPORTED, "unknown pre-tokenizer 'gpt-3'"},
        {{"gpt2", "gpt-2 phi-2", ab, NULL, NULL, none}, "bpe", QC_E_UNSUPPORTED, "unknown pre-tokenizer"},
        {{"llama", NULL, ab, NULL, NULL, NULL}, "spm", QC_E_CORRUPT, "no tokenizer.ggml.scores"},
        {{"llama", NULL, ab, NULL, bad_score, NULL}, "spm", QC_E_CORRUPT, "score of token 1 is not a number"},
        {{"llama", NULL, long_tokens, NULL, scores, NULL}, "spm", QC_E_LIMIT, "token 0 is 399 bytes long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(&cases[i].made, cases[i].id, cases[i].status, cases[i].part);
}

static void test_bad_numbers(void **state)
{
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.unknown_token_id"};
    static const int32_t few[] = {1, 1};
    tokenizer_run r;
    opened_tokenizer t;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        begin(&r, &plain);
        add_u32(&r.model, keys[i], 9);
        tokenizer_run_open(&r, "bpe", &t);
        tokenizer_run_expect_refusal(&r, QC_E_CORRUPT, "is no id of a token: there are 9 tokens");
        assert_non_null(strstr(r.host.message, keys[i]));
        end(&r, &t);
    }
    begin(&r, &plain);
    add_numbers(&r.model, "tokenizer.ggml.token_type", QC_I32, 2, few);
    tokenizer_run_open(&r, "bpe", &t);
    tokenizer_run_expect_refusal(&r, QC_E_CORRUPT, "token_type has 2 entries for 9 tokens");
    end(&r, &t);
    begin(&r, &plain);
    add_text(&r.model, "tokenizer.qcore.normalizer", "nfkc");
    tokenizer_run_open(&r, "bpe", &t);
    tokenizer_run_expect_refusal(&r, QC_E_UNSUPPORTED, "unknown normalizer 'nfkc'");
    end(&r, &t);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const made *vocabularies[] = {&plain, &sp};
    const char *const ids[] = {"bpe", "spm"};
    for (size_t i = 0; i < 2; i++) {
        int opened = 0;
        for (size_t fail_at = 1; !opened; fail_at++) {
            tokenizer_run r;
            opened_tokenizer t;
            begin(&r, vocabularies[i]);
            r.host.fail_at = fail_at;
            tokenizer_run_open(&r, ids[i], &t);
            opened = r.status == QC_OK;
            assert_true(opened || r.status == QC_E_NOMEM);
            assert_true(fail_at < 100);
            end(&r, &t);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),         cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_markers),        cmocka_unit_test(test_normal_form),
        cmocka_unit_test(test_whole_pieces),   cmocka_unit_test(test_scores),
        cmocka_unit_test(test_without_prefix), cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_long_runs),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bad_numbers),    cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
