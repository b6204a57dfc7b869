/* One call after another, each with its buffers elsewhere: the same result, nothing written but that, nothing changed in
 * the floating-point environment; a crash is one more thing to report. */
#include "call.h"
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- filling a call ---- */

enum { ROOM = 64 << 20 };
static unsigned char *room;
static size_t room_used;

void *case_room(size_t bytes)
{
    room = room ? room : malloc(ROOM);
    const size_t at = room_used;
    room_used += (bytes + 63) / 64 * 64;
    if (!room || room_used > ROOM) {
        fprintf(stderr, "check_kernels: no room for an input of %zu bytes\n", bytes);
        exit(2);
    }
    return room + at;
}

void case_room_clear(void)
{
    room_used = 0;
}

static buffer *add(call *c, const char *name, buffer_use use, buffer_type type, const void *from, size_t n)
{
    buffer *b = &c->buffers[c->n_buffers++];
    *b = (buffer){.name = name, .use = use, .type = type, .bytes = n * type_size(type), .from = from};
    return b;
}

buffer *call_reads(call *c, const char *name, buffer_type type, const void *from, size_t n)
{
    return add(c, name, BUFFER_READ, type, from, n);
}

buffer *call_writes(call *c, const char *name, buffer_type type, size_t n)
{
    return add(c, name, BUFFER_WRITE, type, NULL, n);
}

buffer *call_updates(call *c, const char *name, buffer_type type, const void *from, size_t n)
{
    return add(c, name, BUFFER_UPDATE, type, from, n);
}

/* ---- crashes ---- */

enum { ALARM_SECONDS = 240 };
static sigjmp_buf back;
static volatile sig_atomic_t running, caught;
static void *volatile caught_at;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!running) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    caught = number;
    caught_at = info->si_addr;
    siglongjmp(back, 1);
}

int catch_signals(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM};
    static char stack[1 << 16];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaltstack(&other, NULL) != 0)
        return 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], &action, NULL) != 0)
            return 0;
    return 1;
}

static void say_crash(const call *c, char *why, size_t size)
{
    char where[120];
    buffers_say(c->buffers, c->n_buffers, caught_at, where, sizeof where);
    if (caught == SIGSEGV || caught == SIGBUS)
        snprintf(why, size, "touches memory that it must not: %s", where);
    else if (caught == SIGALRM)
        snprintf(why, size, "has not returned after %d seconds", ALARM_SECONDS);
    else
        snprintf(why, size, "%s",
                 caught == SIGILL   ? "comes to an illegal instruction"
                 : caught == SIGFPE ? "raises SIGFPE"
                                    : "aborts");
}

/* ---- the floating-point environment ---- */

/* How to round, and what to do with denormals. */
static uint64_t float_control(void)
{
    fenv_t env;
    fegetenv(&env);
#if defined(__x86_64__) && defined(__GLIBC__)
    return (uint64_t)(env.__mxcsr & ~0x3fu) << 16 | env.__control_word;
#elif defined(__aarch64__) && defined(__GLIBC__)
    return env.__fpcr;
#else
    return (uint64_t)fegetround();
#endif
}

/* ---- one run ---- */

/* 0: it returned. */
static int run_guarded(const kernel *k, any_fn fn, const void *side, call *c)
{
    caught = 0;
    c->result = 0;
    alarm(ALARM_SECONDS);
    if (sigsetjmp(back, 1) == 0) {
        running = 1;
        k->member->signature->run(fn, side, c);
    }
    running = 0;
    alarm(0);
    return caught;
}

static int run_placed(const kernel *k, any_fn fn, const void *side, call *c, placement where, unsigned char fill,
                      char *why, size_t size)
{
    if (!buffers_place(c->buffers, c->n_buffers, where, fill)) {
        snprintf(why, size, "a buffer is too large to be checked");
        return 1;
    }
    const uint64_t control = float_control();
    const int crashed = run_guarded(k, fn, side, c);
    const int same_control = float_control() == control;
    fesetenv(FE_DFL_ENV);
    buffers_open(c->buffers, c->n_buffers);
    if (crashed)
        say_crash(c, why, size);
    else if (!same_control)
        snprintf(why, size, "leaves another rounding or treatment of denormals behind");
    for (size_t i = 0; !crashed && same_control && i < c->n_buffers; i++) {
        const ptrdiff_t spilt = buffer_spilt(&c->buffers[i], fill);
        if (spilt == 0)
            continue;
        snprintf(why, size, "writes outside of %s, whose %zu bytes begin at 0: at byte %td", c->buffers[i].name,
                 c->buffers[i].bytes, spilt);
        return 1;
    }
    return crashed || !same_control;
}

