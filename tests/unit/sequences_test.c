/* Texts read into ids and cut into windows, as llama.cpp's perplexity does, with the tokenizers of two models: the trained
 * one's adds a beginning of text, the small one's adds nothing. */
#include "core/tokens.h"
#include "opened_model.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define TALE QC_TEST_DATA "/models/tale"
#define SMALL QC_TEST_DATA "/fixtures/small_models/llama"

typedef struct fixture {
    scratch_folder *scratch;
    qc_job *job;
    opened_model opened;
    tokenizer *tokenizer;
    qc_special_tokens special;
    token_list ids;
} fixture;

static void fixture_begin(fixture *f, void **state, const char *path)
{
    memset(f, 0, sizeof *f);
    f->scratch = *state;
    f->job = f->scratch->job;
    f->special.size = sizeof f->special;
    qc_status status = opened_model_begin(&f->opened, f->job, path, NULL);
    if (status == QC_OK)
        status = tokenizer_open(f->job, f->opened.registry, f->opened.model, &f->tokenizer);
    if (status != QC_OK)
        fail_msg("%s", job_message(f->job));
    tokenizer_special(f->tokenizer, &f->special);
}

static void fixture_end(fixture *f)
{
    token_list_free(&f->ids);
    tokenizer_free(f->tokenizer);
    opened_model_end(&f->opened);
}

static const char *write_text(fixture *f, const char *name, const char *text)
{
    scratch_write(f->scratch, name, text, strlen(text));
    return scratch_path(f->scratch, name);
}

static qc_status read_one(fixture *f, const char *path, size_t most)
{
    f->ids.n = 0;
    return tokenizer_read(f->tokenizer, f->job, &path, 1, most, &f->ids);
}

static void expect_ids(const fixture *f, const token_list *expected, size_t n)
{
    assert_int_equal(f->ids.n, n);
    assert_memory_equal(f->ids.ids, expected->ids, n * sizeof *expected->ids);
}

/* Of the last newlines, one goes; the beginning is marked where the tokenizer does so. */
static void a_text_loses_one_newline(void **state)
{
    static const char text[] = "It was late.\n\n";
    fixture f;
    token_list expected = {0};
    fixture_begin(&f, state, TALE);
    assert_int_equal(tokenizer_encode(f.tokenizer, f.job, text, strlen(text) - 1, QC_ENCODE_ADD, &expected), QC_OK);
    assert_true(f.special.add_bos && expected.ids[0] == f.special.bos);
    assert_int_equal(read_one(&f, write_text(&f, "a.txt", text), 0), QC_OK);
    expect_ids(&f, &expected, expected.n);
    assert_int_equal(read_one(&f, scratch_path(f.scratch, "a.txt"), 3), QC_OK);
    expect_ids(&f, &expected, 3);
    token_list_free(&expected);
    fixture_end(&f);
}

static void texts_follow_each_other(void **state)
{
    char a[160], b[160];
    fixture f;
    fixture_begin(&f, state, SMALL);
    snprintf(a, sizeof a, "%s", write_text(&f, "a.txt", "one two three"));
    snprintf(b, sizeof b, "%s", write_text(&f, "b.txt", "four"));
    const char *const both[] = {a, b};
    assert_int_equal(read_one(&f, a, 0), QC_OK);
    size_t n = f.ids.n;
    assert_int_equal(tokenizer_encode(f.tokenizer, f.job, "four", 4, QC_ENCODE_ADD, &f.ids), QC_OK);
    token_list expected = f.ids;
    f.ids = (token_list){0};
    assert_int_equal(tokenizer_read(f.tokenizer, f.job, both, 2, 0, &f.ids), QC_OK);
    expect_ids(&f, &expected, expected.n);
    f.ids.n = 0;
    assert_int_equal(tokenizer_read(f.tokenizer, f.job, both, 2, n, &f.ids), QC_OK);
    expect_ids(&f, &expected, n);
    for (size_t most = 1; most < expected.n; most++) {
        f.ids.n = 0;
        assert_int_equal(tokenizer_read(f.tokenizer, f.job, both, 2, most, &f.ids), QC_OK);
        expect_ids(&f, &expected, most);
    }
    token_list_free(&expected);
    fixture_end(&f);
}

static void expect_refusal(fixture *f, qc_status got, qc_status status, const char *words)
{
    if (got != status || !strstr(job_message(f->job), words))
        fail_msg("status %d, '%s' lacks '%s'", (int)got, job_message(f->job), words);
    job_clear(f->job);
}

