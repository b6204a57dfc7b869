/* Metrics against numbers worked out by hand, or by the formulas in double. */
#include "metric_run.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const test_setting none[] = {{NULL, 0, NULL}};

static void expect_near(double value, double wanted, double within)
{
    if (!(fabs(value - wanted) <= within))
        fail_msg("%.17g, wanted %.17g", value, wanted);
}

/* ---- metrics of a text ---- */

static void begin_text(metric_run *run, const char *id, int has_reference)
{
    run->view.has_reference = has_reference;
    assert_int_equal(metric_run_begin(run, "text", id, none), QC_OK);
}

static void perplexity_of_even_odds_is_their_number(void **state)
{
    metric_run run = {0};
    const float even[4] = {7, 7, 7, 7};
    const uint32_t next[3] = {0, 1, 3};
    double values[6];
    (void)state;
    begin_text(&run, "perplexity", 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(metric_run_row(&run, even, NULL, 4, next[i], values + 2 * i), QC_OK);
    assert_int_equal(metric_run_rows(&run, values, next, 3), QC_OK);
    expect_near(metric_run_value(&run, "value"), 4.0, 1e-12);
    expect_near(metric_run_error(&run, "value"), 0.0, 1e-12);
    assert_true(metric_run_value(&run, "tokens") == 3.0);
    assert_int_equal(run.n_figures, 2);
    metric_run_end(&run);
}

/* The errors as llama-perplexity has them: from means of squares and products. */
static void perplexity_beside_a_reference(void **state)
{
    enum { N = 5 };
    metric_run run = {0};
    const double values[2 * N] = {1.0, 0.5, 2.0, 2.25, 3.5, 3.0, 0.25, 0.5, 1.5, 1.0};
    const uint32_t next[N] = {0};
    double a = 0, b = 0, aa = 0, bb = 0, ab = 0;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        a += values[2 * i] / N, b += values[2 * i + 1] / N;
        aa += values[2 * i] * values[2 * i] / N, bb += values[2 * i + 1] * values[2 * i + 1] / N;
        ab += values[2 * i] * values[2 * i + 1] / N;
    }
    double s1 = (aa - a * a) / (N - 1), s2 = (bb - b * b) / (N - 1), cov = (ab - a * b) / (N - 1);
    begin_text(&run, "perplexity", 1);
    assert_int_equal(metric_run_rows(&run, values, next, N), QC_OK);
    expect_near(metric_run_value(&run, "value"), exp(a), 1e-12);
    expect_near(metric_run_error(&run, "value"), exp(a) * sqrt(s1), 1e-12);
    expect_near(metric_run_value(&run, "reference"), exp(b), 1e-12);
    expect_near(metric_run_value(&run, "ln_ratio"), a - b, 1e-12);
    expect_near(metric_run_error(&run, "ln_ratio"), sqrt(s1 + s2 - 2 * cov), 1e-12);
    expect_near(metric_run_value(&run, "ratio"), exp(a - b), 1e-12);
    expect_near(metric_run_value(&run, "difference"), exp(a) - exp(b), 1e-12);
    expect_near(metric_run_error(&run, "difference"),
                sqrt(exp(2 * a) * s1 + exp(2 * b) * s2 - 2 * exp(a) * exp(b) * cov), 1e-11);
    metric_run_end(&run);
}

static void divergence_by_hand(void **state)
{
    metric_run run = {0};
    const float p[3] = {logf(0.5f), logf(0.25f), logf(0.25f)}, q[3] = {logf(0.25f), logf(0.5f), logf(0.25f)};
    double values[6];
    const uint32_t next[2] = {0, 2};
    (void)state;
    begin_text(&run, "kld", 1);
    assert_int_equal(metric_run_row(&run, q, p, 3, next[0], values), QC_OK);
    assert_int_equal(metric_run_row(&run, p, p, 3, next[1], values + 3), QC_OK);
    expect_near(values[0], 0.25 * log(2.0), 1e-7);
    assert_true(values[1] == 0.0);
    expect_near(values[2], -0.25, 1e-7);
    assert_true(values[3] == 0.0 && values[4] == 1.0 && values[5] == 0.0); /* the same: exactly 0 */
    assert_int_equal(metric_run_rows(&run, values, next, 2), QC_OK);
    expect_near(metric_run_value(&run, "mean"), 0.125 * log(2.0), 1e-7);
    expect_near(metric_run_value(&run, "same_top"), 0.5, 0);
    expect_near(metric_run_error(&run, "same_top"), 0.5, 0);
    expect_near(metric_run_value(&run, "delta_p_rms"), sqrt(0.0625 / 2), 1e-7);
    metric_run_end(&run);
}