/* ---- results ---- */

typedef struct outcome {
    unsigned char *bytes[MOST_BUFFERS];
    uint64_t result;
} outcome;

static void keep(const call *c, outcome *o)
{
    for (size_t i = 0; i < c->n_buffers; i++) {
        const buffer *b = &c->buffers[i];
        o->bytes[i] = b->use != BUFFER_READ && b->at ? case_room(b->bytes) : NULL;
        if (o->bytes[i] && b->bytes)
            memcpy(o->bytes[i], b->at, b->bytes);
    }
    o->result = c->result;
}

static int same_result(const call *c, uint64_t want)
{
    double x, y;
    memcpy(&x, &c->result, sizeof x);
    memcpy(&y, &want, sizeof y);
    return c->result == want || (c->returns_double && x != x && y != y);
}

static void say_result(const call *c, uint64_t want, char *why, size_t size)
{
    double x, y;
    memcpy(&x, &c->result, sizeof x);
    memcpy(&y, &want, sizeof y);
    if (c->returns_double)
        snprintf(why, size, "returns %a, not %a", x, y);
    else
        snprintf(why, size, "returns %lld, not %lld", (long long)c->result, (long long)want);
}

static int compare(const call *c, const outcome *want, char *why, size_t size)
{
    for (size_t i = 0; i < c->n_buffers; i++) {
        const buffer *b = &c->buffers[i];
        const ptrdiff_t at = want->bytes[i] ? buffer_differs(b, b->at, want->bytes[i]) : -1;
        if (at < 0)
            continue;
        buffer_say_element(b, (size_t)at, b->at, want->bytes[i], why, size);
        return 1;
    }
    if (same_result(c, want->result))
        return 0;
    say_result(c, want->result, why, size);
    return 1;
}

/* ---- all of it ---- */

static const unsigned char fills[2] = {0xa5, 0x5a};

/* A byte that the kernel wrote is the same in both outcomes, and one that it did not is the fill. */
static int depends_on_fill(const buffer *b, const unsigned char *x, const unsigned char *y)
{
    for (size_t i = 0; i < b->bytes; i++)
        if (x[i] != y[i] && (x[i] != fills[0] || y[i] != fills[1]) &&
            (b->lanes == 0 || i / type_size(b->type) % QC_LANES < b->lanes))
            return 1;
    return 0;
}

/* What the definition makes of it, with outputs full of either fill. */
static int define(const kernel *k, call *c, outcome *want, char *why, size_t size)
{
    for (int f = 0; f < 2; f++) {
        char wrong[200];
        if (run_placed(k, k->definition, k->reference_side, c, f ? ODD : AT_START, fills[f], wrong, sizeof wrong)) {
            snprintf(why, size, "its definition %s", wrong);
            return 1;
        }
        keep(c, &want[f]);
    }
    for (size_t i = 0; i < c->n_buffers; i++)
        if (c->buffers[i].use == BUFFER_WRITE && c->buffers[i].type != TYPE_PRIVATE &&
            depends_on_fill(&c->buffers[i], want[0].bytes[i], want[1].bytes[i])) {
            snprintf(why, size, "what its definition writes to %s depends on what was there", c->buffers[i].name);
            return 1;
        }
    return 0;
}

int check_call(const kernel *k, call *c, char *why, size_t why_size)
{
    static const char *const names[N_PLACEMENTS] = {"at the end of a page", "at the start of a page", "misaligned"};
    outcome want[2];
    if (define(k, c, want, why, why_size))
        return 1;
    for (int where = 0; where < N_PLACEMENTS; where++) {
        const int f = where == ODD;
        char wrong[200];
        if (!run_placed(k, k->fn, k->side, c, (placement)where, fills[f], wrong, sizeof wrong) &&
            !compare(c, &want[f], wrong, sizeof wrong))
            continue;
        snprintf(why, why_size, "%s (buffers %s)", wrong, names[where]);
        return 1;
    }
    return 0;
}

/* ---- timing ---- */

void call_place(call *c)
{
    buffers_place(c->buffers, c->n_buffers, AT_START, fills[0]);
    buffers_open(c->buffers, c->n_buffers);
}
