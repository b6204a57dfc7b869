/* Running a model block by block: the same bits for any batches, threads, memory and CPU; what watchers see; what is
 * refused, and in which words. The model is a made-up llama of two blocks, as GGUF bytes. */
#include "made_run.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { TOKENS = MADE_TOKENS };

static void score_all(made_run *r, const forward_watch *watch, float *logits)
{
    hidden_states *hidden = NULL;
    static size_t rows[TOKENS];
    for (size_t i = 0; i < TOKENS; i++)
        rows[i] = i;
    assert_int_equal(r->status, QC_OK);
    r->status = forward_run(r->forward, r->job, made_sequences(), watch, NULL, &hidden);
    if (r->status == QC_OK)
        r->status = forward_logits(r->forward, r->job, hidden, rows, TOKENS, logits);
    hidden_free(hidden);
}

static float *new_logits(void)
{
    float *logits = calloc(TOKENS * MADE_WORDS, sizeof *logits);
    assert_non_null(logits);
    return logits;
}

/* ---- the same bits ---- */

static void one_way(void **state, made_way w, float *logits)
{
    made_run r;
    made_run_begin(&r, state, &(made_flaw){0}, w);
    score_all(&r, NULL, logits);
    if (r.status != QC_OK)
        fail_msg("%s", job_message(r.job));
    made_run_end(&r);
    assert_int_equal(scratch_count(*state), 1); /* no file is left behind */
}

/* What is needed for one batch of the longest sequence, and not a byte for hidden states. */
static uint64_t tight_memory(void **state)
{
    made_run r;
    uint64_t bytes = 0;
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){.memory = 1});
    for (bytes = 1 << 16; r.status == QC_E_LIMIT; bytes += 1 << 12) {
        forward_free(r.forward);
        job_clear(r.job);
        r.status = forward_open(r.job, r.opened.registry, r.opened.model, bytes, NULL, &r.forward);
    }
    assert_int_equal(r.status, QC_OK);
    made_run_end(&r);
    return bytes + bytes / 4; /* 512 tokens fit; 620 do too now */
}

static void results_depend_on_nothing_but_the_model(void **state)
{
    const uint64_t tight = tight_memory(state);
    const made_way ways[] = {{.threads = 2},
                             {.threads = 7},
                             {.memory = tight},
                             {.memory = tight, .threads = 7},
                             {.memory = tight + (64 << 10), .threads = 2},
                             {.cpu = "generic"},
                             {.cpu = "x86-v3", .threads = 2},
                             {.cpu = "x86-v3", .memory = tight}};
    float *expected = new_logits(), *logits = new_logits();
    one_way(state, (made_way){0}, expected);
    assert_true(expected[0] != expected[1] && isfinite(expected[TOKENS * MADE_WORDS - 1]));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
#if !defined(__x86_64__)
        if (ways[i].cpu && strcmp(ways[i].cpu, "generic") != 0)
            continue;
#endif
        memset(logits, 0, TOKENS * MADE_WORDS * sizeof *logits);
        one_way(state, ways[i], logits);
        assert_memory_equal(logits, expected, TOKENS * MADE_WORDS * sizeof *logits);
    }
    free(expected);
    free(logits);
}

/* A sequence does not see the others, nor what comes after a token. */
static void sequences_are_alone(void **state)
{
    made_run r;
    float *all = new_logits(), few[3 * MADE_WORDS];
    hidden_states *hidden;
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    score_all(&r, NULL, all);
    const sequences *some = made_sequences();
    size_t begin = some->starts[3], alone[] = {0, 2}, rows[] = {0, 1};
    const sequences one = {some->tokens + begin, alone, 1};
    assert_int_equal(forward_run(r.forward, r.job, &one, NULL, NULL, &hidden), QC_OK);
    assert_int_equal(forward_logits(r.forward, r.job, hidden, rows, 2, few), QC_OK);
    assert_memory_equal(few, all + begin * MADE_WORDS, 2 * MADE_WORDS * sizeof *few);
    hidden_free(hidden);
    made_run_end(&r);
    free(all);
}

static void a_tied_head_is_the_embedding(void **state)
{
    made_run r;
    const float *embedding, *head;
    size_t rows, cols;
    float *logits = new_logits();
    made_run_begin(&r, state, &(made_flaw){.missing = "output.weight"}, (made_way){0});
    score_all(&r, NULL, logits);
    assert_int_equal(r.status, QC_OK);
    assert_int_equal(forward_vocabulary(r.forward), MADE_WORDS);
    assert_int_equal(forward_width(r.forward), MADE_WIDTH);
    assert_int_equal(forward_blocks(r.forward), MADE_BLOCKS);
    assert_int_equal(forward_weight(r.forward, r.job, "output.weight", 0, &head, &rows, &cols), QC_OK);
    assert_int_equal(forward_weight(r.forward, r.job, "token_embd.weight", -1, &embedding, &rows, &cols), QC_OK);
    assert_ptr_equal(head, embedding);
    assert_int_equal(rows, MADE_WORDS);
    assert_int_equal(cols, MADE_WIDTH);
    made_run_end(&r);
    free(logits);
}