/* Rows longer than one piece, of a length that is no multiple of the lanes. */
static void divergence_of_a_long_row(void **state)
{
    enum { N = 5000 + 13 };
    static float p[N], q[N];
    metric_run run = {0};
    double values[3], sum_p = 0, sum_q = 0, wanted = 0;
    uint32_t x = 1;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(x >> 8) / 1e6f;
        q[i] = p[i] + (float)(x % 1000) / 500.0f;
        sum_p += exp((double)p[i]);
        sum_q += exp((double)q[i]);
    }
    for (size_t i = 0; i < N; i++)
        wanted += exp((double)p[i]) / sum_p * ((double)p[i] - log(sum_p) - (double)q[i] + log(sum_q));
    begin_text(&run, "kld", 1);
    assert_int_equal(metric_run_row(&run, q, p, N, 77, values), QC_OK);
    expect_near(values[0], wanted, 1e-6 * wanted);
    expect_near(values[2], exp((double)q[77]) / sum_q - exp((double)p[77]) / sum_p, 1e-9);
    metric_run_end(&run);
}

/* What a base file cut off is no term of the sum, though its exponentials are not 0. */
static void divergence_to_a_file(void **state)
{
    metric_run run = {.view.reference_floor = -16.0f};
    const float p[4] = {logf(0.75f), logf(0.25f), -16.0f, -16.5f}, q[4] = {1, 2, 3, 4};
    double values[3], norm = log(exp(1.0) + exp(2.0) + exp(3.0) + exp(4.0));
    (void)state;
    begin_text(&run, "kld", 1);
    assert_int_equal(metric_run_row(&run, q, p, 4, 2, values), QC_OK);
    expect_near(values[0], 0.75 * (log(0.75) - 1 + norm) + 0.25 * (log(0.25) - 2 + norm), 1e-6);
    metric_run_end(&run);
}

static void quantiles_lie_between_values(void **state)
{
    enum { N = 6 };
    metric_run run = {0};
    const double kld[N] = {5, 1, 4, 0, 3, 2};
    double values[3 * N] = {0};
    const uint32_t next[N] = {0};
    (void)state;
    for (size_t i = 0; i < N; i++)
        values[3 * i] = kld[i];
    begin_text(&run, "kld", 1);
    assert_int_equal(metric_run_rows(&run, values, next, N), QC_OK);
    expect_near(metric_run_value(&run, "median"), 2.5, 1e-15);
    expect_near(metric_run_value(&run, "p99"), 4.95, 1e-14);
    expect_near(metric_run_value(&run, "p99_9"), 4.995, 1e-14);
    expect_near(metric_run_value(&run, "max"), 5, 0);
    expect_near(metric_run_value(&run, "min"), 0, 0);
    expect_near(metric_run_error(&run, "mean"), sqrt(17.5 / 6 / 5), 1e-14);
    assert_true(metric_run_error(&run, "median") < 0);
    metric_run_end(&run);
}

/* a once, b five times, c seventeen. */
static void rare_tokens_have_buckets_of_their_own(void **state)
{
    metric_run run = {.text = "abbbbbccccccccccccccccc"};
    const uint32_t next[4] = {'a', 'b', 'c', 'b'};
    const double values[8] = {4, 3, 2, 2.5, 1, 1, 3, 2.5};
    (void)state;
    begin_text(&run, "tokens", 1);
    assert_int_equal(metric_run_rows(&run, values, next, 4), QC_OK);
    expect_near(metric_run_value(&run, "seen_1.loss"), 4, 0);
    expect_near(metric_run_value(&run, "seen_1.change"), 1, 0);
    assert_true(metric_run_error(&run, "seen_1.loss") < 0); /* of one token there is none */
    expect_near(metric_run_value(&run, "seen_5_16.loss"), 2.5, 0);
    expect_near(metric_run_error(&run, "seen_5_16.loss"), 0.5, 1e-15);
    expect_near(metric_run_value(&run, "seen_5_16.tokens"), 2, 0);
    expect_near(metric_run_value(&run, "seen_17_64.loss"), 1, 0);
    assert_int_equal(run.n_figures, 9); /* no bucket without tokens */
    metric_run_end(&run);
}

