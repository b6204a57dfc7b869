#include "core/job_impl.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 64 * 1024, LARGEST_STEP = 1024 * 1024, ALIGNMENT = 64 };

static atomic_int cancel_flag; /* the one global: a signal handler has nothing else to reach */

void job_cancel_all(void)
{
    atomic_store(&cancel_flag, 1);
}

int job_cancelled(void)
{
    return atomic_load_explicit(&cancel_flag, memory_order_relaxed);
}

static struct job *own(qc_job *job)
{
    return (struct job *)job;
}

/* ---- scratch: blocks that only grow in number, reused after a release ---- */

static arena_block *new_block(arena *a, size_t bytes)
{
    if (a->n == a->capacity) {
        size_t capacity = a->capacity ? 2 * a->capacity : 16;
        arena_block *blocks = realloc(a->blocks, capacity * sizeof *blocks);
        if (!blocks)
            return NULL;
        a->blocks = blocks;
        a->capacity = capacity;
    }
    arena_block *b = &a->blocks[a->n];
    b->data = aligned_alloc(ALIGNMENT, bytes);
    if (!b->data)
        return NULL;
    b->size = bytes;
    a->n++;
    return b;
}

/* Blocks beyond the current one are empty: the next that is too small is replaced by a larger one. */
static arena_block *next_block(arena *a, const arena_block *full, size_t bytes)
{
    size_t start = full ? full->start + full->used : 0;
    size_t next = full ? a->current + 1 : 0;
    assert(a->blocks || !a->n);
    while (a->n > next && a->blocks[a->n - 1].size < bytes)
        free(a->blocks[--a->n].data);
    if (next == a->n) {
        size_t last = a->n ? a->blocks[a->n - 1].size : FIRST_BLOCK / 2;
        size_t step = last >= LARGEST_STEP / 2 ? LARGEST_STEP : 2 * last;
        if (!new_block(a, bytes > step ? bytes : step))
            return NULL;
    }
    if (a->blocks[next].size < bytes) { /* the last one is large enough: bring it forward */
        arena_block swap = a->blocks[next];
        a->blocks[next] = a->blocks[a->n - 1];
        a->blocks[a->n - 1] = swap;
    }
    a->current = next;
    a->blocks[next].start = start;
    a->blocks[next].used = 0;
    return &a->blocks[next];
}

static void *job_scratch(qc_job *job, size_t bytes)
{
    arena *a = &own(job)->arena;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = bytes ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
    arena_block *b = a->n ? &a->blocks[a->current] : NULL;
    if (!b || b->size - b->used < bytes)
        b = next_block(a, b, bytes);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += bytes;
    return p;
}

size_t job_mark(const qc_job *job)
{
    const arena *a = &((const struct job *)job)->arena;
    return a->n ? a->blocks[a->current].start + a->blocks[a->current].used : 0;
}

void job_release(qc_job *job, size_t mark)
{
    arena *a = &own(job)->arena;
    if (!a->n)
        return;
    while (a->current > 0 && a->blocks[a->current].start > mark)
        a->current--;
    arena_block *b = &a->blocks[a->current];
    if (mark - b->start < b->used)
        b->used = mark - b->start;
}

/* ---- the first failure ---- */

/* One line, whatever names a hostile file put into it. */
static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

static qc_status job_fail(qc_job *job, qc_status code, const char *message)
{
    struct job *j = own(job);
    if (code >= QC_OK)
        code = QC_E_INTERNAL;
    if (!j->failed) {
        j->failed = 1;
        snprintf(j->message, sizeof j->message, "%s", message ? message : "");
        one_line(j->message);
    }
    return code;
}

const char *job_message(const qc_job *job)
{
    return ((const struct job *)job)->message;
}

void job_forget(struct job *j)
{
    j->failed = 0;
    j->message[0] = 0;
}

void job_clear(qc_job *job)
{
    job_forget(own(job));
    job_release(job, 0);
}

void job_forgive(qc_job *job)
{
    job_forget(own(job));
}

void job_add_context(qc_job *job, const char *format, ...)
{
    struct job *j = own(job);
    char text[JOB_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    one_line(text);
    size_t n = strlen(text);
    if (n + 2 >= sizeof j->message)
        return;
    size_t kept = strlen(j->message);
    if (kept > sizeof j->message - n - 3)
        kept = sizeof j->message - n - 3;
    memmove(j->message + n + 2, j->message, kept);
    memcpy(j->message, text, n);
    memcpy(j->message + n, ": ", 2);
    j->message[n + 2 + kept] = 0;
    j->failed = 1;
}

void job_add_place(qc_job *job, const char *file, unsigned line, unsigned column)
{
    struct job *j = own(job);
    size_t n = strlen(j->message);
    if (line)
        snprintf(j->message + n, sizeof j->message - n, " (%.200s:%u:%u)", file ? file : "", line, column);
}

/* ---- figures ---- */

static void take_figure(qc_job *job, const char *name, double value)
{
    struct job *j = own(job);
    size_t i = 0;
    while (i < j->n_figures && strcmp(j->figures[i].name, name) != 0)
        i++;
    if (i == MAX_FIGURES)
        return;
    snprintf(j->figures[i].name, sizeof j->figures[i].name, "%s", name);
    one_line(j->figures[i].name);
    j->figures[i].value = value;
    j->n_figures += i == j->n_figures;
}

const job_figure *job_figures(const qc_job *job, size_t *n)
{
    const struct job *j = (const struct job *)job;
    *n = j->n_figures;
    return j->figures;
}

void job_forget_figures(qc_job *job)
{
    own(job)->n_figures = 0;
}

/* ---- progress ---- */

void job_set_task(qc_job *job, const char *what)
{
    own(job)->what = what;
}

static qc_status job_progress(qc_job *job, uint64_t done, uint64_t total)
{
    struct job *j = own(job);
    if (job_cancelled())
        return job_fail(job, QC_E_CANCELLED, "interrupted");
    pool_report(j->pool, j->what, done, total);
    return QC_OK;
}

void job_init(struct job *j, struct pool *p, const qc_host *host, uint32_t worker)
{
    memset(j, 0, sizeof *j);
    j->api = (qc_job){sizeof j->api,     worker,   host,         0,           job_scratch,
                      pool_parallel_for, job_fail, job_progress, take_figure, job_forgive};
    j->pool = p;
    j->what = "";
}

void job_end(struct job *j)
{
    for (size_t i = 0; i < j->arena.n; i++)
        free(j->arena.blocks[i].data);
    free(j->arena.blocks);
}
