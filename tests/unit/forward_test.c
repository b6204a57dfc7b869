/* Running a model block by block: the same bits for any batches, threads, memory and CPU; what watchers see; what is
 * refused, and in which words. The model is a made-up llama of two blocks, as GGUF bytes. */
#include "core/forward.h"
#include "gguf_bytes.h"
#include "opened_model.h"
#include "qcore/number.h"
#include "scratch_folder.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

enum {
    WIDTH = 32,
    INNER = 48,
    HEADS = 4,
    KEYS = 16, /* rows of k and v */
    WORDS = 64,
    BLOCKS = 2,
    CONTEXT = 150,
    SEQUENCES = 6,
    TOKENS = SEQUENCES * CONTEXT
};

/* ---- a model ---- */

typedef struct part {
    const char *name; /* "{}": of each block */
    uint32_t rows, cols; /* rows 0: a vector */
} part;

static const part ends[] = {
    {"token_embd.weight", WORDS, WIDTH}, {"output_norm.weight", 0, WIDTH}, {"output.weight", WORDS, WIDTH}};
static const part of_block[] = {
    {"attn_norm.weight", 0, WIDTH},    {"attn_q.weight", WIDTH, WIDTH},      {"attn_k.weight", KEYS, WIDTH},
    {"attn_v.weight", KEYS, WIDTH},    {"attn_output.weight", WIDTH, WIDTH}, {"ffn_norm.weight", 0, WIDTH},
    {"ffn_gate.weight", INNER, WIDTH}, {"ffn_up.weight", INNER, WIDTH},      {"ffn_down.weight", WIDTH, INNER},
};

enum { MOST_PARTS = 32, EXPERTS = 3 };
#define STACK "blk.1.ffn_up_exps.weight" /* no llama has it */

/* What is wrong with the model; all NULL and 0: nothing. */
typedef struct flaw {
    const char *missing, *huge, *nan, *strange; /* tensors: left out, 3e38 all over, one NaN, of an unknown encoding */
    const char *family;
    uint32_t width; /* that the metadata claims */
} flaw;

typedef struct listed {
    char name[64];
    uint32_t rows, cols, experts;
} listed;

static size_t list_parts(listed *all, const flaw *f)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        all[n] = (listed){"", ends[i].rows, ends[i].cols, 1};
        snprintf(all[n++].name, 64, "%s", ends[i].name);
    }
    for (size_t i = 0; i < BLOCKS * (sizeof of_block / sizeof *of_block); i++) {
        const part *p = &of_block[i % (sizeof of_block / sizeof *of_block)];
        all[n] = (listed){"", p->rows, p->cols, 1};
        snprintf(all[n++].name, 64, "blk.%zu.%s", i / (sizeof of_block / sizeof *of_block), p->name);
    }
    all[n++] = (listed){STACK, INNER, WIDTH, EXPERTS};
    for (size_t i = 0; f->missing && i < n; i++)
        if (!strcmp(all[i].name, f->missing))
            all[i] = all[--n];
    return n;
}

static int is(const char *wanted, const listed *t)
{
    return wanted && !strcmp(wanted, t->name);
}

static uint64_t part_bytes(const listed *t, const flaw *f)
{
    uint64_t n = (uint64_t)t->cols * (t->rows ? t->rows : 1) * t->experts;
    return is(f->strange, t) ? n / 32 * 36 : 4 * n;
}

static void put_values(byte_buffer *b, const listed *t, const flaw *f)
{
    static unsigned char bytes[4 * EXPERTS * INNER * WIDTH]; /* of the largest */
    uint32_t state = 1, rows = (t->rows ? t->rows : 1) * t->experts;
    for (const char *c = t->name; *c; c++)
        state = state * 31u + (unsigned char)*c;
    for (uint32_t i = 0; i < rows * t->cols; i++) {
        state = state * 1664525u + 1013904223u;
        float v = (float)(int32_t)(state >> 8) * 0x1p-23f - 1.0f;
        v = t->rows ? 0.3f * v : 1.0f + 0.1f * v;
        v = is(f->huge, t) ? 3e38f : v;
        v = is(f->nan, t) && i == 3 * t->cols + 5 ? NAN : v;
        qc_store_le32(bytes + 4 * i, qc_float_bits(v));
    }
    put_bytes(b, bytes, 4 * (size_t)rows * t->cols);
}