static void the_lowest_of_equal_logits_is_said(void **state)
{
    float logits[40] = {0};
    (void)state;
    assert_int_equal(qc_argmax(logits, 40), 0);
    logits[21] = logits[37] = 3.0f;
    assert_int_equal(qc_argmax(logits, 40), 21);
    logits[39] = 4.0f;
    assert_int_equal(qc_argmax(logits, 40), 39);
    assert_int_equal(qc_argmax(logits, 1), 0);
}

/* ---- metrics that ask ---- */

/* Behind a prompt that ends in "=", says what `texts` have for it, byte by byte; then a space. */
static void say_by_bytes(const metric_run *run, const uint32_t *tokens, size_t n, float *logits)
{
    static const char *const texts[] = {"A= 169", "B= 12345", "C= 7.", "D= 4"};
    char *seen = metric_run_spell(run, tokens, n);
    size_t length = strlen(seen);
    unsigned char said = ' ';
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strncmp(texts[i], seen, length) && texts[i][length])
            said = (unsigned char)texts[i][length];
    memset(logits, 0, run->view.n_vocab * sizeof *logits);
    logits[said] = 9.0f;
    free(seen);
}

static const test_setting file_setting[] = {{"file", 0, "questions.jsonl"}, {"limit", 0, NULL}, {NULL, 0, NULL}};

static double accuracy(metric_run *run)
{
    if (metric_run_begin(run, "answers", "tasks", file_setting) != QC_OK || metric_run_all(run) != QC_OK)
        fail_msg("%s", run->th.message);
    return metric_run_value(run, "accuracy");
}

static void exact_answers_are_spelt_not_tokenized(void **state)
{
    /* The text is read as " 1", "69"; the model says " ", "1", "6", "9": one more token is known to be said a round. */
    metric_run run = {
        .model = say_by_bytes, .pieces = {" 1", "69"}, .file = "{\"prompt\": \"A=\", \"answer\": \" 169\"}\n"};
    (void)state;
    assert_true(accuracy(&run) == 1.0);
    assert_true(run.n_rounds > 1 && run.n_rounds <= 4);
    metric_run_end(&run);
}

static void exact_answers_that_the_model_tokenizes_alike_take_one_round(void **state)
{
    metric_run run = {.model = say_by_bytes, .add_bos = 1, .file = "{\"prompt\": \"A=\", \"answer\": \" 169\"}"};
    (void)state;
    assert_true(accuracy(&run) == 1.0);
    assert_int_equal(run.n_rounds, 1);
    assert_int_equal(run.longest, 1 + 2 + 4);
    metric_run_end(&run);
}

