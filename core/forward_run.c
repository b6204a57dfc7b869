#include "core/forward_impl.h"
#include "core/rows.h"
#include "core/units.h"
#include <stdlib.h>

enum { EMBEDDED_TOKENS = 32 }; /* that one worker looks up at once */

/* One run over all sequences. */
struct forward_steps {
    forward *forward;
    const sequences *sequences;
    progress *shown;
    hidden_states *hidden;
    size_t longest; /* tokens of the largest batch */
    float *x; /* of one batch */
    pass pass;
};

/* Whole sequences that go through a block together. */
typedef struct batch {
    size_t first, n; /* sequences */
    size_t token, n_tokens;
} batch;

static size_t sequence_tokens(const sequences *s, size_t i)
{
    return s->starts[i + 1] - s->starts[i];
}

/* The one after b; 0 when there is none. Cut by sizes alone. */
static int next_batch(const forward_steps *r, batch *b)
{
    const sequences *s = r->sequences;
    *b = (batch){.first = b->first + b->n, .token = b->token + b->n_tokens};
    while (b->first + b->n < s->n) {
        size_t tokens = sequence_tokens(s, b->first + b->n);
        if (b->n > 0 && (b->n_tokens >= r->forward->batch_tokens || tokens > r->forward->batch_tokens - b->n_tokens))
            break;
        b->n_tokens += tokens;
        b->n++;
    }
    return b->n > 0;
}

static void enter_batch(forward_steps *r, const batch *b)
{
    for (size_t i = 0; i <= b->n; i++)
        r->pass.starts[i] = r->sequences->starts[b->first + i] - b->token;
    r->pass.first_sequence = b->first;
    r->pass.api.n_sequences = b->n;
    r->pass.api.n_tokens = b->n_tokens;
}

/* ---- before ---- */

static qc_status check_sequences(const forward *f, qc_job *job, const sequences *s)
{
    uint64_t vocabulary = f->embedding->dims[1];
    if (s->n == 0 || s->starts[0] != 0)
        return qc_fail(job, QC_E_INVALID, "there are no tokens to run the model on");
    for (size_t i = 0; i < s->n; i++) {
        if (s->starts[i + 1] <= s->starts[i])
            return qc_fail(job, QC_E_INVALID, "sequence %zu has no tokens", i);
        for (size_t k = s->starts[i]; k < s->starts[i + 1]; k++)
            if (s->tokens[k] >= vocabulary)
                return qc_fail(job, QC_E_INVALID, "sequence %zu, token %zu: id %u is beyond the model's %llu tokens", i,
                               k - s->starts[i], s->tokens[k], (unsigned long long)vocabulary);
    }
    return QC_OK;
}

/* A sequence longer than a batch is one of its own, if there is room. */
static qc_status find_longest(forward_steps *r, qc_job *job)
{
    char needed[BYTES_TEXT], allowed[BYTES_TEXT];
    const forward *f = r->forward;
    for (batch b = {0}; next_batch(r, &b);)
        r->longest = b.n_tokens > r->longest ? b.n_tokens : r->longest;
    if (r->longest <= forward_room(f))
        return QC_OK;
    return qc_fail(job, QC_E_LIMIT,
                   "a sequence of %zu tokens needs %s of memory to be run, run.memory leaves %s for that", r->longest,
                   bytes_text(f->block_bytes + r->longest * f->token_bytes, needed), bytes_text(f->memory, allowed));
}

static qc_status make_room(forward_steps *r, qc_job *job)
{
    const forward *f = r->forward;
    qc_status status = find_longest(r, job);
    if (status != QC_OK)
        return status;
    size_t n_tokens = r->sequences->starts[r->sequences->n];
    uint64_t left = f->memory - f->block_bytes - r->longest * f->token_bytes;
    size_t *starts = calloc(r->sequences->n + 1, sizeof *starts);
    pass_init(&r->pass, r->forward, starts);
    r->x = aligned_alloc(64, (r->longest * f->width * sizeof(float) + 63) / 64 * 64);
    if (!starts || !r->x)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu tokens", r->longest);
    return hidden_new(job, n_tokens, f->width, left, f->folder, &r->hidden);
}

/* ---- embeddings ---- */

typedef struct lookup {
    const forward_steps *steps;
    const qc_coder *coder;
    const uint32_t *ids;
} lookup;

static qc_status embed_tokens(void *arg, qc_job *job, size_t begin, size_t end)
{
    const lookup *l = arg;
    const forward *f = l->steps->forward;
    qc_status status = QC_OK;
    for (size_t i = begin; i < end && status == QC_OK; i++)
        status = rows_load(f->model, job, f->rows, f->embedding, l->coder, l->ids[i], 1, l->steps->x + i * f->width);
    return status;
}

static qc_status embed(forward_steps *r, qc_job *job)
{
    lookup l = {.steps = r};
    qc_status status = forward_coder(r->forward, job, r->forward->embedding, &l.coder);
    for (batch b = {0}; status == QC_OK && next_batch(r, &b);) {
        l.ids = r->sequences->tokens + b.token;
        status = job->parallel_for(job, b.n_tokens, EMBEDDED_TOKENS, embed_tokens, &l);
        if (status != QC_OK && status != QC_E_CANCELLED)
            job_add_context(job, "%s", r->forward->embedding->name);
        if (status == QC_OK)
            status = hidden_write(r->hidden, job, b.token, b.n_tokens, r->x);
    }
    return status;
}

