/* Running a model step by step: a block may be run again, or in part, and with other weights than the file's; what comes
 * out in the end is what one run gives of a file with those weights. */
#include "core/hidden.h"
#include "made_run.h"
#include "qcore/number.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VALUES = MADE_TOKENS * MADE_WIDTH };

static const char *const changed[] = {"blk.0.ffn_norm.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight",
                                      "output_norm.weight"};
enum { CHANGED = sizeof changed / sizeof *changed };

static void need(const made_run *r, qc_status status)
{
    if (status != QC_OK)
        fail_msg("%s", job_message(r->job));
}

static float *new_values(void)
{
    float *x = calloc(VALUES, sizeof *x);
    assert_non_null(x);
    return x;
}

/* What comes after the final norm, in one run. */
static void run_at_once(made_run *r, float *out)
{
    hidden_states *hidden = NULL;
    need(r, r->status);
    need(r, forward_run(r->forward, r->job, made_sequences(), NULL, NULL, &hidden));
    need(r, hidden_read(hidden, r->job, 0, MADE_TOKENS, out));
    hidden_free(hidden);
}

/* ---- watching ---- */

typedef struct seen {
    const char *last; /* part of a name: enough when a weight of it was seen */
    size_t calls, tokens; /* tokens of calls with `last` */
    float *output; /* [VALUES] */
    size_t n_output;
    int expects_products;
} seen;

static qc_status see(void *arg, qc_job *job, size_t n, const model_tensor *const *weights, int32_t expert,
                     const float *x, size_t n_tokens, const float *const *y)
{
    seen *s = arg;
    (void)job;
    assert_int_equal(expert, -1);
    if (!strcmp(weights[0]->name, "output.weight")) {
        memcpy(s->output + s->n_output, x, n_tokens * MADE_WIDTH * sizeof *x);
        s->n_output += n_tokens * MADE_WIDTH;
        return QC_OK;
    }
    assert_true(s->expects_products == (y != NULL));
    s->calls++;
    if (!s->last || !strstr(weights[n - 1]->name, s->last))
        return QC_OK;
    s->tokens += n_tokens;
    return FORWARD_ENOUGH;
}

static void finish(made_run *r, forward_steps *steps, float *out)
{
    seen s = {.output = out};
    const forward_watch watch = {.arg = &s, .linears = see, .output = 1};
    need(r, forward_step(steps, r->job, MADE_BLOCKS, &watch, 1));
    assert_int_equal(s.n_output, VALUES);
}

/* ---- again and again ---- */

/* Each block in part, as a whole, and then for good. */
static void run_repeatedly(made_run *r, float *out)
{
    forward_steps *steps = NULL;
    need(r, r->status);
    need(r, forward_begin(r->forward, r->job, made_sequences(), NULL, &steps));
    for (uint32_t block = 0; block < MADE_BLOCKS; block++) {
        seen part = {.last = "attn_output"}, whole = {.expects_products = 1};
        const forward_watch before = {.arg = &part, .linears = see, .before = 1};
        const forward_watch after = {.arg = &whole, .linears = see};
        need(r, forward_step(steps, r->job, block, &before, 0));
        need(r, forward_step(steps, r->job, block, &after, 0));
        assert_int_equal(part.tokens, MADE_TOKENS);
        assert_int_equal(part.calls * 2, whole.calls); /* attention's two, and those of the rest */
        if (block == 1)
            forward_rest(r->forward);
        need(r, forward_step(steps, r->job, block, NULL, 1));
        forward_leave(r->forward);
    }
    finish(r, steps, out);
    forward_end(steps);
}

static void running_again_changes_nothing(void **state)
{
    static const made_way ways[] = {{0}, {.threads = 7}, {.memory = 945 << 10, .threads = 2}};
    float *expected = new_values(), *out = new_values();
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        made_run r;
        made_run_begin(&r, state, &(made_flaw){0}, ways[i]);
        if (i == 0)
            run_at_once(&r, expected);
        memset(out, 0, VALUES * sizeof *out);
        run_repeatedly(&r, out);
        assert_memory_equal(out, expected, VALUES * sizeof *out);
        made_run_end(&r);
    }
    free(expected);
    free(out);
}

static void nothing_comes_out_of_half_a_block(void **state)
{
    made_run r;
    forward_steps *steps = NULL;
    hidden_states *hidden = NULL;
    seen s = {.last = "attn_v"};
    const forward_watch watch = {.arg = &s, .linears = see, .before = 1};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    need(&r, forward_begin(r.forward, r.job, made_sequences(), NULL, &steps));
    assert_int_equal(forward_step(steps, r.job, 0, &watch, 1), QC_E_INTERNAL);
    forward_end(steps);
    job_clear(r.job);
    assert_int_equal(forward_run(r.forward, r.job, made_sequences(), &watch, NULL, &hidden), QC_E_INTERNAL);
    assert_null(hidden);
    assert_non_null(strstr(job_message(r.job), "block 0"));
    made_run_end(&r);
}

static void wrong_sequences_do_not_begin(void **state)
{
    made_run r;
    forward_steps *steps = NULL;
    uint32_t id = MADE_WORDS;
    size_t from[] = {0, 1};
    const sequences wrong = {&id, from, 1};
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    assert_int_equal(forward_begin(r.forward, r.job, &wrong, NULL, &steps), QC_E_INVALID);
    assert_null(steps);
    forward_end(steps);
    made_run_end(&r);
}

/* ---- other weights ---- */

/* A new one for each. */
static void change(const float *from, float *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = 0.75f * from[i] + 0.01f * (float)(i % 5);
}

static size_t count(const model_tensor *t)
{
    return (size_t)(t->dims[0] * t->dims[1]);
}