static void exact_answers_must_end(void **state)
{
    static const struct {
        const char *line;
        double right;
    } cases[] = {
        {"{\"prompt\": \"B=\", \"answer\": \" 12345\"}", 1}, {"{\"prompt\": \"B=\", \"answer\": \" 12\"}", 0},
        {"{\"prompt\": \"C=\", \"answer\": \" 7\"}", 1},     {"{\"prompt\": \"D=\", \"answer\": \" 5\"}", 0},
        {"{\"prompt\": \"D=\", \"answer\": \" 4 \"}", 1},    {"{\"prompt\": \"D=\", \"answer\": \"4\"}", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        metric_run run = {.model = say_by_bytes, .file = cases[i].line};
        if (accuracy(&run) != cases[i].right)
            fail_msg("%s", cases[i].line);
        metric_run_end(&run);
    }
}

/* Says "12.", "12th" in one token each. */
static void say_more(const metric_run *run, const uint32_t *tokens, size_t n, float *logits)
{
    memset(logits, 0, run->view.n_vocab * sizeof *logits);
    logits[tokens[0] == 'P' ? 256 : tokens[0] == 'Q' ? 257 : RUN_EOS] = n == 2 ? 9.0f : -9.0f;
}

static void a_token_may_say_more_than_the_answer(void **state)
{
    static const char *const lines[] = {"{\"prompt\": \"P:\", \"answer\": \"12\"}",
                                        "{\"prompt\": \"Q:\", \"answer\": \"12\"}",
                                        "{\"prompt\": \"R:\", \"answer\": \"12\"}"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        metric_run run = {.model = say_more, .pieces = {"12.", "12th"}, .file = lines[i]};
        assert_true(accuracy(&run) == (i == 0));
        metric_run_end(&run);
    }
}

/* Every 'y' is likely, every other byte is not. */
static void like_y(const metric_run *run, const uint32_t *tokens, size_t n, float *logits)
{
    (void)tokens, (void)n;
    memset(logits, 0, run->view.n_vocab * sizeof *logits);
    logits['y'] = 6.0f;
}

static void choices_go_by_likelihood(void **state)
{
    /* One 'n' is likelier than 'y' many times; for a byte it is not. */
    metric_run run = {
        .model = like_y,
        .file = "{\"kind\": \"a\", \"prompt\": \"?\", \"choices\": [\"n\", \"y\"], \"answer\": 1}\n"
                "\n"
                "{\"kind\": \"a\", \"prompt\": \"?\", \"choices\": [\"ny\", \"y\"], \"answer\": 0}\n"
                "{\"kind\": \"b\", \"prompt\": \"?\", \"choices\": [\"n\", \"yyyyyyyyy\"], \"answer\": 1}\n"};
    (void)state;
    expect_near(accuracy(&run), 2.0 / 3, 1e-15);
    expect_near(metric_run_error(&run, "accuracy"), sqrt(2.0 / 9 / 3), 1e-15);
    expect_near(metric_run_value(&run, "a.accuracy"), 0.5, 0);
    expect_near(metric_run_value(&run, "b.accuracy"), 1, 0);
    expect_near(metric_run_value(&run, "b.accuracy_per_byte"), 1, 0);
    expect_near(metric_run_value(&run, "questions"), 3, 0);
    assert_int_equal(run.n_rounds, 1);
    assert_int_equal(run.n_sequences, 6);
    metric_run_end(&run);
}

static void bad_questions_are_named(void **state)
{
    static const char *const cases[][2] = {
        {"", "no question"},
        {"{\"prompt\": \"a\", \"answer\": \"b\"}\n{", "questions.jsonl:2:"},
        {"[1]", "questions.jsonl:1: not a JSON object"},
        {"{\"answer\": \"b\"}", "\"prompt\" is missing"},
        {"{\"prompt\": 3, \"answer\": \"b\"}", "\"prompt\" is missing, or no text"},
        {"{\"prompt\": \"a\"}", "\"answer\" must be a text"},
        {"{\"prompt\": \"a\", \"answer\": \"\"}", "\"answer\" must be a text"},
        {"{\"prompt\": \"a\", \"answer\": 1}", "\"answer\" must be a text"},
        {"{\"prompt\": \"\", \"answer\": \"b\"}", "\"prompt\" is empty"},
        {"{\"prompt\": \"\", \"choices\": [\"a\", \"b\"], \"answer\": 0}", "\"prompt\" is empty"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\"], \"answer\": 0}", "\"choices\" must be"},
        {"{\"prompt\": \"a\", \"choices\": \"b\", \"answer\": 0}", "\"choices\" must be"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\", 1], \"answer\": 0}", "every choice"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\", \"\"], \"answer\": 0}", "every choice"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}", "counted from 0"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": -1}", "counted from 0"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 0.5}", "counted from 0"},
        {"{\"prompt\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": \"b\"}", "counted from 0"},
        {"{\"kind\": 7, \"prompt\": \"a\", \"answer\": \"b\"}", "\"kind\" must be"},
        {"{\"kind\": \"a b\", \"prompt\": \"a\", \"answer\": \"b\"}", "\"kind\" must be"},
        {"{\"prompt\": \"a\", \"prompt\": \"a\", \"answer\": \"b\"}", "questions.jsonl:1:"},
        {"{\"prompt\": \"\xff\", \"answer\": \"b\"}", "questions.jsonl:1:"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        metric_run run = {.model = like_y, .file = cases[i][0]};
        assert_int_equal(metric_run_begin(&run, "answers", "tasks", file_setting), QC_E_INVALID);
        if (!strstr(run.th.message, cases[i][1]))
            fail_msg("'%s' says: %s", cases[i][0], run.th.message);
        metric_run_end(&run);
    }
}

/* ---- needles ---- */