/* ---- a block ---- */

static qc_status check_batch(const forward_steps *r, qc_job *job)
{
    char block[32], where[64];
    size_t bad, n = r->pass.api.n_tokens;
    qc_status status = forward_check(r->forward, job, r->x, n, r->forward->width, &bad);
    if (status != QC_OK || bad == n)
        return status;
    return qc_fail(job, QC_E_NUMERIC, "%s: %s has NaN or Inf, though no product of its weights had",
                   pass_block(&r->pass, block), pass_place(&r->pass, bad, where));
}

static qc_status watch_output(forward_steps *r, qc_job *job)
{
    const forward_watch *w = r->pass.watch;
    if (!w || !w->output || !w->linears)
        return QC_OK;
    return w->linears(w->arg, job, 1, &r->forward->output, -1, r->x, r->pass.api.n_tokens, NULL);
}

/* From the hidden states into x, and through. */
static qc_status pass_batch(forward_steps *r, qc_job *job, const batch *b)
{
    const forward *f = r->forward;
    int after = r->pass.api.block == f->n_blocks;
    size_t mark = job_mark(job);
    enter_batch(r, b);
    qc_status status = hidden_read(r->hidden, job, b->token, b->n_tokens, r->x);
    if (status == QC_OK)
        status = (after ? f->architecture->finish : f->architecture->block)(job, f->state, &r->pass.api, r->x);
    job_release(job, mark);
    if (status == QC_OK)
        status = check_batch(r, job);
    return status == QC_OK && after ? watch_output(r, job) : status;
}

static qc_status run_batch(forward_steps *r, qc_job *job, const batch *b, int keep)
{
    qc_status status = pass_batch(r, job, b);
    if (status == FORWARD_ENOUGH && !keep)
        return QC_OK;
    if (status > 0) /* what comes out is not there */
        return qc_fail(job, QC_E_INTERNAL, "block %u ended early, but is to be kept", r->pass.api.block);
    return status == QC_OK && keep ? hidden_write(r->hidden, job, b->token, b->n_tokens, r->x) : status;
}

qc_status forward_step(forward_steps *r, qc_job *job, uint32_t block, const forward_watch *watch, int keep)
{
    char name[32];
    qc_status status = QC_OK;
    r->pass.watch = watch;
    r->pass.api.block = block;
    pass_block(&r->pass, name);
    for (batch b = {0}; status == QC_OK && next_batch(r, &b);) {
        status = run_batch(r, job, &b, keep);
        if (status == QC_OK && block < r->forward->n_blocks)
            progress_step(r->shown, name, b.n_tokens);
    }
    r->pass.watch = NULL;
    return forward_blame(r->forward, job, status);
}

/* ---- the whole ---- */

static qc_status prepare(forward_steps *r, qc_job *job)
{
    qc_status status = check_sequences(r->forward, job, r->sequences);
    if (status == QC_OK)
        status = make_room(r, job);
    return status == QC_OK ? embed(r, job) : status;
}

qc_status forward_begin(forward *f, qc_job *job, const sequences *s, progress *shown, forward_steps **out)
{
    forward_steps *r = *out = calloc(1, sizeof *r);
    if (!r)
        return qc_fail(job, QC_E_NOMEM, "out of memory for running a model");
    *r = (forward_steps){.forward = f, .sequences = s, .shown = shown};
    forward_forget(f);
    qc_status status = forward_blame(f, job, prepare(r, job));
    if (status == QC_OK)
        return QC_OK;
    forward_end(r);
    *out = NULL;
    return status;
}

void forward_end(forward_steps *r)
{
    if (!r)
        return;
    forward_forget(r->forward);
    hidden_free(r->hidden);
    free(r->x);
    free(r->pass.starts);
    free(r);
}

/* Block `block`; n_blocks: what comes after the last. Its weights are in memory until the last batch is through. */
static qc_status run_block(forward_steps *r, qc_job *job, uint32_t block, const forward_watch *watch)
{
    qc_status status = forward_step(r, job, block, watch, 1);
    if (status == QC_OK && block < r->forward->n_blocks && watch && watch->block_done)
        status = forward_blame(r->forward, job, watch->block_done(watch->arg, job, block));
    forward_leave(r->forward);
    return status;
}

qc_status forward_run(forward *f, qc_job *job, const sequences *s, const forward_watch *watch, progress *shown,
                      hidden_states **out)
{
    forward_steps *r = NULL;
    *out = NULL;
    qc_status status = forward_begin(f, job, s, shown, &r);
    for (uint32_t block = 0; status == QC_OK && block <= f->n_blocks; block++)
        status = run_block(r, job, block, watch);
    if (status == QC_OK) {
        *out = r->hidden;
        r->hidden = NULL;
    }
    forward_end(r);
    return status;
}