static void put_le(const float *values, size_t n, unsigned char *bytes)
{
    for (size_t i = 0; i < n; i++)
        qc_store_le32(bytes + 4 * i, qc_float_bits(values[i]));
}

/* Where the file has these values it gets the changed ones. */
static void change_in_file(byte_buffer *b, const float *values, size_t n)
{
    unsigned char *old = malloc(4 * n), *new = malloc(4 * n);
    float *other = malloc(n * sizeof *other);
    assert_true(old && new &&other);
    change(values, other, n);
    put_le(values, n, old);
    put_le(other, n, new);
    size_t at = 0;
    while (at + 4 * n <= b->n && memcmp(b->data + at, old, 4 * n) != 0)
        at++;
    assert_true(at + 4 * n <= b->n);
    memcpy(b->data + at, new, 4 * n);
    free(old);
    free(new);
    free(other);
}

/* One run of a file that has them. */
static void run_changed_file(made_run *r, float *out)
{
    byte_buffer b = {0};
    opened_model opened;
    made_run other = *r;
    made_llama_put(&b, &(made_flaw){0});
    for (size_t i = 0; i < CHANGED; i++) {
        const float *w;
        size_t rows, cols;
        need(r, forward_weight(r->forward, r->job, changed[i], 0, &w, &rows, &cols));
        change_in_file(&b, w, rows * cols);
    }
    scratch_write(r->scratch, "changed.gguf", b.data, b.n);
    buffer_end(&b);
    need(r, opened_model_begin(&opened, r->job, scratch_path(r->scratch, "changed.gguf"), NULL));
    need(r, forward_open(r->job, opened.registry, opened.model, UINT64_MAX, NULL, &other.forward));
    run_at_once(&other, out);
    forward_free(other.forward);
    opened_model_end(&opened);
}

/* Those of the block, whether they are in memory already or not. */
static void replace(made_run *r, int32_t layer)
{
    for (size_t i = 0; i < CHANGED; i++) {
        const model_tensor *t = model_find(r->opened.model, changed[i]);
        const float *w;
        size_t rows, cols;
        float *values, *again;
        assert_non_null(t);
        if (t->layer != layer)
            continue;
        need(r, forward_weight(r->forward, r->job, changed[i], 0, &w, &rows, &cols));
        float *copy = malloc(count(t) * sizeof *copy);
        assert_non_null(copy);
        change(w, copy, count(t));
        if (i % 2)
            forward_rest(r->forward);
        need(r, forward_replace(r->forward, r->job, t, 0, &values));
        memcpy(values, copy, count(t) * sizeof *copy);
        need(r, forward_replace(r->forward, r->job, t, 0, &again));
        assert_ptr_equal(values, again);
        free(copy);
    }
}

static void replaced_weights_are_as_good_as_the_files(void **state)
{
    made_run r;
    forward_steps *steps = NULL;
    float *expected = new_values(), *plain = new_values(), *out = new_values();
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){.threads = 2});
    run_at_once(&r, plain);
    run_changed_file(&r, expected);
    assert_memory_not_equal(plain, expected, VALUES * sizeof *out);
    need(&r, forward_begin(r.forward, r.job, made_sequences(), NULL, &steps));
    for (uint32_t block = 0; block < MADE_BLOCKS; block++) {
        need(&r, forward_step(steps, r.job, block, NULL, 0));
        replace(&r, (int32_t)block);
        need(&r, forward_step(steps, r.job, block, NULL, 1));
        forward_leave(r.forward);
    }
    replace(&r, -1);
    finish(&r, steps, out);
    assert_memory_equal(out, expected, VALUES * sizeof *out);
    forward_end(steps);
    run_at_once(&r, out); /* nothing of it stays */
    assert_memory_equal(out, plain, VALUES * sizeof *out);
    made_run_end(&r);
    free(expected);
    free(plain);
    free(out);
}

static float first_weight(made_run *r, const char *name, int32_t expert)
{
    const float *w;
    size_t rows, cols;
    need(r, forward_weight(r->forward, r->job, name, expert, &w, &rows, &cols));
    return w[0];
}

static void replaced_weights_stay_until_the_block_is_left(void **state)
{
    made_run r;
    float *values;
    made_run_begin(&r, state, &(made_flaw){0}, (made_way){0});
    const model_tensor *t = model_find(r.opened.model, MADE_STACK);
    float file[] = {first_weight(&r, MADE_STACK, 0), first_weight(&r, MADE_STACK, 1)};
    need(&r, forward_replace(r.forward, r.job, t, 1, &values));
    assert_true(values[0] == file[1]); /* in the room of what was there */
    values[0] = 77;
    assert_true(first_weight(&r, MADE_STACK, 1) == 77 && first_weight(&r, MADE_STACK, 0) == file[0]);
    forward_rest(r.forward);
    assert_true(first_weight(&r, MADE_STACK, 1) == 77 && first_weight(&r, MADE_STACK, 0) == file[0]);
    forward_leave(r.forward);
    assert_true(first_weight(&r, MADE_STACK, 1) == file[1] && first_weight(&r, MADE_STACK, 0) == file[0]);
    need(&r, forward_replace(r.forward, r.job, t, 0, &values));
    values[0] = 78;
    forward_forget(r.forward);
    assert_true(first_weight(&r, MADE_STACK, 0) == file[0]);
    made_run_end(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(running_again_changes_nothing),
        TEST(nothing_comes_out_of_half_a_block),
        TEST(wrong_sequences_do_not_begin),
        TEST(replaced_weights_are_as_good_as_the_files),
        TEST(replaced_weights_stay_until_the_block_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