static void bad_texts_are_named(void **state)
{
    fixture f;
    fixture_begin(&f, state, SMALL);
    expect_refusal(&f, read_one(&f, write_text(&f, "e.txt", ""), 0), QC_E_INVALID, "e.txt: the text is empty");
    expect_refusal(&f, read_one(&f, write_text(&f, "n.txt", "\n"), 0), QC_E_INVALID, "n.txt: the text is empty");
    expect_refusal(&f, read_one(&f, scratch_path(f.scratch, "none"), 0), QC_E_IO, "none: No such file or directory");
    expect_refusal(&f, read_one(&f, f.scratch->path, 0), QC_E_IO, ": Is a directory");
    fixture_end(&f);
}

/* Longer than what is read at once. */
static void long_texts_are_read_whole(void **state)
{
    enum { WORDS = 40000 };
    static char text[5 * WORDS + 1];
    fixture f;
    fixture_begin(&f, state, TALE);
    for (size_t i = 0; i < WORDS; i++)
        memcpy(text + 5 * i, "tale ", 5);
    assert_int_equal(read_one(&f, write_text(&f, "l.txt", text), 0), QC_OK);
    size_t length = 0;
    for (size_t i = 0; i < f.ids.n; i++) {
        size_t n;
        tokenizer_piece(f.tokenizer, f.ids.ids[i], &n);
        length += n;
    }
    assert_int_equal(length, 5 * WORDS);
    token_list all = f.ids;
    f.ids = (token_list){0};
    assert_int_equal(read_one(&f, scratch_path(f.scratch, "l.txt"), 3000), QC_OK);
    expect_ids(&f, &all, 3000);
    assert_true(f.ids.capacity < all.n / 4); /* what is not wanted was not made */
    token_list_free(&all);
    fixture_end(&f);
}

/* ---- windows ---- */

static void count_up(fixture *f, size_t n)
{
    f->ids.ids = malloc(n * sizeof *f->ids.ids);
    assert_non_null(f->ids.ids);
    f->ids.n = f->ids.capacity = n;
    for (size_t i = 0; i < n; i++)
        f->ids.ids[i] = (uint32_t)i;
}

static void windows_side_by_side(void **state)
{
    fixture f;
    sequences s;
    fixture_begin(&f, state, SMALL);
    assert_false(f.special.add_bos);
    count_up(&f, 23);
    assert_int_equal(sequences_cut(f.tokenizer, f.job, &f.ids, 5, 0, &s), QC_OK);
    assert_int_equal(s.n, 4);
    for (size_t i = 0; i <= s.n; i++)
        assert_int_equal(s.starts[i], 5 * i);
    assert_memory_equal(s.tokens, f.ids.ids, 20 * sizeof *s.tokens);
    sequences_free(&s);
    fixture_end(&f);
}

static void windows_that_overlap(void **state)
{
    fixture f;
    sequences s;
    fixture_begin(&f, state, SMALL);
    count_up(&f, 23);
    assert_int_equal(sequences_cut(f.tokenizer, f.job, &f.ids, 5, 3, &s), QC_OK);
    assert_int_equal(s.n, 7);
    assert_int_equal(s.starts[7], 35);
    for (size_t i = 0; i < 35; i++)
        assert_int_equal(s.tokens[i], i / 5 * 3 + i % 5);
    sequences_free(&s);
    fixture_end(&f);
}

static void the_beginning_of_text_takes_the_first_place(void **state)
{
    fixture f;
    sequences s;
    fixture_begin(&f, state, TALE);
    count_up(&f, 10);
    assert_int_equal(sequences_cut(f.tokenizer, f.job, &f.ids, 5, 0, &s), QC_OK);
    const uint32_t expected[] = {f.special.bos, 1, 2, 3, 4, f.special.bos, 6, 7, 8, 9};
    assert_int_equal(s.n, 2);
    assert_memory_equal(s.tokens, expected, sizeof expected);
    sequences_free(&s);
    fixture_end(&f);
}

static void too_few_tokens_are_counted(void **state)
{
    fixture f;
    sequences s;
    fixture_begin(&f, state, SMALL);
    count_up(&f, 23);
    expect_refusal(&f, sequences_cut(f.tokenizer, f.job, &f.ids, 24, 0, &s), QC_E_INVALID,
                   "the text has 23 tokens, one window needs 24");
    assert_null(s.tokens);
    expect_refusal(&f, sequences_cut(f.tokenizer, f.job, &f.ids, 0, 0, &s), QC_E_INVALID, "at least one token");
    fixture_end(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_text_loses_one_newline),
        TEST(texts_follow_each_other),
        TEST(bad_texts_are_named),
        TEST(long_texts_are_read_whole),
        TEST(windows_side_by_side),
        TEST(windows_that_overlap),
        TEST(the_beginning_of_text_takes_the_first_place),
        TEST(too_few_tokens_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