/* The stack's rows are those of a made-up matrix of all experts. */
static void experts_are_slices_of_a_stack(void **state)
{
    made_run r;
    const float *w[MADE_EXPERTS], *again;
    size_t rows, cols;
    byte_buffer b = {0};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    for (int32_t e = 0; e < MADE_EXPERTS; e++) {
        assert_int_equal(forward_weight(r.forward, r.job, MADE_STACK, e, &w[e], &rows, &cols), QC_OK);
        assert_int_equal(rows, MADE_INNER);
        assert_int_equal(cols, MADE_WIDTH);
    }
    made_llama_stack(&b);
    for (size_t e = 0; e < MADE_EXPERTS; e++)
        assert_memory_equal(w[e], b.data + e * MADE_INNER * MADE_WIDTH * 4, MADE_INNER * MADE_WIDTH * 4);
    assert_int_equal(forward_weight(r.forward, r.job, MADE_STACK, 1, &again, &rows, &cols), QC_OK);
    assert_ptr_equal(again, w[1]);
    assert_int_equal(forward_weight(r.forward, r.job, MADE_STACK, MADE_EXPERTS, &again, &rows, &cols), QC_E_INVALID);
    buffer_end(&b);
    made_run_end(&r);
}

/* ---- watching ---- */

typedef struct seen {
    made_run *run;
    char names[1024]; /* of the first batch */
    size_t tokens[MADE_BLOCKS], done, outputs;
} seen;

static qc_status see_linears(void *arg, qc_job *job, size_t n, const model_tensor *const *weights, int32_t expert,
                             const float *x, size_t n_tokens, const float *const *y)
{
    seen *s = arg;
    (void)job;
    assert_int_equal(expert, -1);
    if (!y) {
        assert_string_equal(weights[0]->name, "output.weight");
        s->outputs += n_tokens;
        return QC_OK;
    }
    if (strstr(weights[0]->name, "attn_q"))
        s->tokens[weights[0]->layer] += n_tokens;
    for (size_t i = 0; i < n; i++) {
        const float *w;
        size_t rows, cols;
        assert_int_equal(forward_weight(s->run->forward, s->run->job, weights[i]->name, -1, &w, &rows, &cols), QC_OK);
        float sum = 0;
        for (size_t k = 0; k < cols; k++)
            sum = fmaf(x[(n_tokens - 1) * cols + k], w[(rows - 1) * cols + k], sum);
        assert_true(y[i][n_tokens * rows - 1] == sum);
        size_t used = strlen(s->names);
        snprintf(s->names + used, sizeof s->names - used, "%s%s", weights[i]->name, i + 1 < n ? "+" : " ");
    }
    return QC_OK;
}

static qc_status see_block(void *arg, qc_job *job, uint32_t block)
{
    seen *s = arg;
    (void)job;
    assert_int_equal(block, s->done++);
    return QC_OK;
}

static void watchers_see_inputs_and_products(void **state)
{
    made_run r;
    seen s = {.run = &r};
    float *logits = new_logits();
    const forward_watch watch = {.arg = &s, .linears = see_linears, .block_done = see_block, .output = 1};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    score_all(&r, &watch, logits);
    assert_int_equal(r.status, QC_OK);
    assert_int_equal(s.done, MADE_BLOCKS);
    assert_int_equal(s.tokens[0], TOKENS);
    assert_int_equal(s.tokens[1], TOKENS);
    assert_int_equal(s.outputs, TOKENS);
    assert_non_null(strstr(s.names, "blk.0.attn_q.weight+blk.0.attn_k.weight+blk.0.attn_v.weight "));
    assert_non_null(strstr(s.names, "blk.1.ffn_gate.weight+blk.1.ffn_up.weight blk.1.ffn_down.weight "));
    made_run_end(&r);
    free(logits);
}

static qc_status stop(void *arg, qc_job *job, uint32_t block)
{
    (void)arg;
    return block == 1 ? QC_OK : qc_fail(job, QC_E_IO, "enough");
}

static void a_watcher_ends_the_run(void **state)
{
    made_run r;
    float *logits = new_logits();
    const forward_watch watch = {.block_done = stop};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    score_all(&r, &watch, logits);
    assert_int_equal(r.status, QC_E_IO);
    assert_string_equal(job_message(r.job), "enough");
    made_run_end(&r);
    free(logits);
}

/* ---- what is refused ---- */

static void expect_words(const made_run *r, qc_status status, const char *words)
{
    if (r->status != status || !strstr(job_message(r->job), words))
        fail_msg("status %d, '%s' lacks '%s'", (int)r->status, job_message(r->job), words);
}

static void expect_flaw(void **state, made_flaw f, made_way w, qc_status status, const char *words)
{
    made_run r;
    float *logits = new_logits();
    made_run_begin(&r, state, &f, w);
    if (r.status == QC_OK)
        score_all(&r, NULL, logits);
    expect_words(&r, status, words);
    assert_int_equal(scratch_count(*state), 1);
    made_run_end(&r);
    free(logits);
}