static void put_listed(byte_buffer *b, const listed *t, uint32_t type, uint64_t at)
{
    put_text(b, t->name);
    put_u32(b, t->experts > 1 ? 3 : t->rows ? 2 : 1);
    put_u64(b, t->cols);
    if (t->rows)
        put_u64(b, t->rows);
    if (t->experts > 1)
        put_u64(b, t->experts);
    put_u32(b, type);
    put_u64(b, at);
}

static void put_model(byte_buffer *b, const flaw *f)
{
    static const struct {
        const char *key;
        uint32_t value;
    } counts[] = {{"block_count", BLOCKS},         {"context_length", 512},        {"feed_forward_length", INNER},
                  {"attention.head_count", HEADS}, {"attention.head_count_kv", 2}, {"vocab_size", WORDS}};
    listed all[MOST_PARTS];
    size_t n = list_parts(all, f);
    uint64_t at = 0;
    char key[64];
    put_head(b, 3, n, 3 + sizeof counts / sizeof *counts);
    put_text(b, "general.architecture");
    put_u32(b, 8);
    put_text(b, f->family ? f->family : "llama");
    put_key(b, "llama.embedding_length", 4, f->width ? f->width : WIDTH, 4);
    put_key(b, "llama.attention.layer_norm_rms_epsilon", 6, 0x3727c5ac, 4);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        snprintf(key, sizeof key, "llama.%s", counts[i].key);
        put_key(b, key, 4, counts[i].value, 4);
    }
    for (size_t i = 0; i < n; i++) {
        put_listed(b, &all[i], is(f->strange, &all[i]) ? 9 /* Q8_1: only ever in memory */ : GGUF_F32, at);
        at += part_bytes(&all[i], f);
    }
    put_padding(b, 32);
    for (size_t i = 0; i < n; i++)
        if (is(f->strange, &all[i]))
            put_zeros(b, (size_t)part_bytes(&all[i], f));
        else
            put_values(b, &all[i], f);
}

/* ---- a run ---- */

typedef struct way {
    uint64_t memory;
    const char *cpu, *folder;
    unsigned threads;
} way;

typedef struct run {
    scratch_folder *scratch;
    pool *pool;
    qc_job *job;
    opened_model opened;
    forward *forward;
    qc_status status;
} run;

static void run_begin(run *r, void **state, const flaw *f, way w)
{
    byte_buffer b = {0};
    memset(r, 0, sizeof *r);
    r->scratch = *state;
    put_model(&b, f);
    scratch_write(r->scratch, "m.gguf", b.data, b.n);
    buffer_end(&b);
    r->pool = pool_new(r->scratch->host, w.threads ? w.threads : 1);
    r->job = pool_job(r->pool);
    if (opened_model_begin(&r->opened, r->job, scratch_path(r->scratch, "m.gguf"), w.cpu) != QC_OK)
        fail_msg("%s", job_message(r->job));
    r->status = forward_open(r->job, r->opened.registry, r->opened.model, w.memory ? w.memory : UINT64_MAX,
                             w.folder ? w.folder : r->scratch->path, &r->forward);
}

static void run_end(run *r)
{
    forward_free(r->forward);
    opened_model_end(&r->opened);
    pool_free(r->pool);
}

static uint32_t tokens[TOKENS];
static size_t starts[SEQUENCES + 1];

/* Of different lengths, one longer than the rest. */
static const sequences *some_sequences(void)
{
    static const sequences s = {tokens, starts, SEQUENCES};
    static const size_t lengths[SEQUENCES] = {150, 1, 620, 40, 60, 29};
    for (size_t i = 0; i < TOKENS; i++)
        tokens[i] = (uint32_t)(i * 37 + i / 5) % WORDS;
    for (size_t i = 0; i < SEQUENCES; i++)
        starts[i + 1] = starts[i] + lengths[i];
    assert_int_equal(starts[SEQUENCES], TOKENS);
    return &s;
}