/* Reads the code of the question's name in the text, digit by digit. */
static void look_up(const metric_run *run, const uint32_t *tokens, size_t n, float *logits)
{
    char *seen = metric_run_spell(run, tokens, n), key[32];
    char *question = strstr(seen, "What is ");
    unsigned char said = ' ';
    memset(logits, 0, run->view.n_vocab * sizeof *logits);
    if (question) {
        snprintf(key, sizeof key, "\n%c has ", question[8]);
        char *fact = strstr(seen, key);
        size_t done = strlen(question) - strlen("What is X?");
        if (fact && done > 0 && done < 5)
            said = (unsigned char)fact[6 + done];
        else if (done >= 5)
            said = '.';
    }
    logits[said] = 5.0f;
    free(seen);
}

static void needles_are_found(void **state)
{
    static const test_setting settings[] = {{"lengths", 0, "60, 90"},
                                            {"depths", 0, "0,50,100"},
                                            {"trials", 2, NULL},
                                            {"needle", 0, "{name} has {value}."},
                                            {"question", 0, "What is {name}?"},
                                            {"names", 0, "K, L ,M"},
                                            {"digits", 4, NULL},
                                            {NULL, 0, NULL}};
    metric_run run = {
        .model = look_up,
        .add_bos = 1,
        .text = "One fine day. Two fine days. Three fine days and more. Four fine days and nights. Five!"};
    (void)state;
    if (metric_run_begin(&run, "answers", "retrieval", settings) != QC_OK || metric_run_all(&run) != QC_OK)
        fail_msg("%s", run.th.message);
    assert_true(metric_run_value(&run, "accuracy") == 1.0);
    assert_true(metric_run_value(&run, "length_90") == 1.0 && metric_run_value(&run, "depth_0") == 1.0);
    assert_true(metric_run_value(&run, "questions") == 12.0);
    assert_int_equal(run.longest, 90);
    metric_run_end(&run);
}

static void bad_needles_are_refused(void **state)
{
    static const struct {
        const char *lengths, *depths, *words;
        qc_status status;
    } cases[] = {
        {"", "0", "'lengths' must be", QC_E_INVALID},
        {"12x", "0", "'lengths' must be", QC_E_INVALID},
        {"60,60", "0", "'lengths' must be", QC_E_INVALID},
        {"60", "101", "'depths' must be", QC_E_INVALID},
        {"10", "0", "leaves no room", QC_E_INVALID},
        {"600", "0", "the text has", QC_E_INVALID},
        {"16777215, 16777216", "0,1,2", "100663293 tokens in all", QC_E_LIMIT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_setting settings[] = {{"lengths", 0, cases[i].lengths},
                                         {"depths", 0, cases[i].depths},
                                         {"trials", 1, NULL},
                                         {"needle", 0, "{name} has {value}."},
                                         {"question", 0, "What is it?"},
                                         {"names", 0, "K"},
                                         {"digits", 4, NULL},
                                         {NULL, 0, NULL}};
        metric_run run = {.model = look_up, .text = "A text of forty bytes or so, not longer."};
        assert_int_equal(metric_run_begin(&run, "answers", "retrieval", settings), cases[i].status);
        if (!strstr(run.th.message, cases[i].words))
            fail_msg("'%s' says: %s", cases[i].lengths, run.th.message);
        metric_run_end(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_of_even_odds_is_their_number),
        cmocka_unit_test(perplexity_beside_a_reference),
        cmocka_unit_test(divergence_by_hand),
        cmocka_unit_test(divergence_of_a_long_row),
        cmocka_unit_test(divergence_to_a_file),
        cmocka_unit_test(quantiles_lie_between_values),
        cmocka_unit_test(rare_tokens_have_buckets_of_their_own),
        cmocka_unit_test(the_lowest_of_equal_logits_is_said),
        cmocka_unit_test(exact_answers_are_spelt_not_tokenized),
        cmocka_unit_test(exact_answers_that_the_model_tokenizes_alike_take_one_round),
        cmocka_unit_test(exact_answers_must_end),
        cmocka_unit_test(a_token_may_say_more_than_the_answer),
        cmocka_unit_test(choices_go_by_likelihood),
        cmocka_unit_test(bad_questions_are_named),
        cmocka_unit_test(needles_are_found),
        cmocka_unit_test(bad_needles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