static void flaws_are_named(void **state)
{
    expect_flaw(state, (made_flaw){.missing = "blk.1.ffn_up.weight"}, (made_way){0}, QC_E_CORRUPT,
                "blk.1.ffn_up.weight");
    expect_flaw(state, (made_flaw){.missing = "blk.1.attn_norm.weight"}, (made_way){0}, QC_E_CORRUPT,
                "blk.1.attn_norm.weight");
    expect_flaw(state, (made_flaw){.missing = "token_embd.weight"}, (made_way){0}, QC_E_CORRUPT, "token_embd.weight");
    expect_flaw(state, (made_flaw){.nan = "blk.1.ffn_down.weight"}, (made_way){.threads = 2}, QC_E_NUMERIC,
                "blk.1.ffn_down.weight: row 3, column 5 is NaN");
    expect_flaw(state, (made_flaw){.nan = "token_embd.weight"}, (made_way){0}, QC_E_NUMERIC,
                "token_embd.weight: row 3, column 5 is NaN");
    expect_flaw(state, (made_flaw){.strange = "blk.1.attn_output.weight"}, (made_way){0}, QC_E_UNSUPPORTED,
                "blk.1.attn_output.weight: no plugin decodes q8_1");
    expect_flaw(state, (made_flaw){.width = 64}, (made_way){0}, QC_E_CORRUPT, "embedding_length");
    expect_flaw(state, (made_flaw){.family = "mamba"}, (made_way){0}, QC_E_UNSUPPORTED,
                "no plugin runs models of the family mamba");
}

static void overflow_names_block_tensor_and_token(void **state)
{
    expect_flaw(state, (made_flaw){.huge = "blk.1.ffn_down.weight"}, (made_way){.threads = 2}, QC_E_NUMERIC,
                "blk.1.ffn_down.weight: its product with sequence 0, token 0 (block 1) has NaN or Inf");
    expect_flaw(state, (made_flaw){.huge = "output.weight"}, (made_way){.threads = 2}, QC_E_NUMERIC,
                "output.weight: its product with token 0 of the text has NaN or Inf");
}

static void tokens_beyond_the_vocabulary_are_refused(void **state)
{
    made_run r;
    hidden_states *hidden;
    uint32_t ids[] = {1, 2, 3, MADE_WORDS, 4};
    size_t from[] = {0, 2, 5}, none[] = {0, 0};
    const sequences wrong = {ids, from, 2}, empty = {ids, none, 1}, nothing = {ids, none, 0};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    r.status = forward_run(r.forward, r.job, &wrong, NULL, NULL, &hidden);
    expect_words(&r, QC_E_INVALID, "sequence 1, token 1: id 64 is beyond the model's 64 tokens");
    assert_null(hidden);
    job_clear(r.job);
    r.status = forward_run(r.forward, r.job, &empty, NULL, NULL, &hidden);
    expect_words(&r, QC_E_INVALID, "sequence 0 has no tokens");
    job_clear(r.job);
    r.status = forward_run(r.forward, r.job, &nothing, NULL, NULL, &hidden);
    expect_words(&r, QC_E_INVALID, "no tokens");
    made_run_end(&r);
}

static void too_little_memory_is_said_with_the_number_needed(void **state)
{
    made_run r;
    hidden_states *hidden;
    static uint32_t ids[4096];
    size_t from[] = {0, 4096};
    const sequences s = {ids, from, 1};
    uint64_t tight = tight_memory(state);
    expect_flaw(state, (made_flaw){0}, (made_way){.memory = 4096}, QC_E_LIMIT, "KiB of memory to be run");
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){.memory = tight});
    r.status = forward_run(r.forward, r.job, &s, NULL, NULL, &hidden);
    expect_words(&r, QC_E_LIMIT, "a sequence of 4096 tokens needs");
    made_run_end(&r);
}

static void trouble_with_the_temporary_file_is_one_line(void **state)
{
    uint64_t tight = tight_memory(state);
    struct rlimit before, little;
    expect_flaw(state, (made_flaw){0}, (made_way){.memory = tight, .folder = "/nowhere/at/all"}, QC_E_IO,
                "temporary file in /nowhere/at/all: cannot be made: No such file or directory");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){.rlim_cur = 64 << 10, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    made_run r;
    float *logits = new_logits();
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){.memory = tight});
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    r.status = r.status == QC_OK ? QC_OK : QC_E_INTERNAL;
    score_all(&r, NULL, logits);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    expect_words(&r, QC_E_IO, "no room for 1 MiB of hidden states: File too large");
    made_run_end(&r);
    free(logits);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(results_depend_on_nothing_but_the_model),
        TEST(sequences_are_alone),
        TEST(a_tied_head_is_the_embedding),
        TEST(experts_are_slices_of_a_stack),
        TEST(watchers_see_inputs_and_products),
        TEST(a_watcher_ends_the_run),
        TEST(flaws_are_named),
        TEST(overflow_names_block_tensor_and_token),
        TEST(tokens_beyond_the_vocabulary_are_refused),
        TEST(too_little_memory_is_said_with_the_number_needed),
        TEST(trouble_with_the_temporary_file_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