static void score_all(run *r, const forward_watch *watch, float *logits)
{
    hidden_states *hidden = NULL;
    static size_t rows[TOKENS];
    for (size_t i = 0; i < TOKENS; i++)
        rows[i] = i;
    assert_int_equal(r->status, QC_OK);
    r->status = forward_run(r->forward, r->job, some_sequences(), watch, NULL, &hidden);
    if (r->status == QC_OK)
        r->status = forward_logits(r->forward, r->job, hidden, rows, TOKENS, logits);
    hidden_free(hidden);
}

static float *new_logits(void)
{
    float *logits = calloc(TOKENS * WORDS, sizeof *logits);
    assert_non_null(logits);
    return logits;
}

/* ---- the same bits ---- */

static void one_way(void **state, way w, float *logits)
{
    run r;
    run_begin(&r, state, &(flaw){0}, w);
    score_all(&r, NULL, logits);
    if (r.status != QC_OK)
        fail_msg("%s", job_message(r.job));
    run_end(&r);
    assert_int_equal(scratch_count(*state), 1); /* no file is left behind */
}

/* What is needed for one batch of the longest sequence, and not a byte for hidden states. */
static uint64_t tight_memory(void **state)
{
    run r;
    uint64_t bytes = 0;
    run_begin(&r, state, &(flaw){0}, (way){.memory = 1});
    for (bytes = 1 << 16; r.status == QC_E_LIMIT; bytes += 1 << 12) {
        forward_free(r.forward);
        job_clear(r.job);
        r.status = forward_open(r.job, r.opened.registry, r.opened.model, bytes, NULL, &r.forward);
    }
    assert_int_equal(r.status, QC_OK);
    run_end(&r);
    return bytes + bytes / 4; /* 512 tokens fit; 620 do too now */
}

static void results_depend_on_nothing_but_the_model(void **state)
{
    const uint64_t tight = tight_memory(state);
    const way ways[] = {{.threads = 2},
                        {.threads = 7},
                        {.memory = tight},
                        {.memory = tight, .threads = 7},
                        {.memory = tight + (64 << 10), .threads = 2},
                        {.cpu = "generic"},
                        {.cpu = "x86-v3", .threads = 2},
                        {.cpu = "x86-v3", .memory = tight}};
    float *expected = new_logits(), *logits = new_logits();
    one_way(state, (way){0}, expected);
    assert_true(expected[0] != expected[1] && isfinite(expected[TOKENS * WORDS - 1]));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
#if !defined(__x86_64__)
        if (ways[i].cpu && strcmp(ways[i].cpu, "generic") != 0)
            continue;
#endif
        memset(logits, 0, TOKENS * WORDS * sizeof *logits);
        one_way(state, ways[i], logits);
        assert_memory_equal(logits, expected, TOKENS * WORDS * sizeof *logits);
    }
    free(expected);
    free(logits);
}

/* A sequence does not see the others, nor what comes after a token. */
static void sequences_are_alone(void **state)
{
    run r;
    float *all = new_logits(), few[3 * WORDS];
    hidden_states *hidden;
    run_begin(&r, state, &(flaw){0}, (way){0});
    score_all(&r, NULL, all);
    size_t begin = starts[3], alone[] = {0, 2}, rows[] = {0, 1};
    const sequences one = {tokens + begin, alone, 1};
    assert_int_equal(forward_run(r.forward, r.job, &one, NULL, NULL, &hidden), QC_OK);
    assert_int_equal(forward_logits(r.forward, r.job, hidden, rows, 2, few), QC_OK);
    assert_memory_equal(few, all + begin * WORDS, 2 * WORDS * sizeof *few);
    hidden_free(hidden);
    run_end(&r);
    free(all);
}

static void a_tied_head_is_the_embedding(void **state)
{
    run r;
    const float *embedding, *head;
    size_t rows, cols;
    float *logits = new_logits();
    run_begin(&r, state, &(flaw){.missing = "output.weight"}, (way){0});
    score_all(&r, NULL, logits);
    assert_int_equal(r.status, QC_OK);
    assert_int_equal(forward_vocabulary(r.forward), WORDS);
    assert_int_equal(forward_width(r.forward), WIDTH);
    assert_int_equal(forward_blocks(r.forward), BLOCKS);
    assert_int_equal(forward_weight(r.forward, r.job, "output.weight", 0, &head, &rows, &cols), QC_OK);
    assert_int_equal(forward_weight(r.forward, r.job, "token_embd.weight", -1, &embedding, &rows, &cols), QC_OK);
    assert_ptr_equal(head, embedding);
    assert_int_equal(rows, WORDS);
    assert_int_equal(cols, WIDTH);
    run_end(&r);
    free(logits);
}

/* The stack's rows are those of a made-up matrix of all experts. */
static void experts_are_slices_of_a_stack(void **state)
{
    run r;
    const float *w[EXPERTS], *again;
    size_t rows, cols;
    byte_buffer b = {0};
    run_begin(&r, state, &(flaw){0}, (way){0});
    for (int32_t e = 0; e < EXPERTS; e++) {
        assert_int_equal(forward_weight(r.forward, r.job, STACK, e, &w[e], &rows, &cols), QC_OK);
        assert_int_equal(rows, INNER);
        assert_int_equal(cols, WIDTH);
    }
    put_values(&b, &(listed){STACK, INNER, WIDTH, EXPERTS}, &(flaw){0});
    for (size_t e = 0; e < EXPERTS; e++)
        assert_memory_equal(w[e], b.data + e * INNER * WIDTH * 4, INNER * WIDTH * 4);
    assert_int_equal(forward_weight(r.forward, r.job, STACK, 1, &again, &rows, &cols), QC_OK);
    assert_ptr_equal(again, w[1]);
    assert_int_equal(forward_weight(r.forward, r.job, STACK, EXPERTS, &again, &rows, &cols), QC_E_INVALID);
    buffer_end(&b);
    run_end(&r);
}

/* ---- watching ---- */

typedef struct seen {
    run *run;
    char names[1024]; /* of the first batch */
    size_t tokens[BLOCKS], done, outputs;
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
    run r;
    seen s = {.run = &r};
    float *logits = new_logits();
    const forward_watch watch = {.arg = &s, .linears = see_linears, .block_done = see_block, .output = 1};
    run_begin(&r, state, &(flaw){0}, (way){0});
    score_all(&r, &watch, logits);
    assert_int_equal(r.status, QC_OK);
    assert_int_equal(s.done, BLOCKS);
    assert_int_equal(s.tokens[0], TOKENS);
    assert_int_equal(s.tokens[1], TOKENS);
    assert_int_equal(s.outputs, TOKENS);
    assert_non_null(strstr(s.names, "blk.0.attn_q.weight+blk.0.attn_k.weight+blk.0.attn_v.weight "));
    assert_non_null(strstr(s.names, "blk.1.ffn_gate.weight+blk.1.ffn_up.weight blk.1.ffn_down.weight "));
    run_end(&r);
    free(logits);
}

static qc_status stop(void *arg, qc_job *job, uint32_t block)
{
    (void)arg;
    return block == 1 ? QC_OK : qc_fail(job, QC_E_IO, "enough");
}

static void a_watcher_ends_the_run(void **state)
{
    run r;
    float *logits = new_logits();
    const forward_watch watch = {.block_done = stop};
    run_begin(&r, state, &(flaw){0}, (way){0});
    score_all(&r, &watch, logits);
    assert_int_equal(r.status, QC_E_IO);
    assert_string_equal(job_message(r.job), "enough");
    run_end(&r);
    free(logits);
}

/* ---- what is refused ---- */

static void expect_words(const run *r, qc_status status, const char *words)
{
    if (r->status != status || !strstr(job_message(r->job), words))
        fail_msg("status %d, '%s' lacks '%s'", (int)r->status, job_message(r->job), words);
}

static void expect_flaw(void **state, flaw f, way w, qc_status status, const char *words)
{
    run r;
    float *logits = new_logits();
    run_begin(&r, state, &f, w);
    if (r.status == QC_OK)
        score_all(&r, NULL, logits);
    expect_words(&r, status, words);
    assert_int_equal(scratch_count(*state), 1);
    run_end(&r);
    free(logits);
}

static void flaws_are_named(void **state)
{
    expect_flaw(state, (flaw){.missing = "blk.1.ffn_up.weight"}, (way){0}, QC_E_CORRUPT, "blk.1.ffn_up.weight");
    expect_flaw(state, (flaw){.missing = "blk.1.attn_norm.weight"}, (way){0}, QC_E_CORRUPT, "blk.1.attn_norm.weight");
    expect_flaw(state, (flaw){.missing = "token_embd.weight"}, (way){0}, QC_E_CORRUPT, "token_embd.weight");
    expect_flaw(state, (flaw){.nan = "blk.1.ffn_down.weight"}, (way){.threads = 2}, QC_E_NUMERIC,
                "blk.1.ffn_down.weight: row 3, column 5 is NaN");
    expect_flaw(state, (flaw){.nan = "token_embd.weight"}, (way){0}, QC_E_NUMERIC,
                "token_embd.weight: row 3, column 5 is NaN");
    expect_flaw(state, (flaw){.strange = "blk.1.attn_output.weight"}, (way){0}, QC_E_UNSUPPORTED,
                "blk.1.attn_output.weight: no plugin decodes q8_1");
    expect_flaw(state, (flaw){.width = 64}, (way){0}, QC_E_CORRUPT, "embedding_length");
    expect_flaw(state, (flaw){.family = "mamba"}, (way){0}, QC_E_UNSUPPORTED,
                "no plugin runs models of the family mamba");
}

static void overflow_names_block_tensor_and_token(void **state)
{
    expect_flaw(state, (flaw){.huge = "blk.1.ffn_down.weight"}, (way){.threads = 2}, QC_E_NUMERIC,
                "blk.1.ffn_down.weight: its product with sequence 0, token 0 (block 1) has NaN or Inf");
    expect_flaw(state, (flaw){.huge = "output.weight"}, (way){.threads = 2}, QC_E_NUMERIC,
                "output.weight: its product with token 0 of the text has NaN or Inf");
}

static void tokens_beyond_the_vocabulary_are_refused(void **state)
{
    run r;
    hidden_states *hidden;
    uint32_t ids[] = {1, 2, 3, WORDS, 4};
    size_t from[] = {0, 2, 5}, none[] = {0, 0};
    const sequences wrong = {ids, from, 2}, empty = {ids, none, 1}, nothing = {ids, none, 0};
    run_begin(&r, state, &(flaw){0}, (way){0});
    r.status = forward_run(r.forward, r.job, &wrong, NULL, NULL, &hidden);
    expect_words(&r, QC_E_INVALID, "sequence 1, token 1: id 64 is beyond the model's 64 tokens");
    assert_null(hidden);
    job_clear(r.job);
    r.status = forward_run(r.forward, r.job, &empty, NULL, NULL, &hidden);
    expect_words(&r, QC_E_INVALID, "sequence 0 has no tokens");
    job_clear(r.job);
    r.status = forward_run(r.forward, r.job, &nothing, NULL, NULL, &hidden);
    expect_words(&r, QC_E_INVALID, "no tokens");
    run_end(&r);
}

static void too_little_memory_is_said_with_the_number_needed(void **state)
{
    run r;
    hidden_states *hidden;
    static uint32_t ids[4096];
    size_t from[] = {0, 4096};
    const sequences s = {ids, from, 1};
    uint64_t tight = tight_memory(state);
    expect_flaw(state, (flaw){0}, (way){.memory = 4096}, QC_E_LIMIT, "KiB of memory to be run");
    run_begin(&r, state, &(flaw){0}, (way){.memory = tight});
    r.status = forward_run(r.forward, r.job, &s, NULL, NULL, &hidden);
    expect_words(&r, QC_E_LIMIT, "a sequence of 4096 tokens needs");
    run_end(&r);
}

static void trouble_with_the_temporary_file_is_one_line(void **state)
{
    uint64_t tight = tight_memory(state);
    struct rlimit before, little;
    expect_flaw(state, (flaw){0}, (way){.memory = tight, .folder = "/nowhere/at/all"}, QC_E_IO,
                "temporary file in /nowhere/at/all: cannot be made: No such file or directory");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){.rlim_cur = 64 << 10, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    run r;
    float *logits = new_logits();
    run_begin(&r, state, &(flaw){0}, (way){.memory = tight});
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    r.status = r.status == QC_OK ? QC_OK : QC_E_INTERNAL;
    score_all(&r, NULL, logits);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    expect_words(&r, QC_E_IO, "no room for 1 MiB of hidden states: File too large");
    run_end(&r);
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
