/* The kernels of gptq, which no table of the ABI has: linked in, where the plugin was built beside this program. */
#include "inputs.h"
#include "list.h"

#if defined(CHECK_GPTQ)
#include "core/cpu.h"
#include "encoding_cases.h"
#include "plugins/methods/gptq/gptq.h"
#include "plugins/methods/gptq/kernels.h"

extern const gptq_kernels gptq_kernels_reference;
#if defined(CHECK_GPTQ_X86)
extern const gptq_kernels gptq_kernels_x86_v3, gptq_kernels_x86_v4;
#endif

typedef void (*catch_up_fn)(const gptq_tile *t, size_t j, size_t j_end, size_t k, size_t end);
typedef void (*round_fn)(const gptq_tile *t, size_t k, size_t end, const qc_coder *e, qc_grid *g,
                         const float *importance, const uint32_t *col, int32_t *code);
typedef void (*search_fn)(const gptq_tile *t, size_t k, size_t end, const gptq_search *s);
typedef int (*descend_fn)(const gptq_descent *d, size_t c, size_t end, const float *step, int32_t *code);
typedef int (*rescale_fn)(const gptq_descent *d, size_t c, size_t end, const gptq_search *s, const int32_t *code);
typedef void (*spread_fn)(float *y, size_t n, const float *h, size_t ld, const gptq_change *changes, size_t n_changes);
typedef void (*invert_fn)(float *u, const float *a, size_t n);

enum { CASES = 40, FEW_CASES = 8 };

static int is_case(const kernel *k, size_t i)
{
    return i == BENCH_CASE || i < (k->effort ? (size_t)CASES * k->effort : FEW_CASES);
}

static float *floats_at(const call *c, size_t i)
{
    return (float *)(void *)c->buffers[i].at;
}

static const float *new_floats(size_t n, size_t i, uint32_t *random)
{
    static const input_kind kinds[] = {INPUT_GAUSS, INPUT_MIXED, INPUT_EQUAL, INPUT_GAUSS, INPUT_DENORMAL, INPUT_ZEROS};
    float *x = case_room(n * sizeof *x);
    input_fill(x, n, i == BENCH_CASE ? INPUT_GAUSS : kinds[i % 6], random);
    return x;
}

/* [n][ld], its diagonal near 1. */
static const float *new_square(size_t n, size_t ld, uint32_t *random)
{
    float *u = case_room(n * ld * sizeof *u);
    input_fill(u, n * ld, INPUT_GAUSS, random);
    for (size_t i = 0; i < n; i++)
        u[i * ld + i] = random_float(random, 0.5f, 2.0f);
    return u;
}

/* Meanings of call.number here. */
enum { BEGIN, MIDDLE, END, LD, SUB, REACH };

/* ---- catch_up ---- */

static void run_catch_up(any_fn fn, const void *side, call *c)
{
    const gptq_tile t = {.x = floats_at(c, 0), .e = floats_at(c, 1), .u = floats_at(c, 2), .ld = c->number[LD]};
    (void)side;
    ((catch_up_fn)fn)(&t, c->number[BEGIN], c->number[MIDDLE], c->number[MIDDLE], c->number[END]);
}

static int make_catch_up(const kernel *k, size_t i, uint32_t *random, call *c)
{
    if (!is_case(k, i))
        return 0;
    const size_t done = i == BENCH_CASE ? 128 : random_below(random, 40);
    const size_t n = done + (i == BENCH_CASE ? 128 : random_below(random, 40)), ld = n + random_below(random, 3);
    c->number[BEGIN] = i == BENCH_CASE || done == 0 ? 0 : random_below(random, done);
    c->number[MIDDLE] = done;
    c->number[END] = n;
    c->number[LD] = ld;
    c->elements = (done - c->number[BEGIN]) * (n - done) * QC_LANES;
    call_updates(c, "x", TYPE_FLOATS, new_floats(n * QC_LANES, i, random), n * QC_LANES);
    call_reads(c, "e", TYPE_FLOATS, new_floats(done * QC_LANES, i + 1, random), done * QC_LANES);
    call_reads(c, "u", TYPE_FLOATS, new_square(n, ld, random), n * ld);
    snprintf(c->input, sizeof c->input, "steps %zu to %zu, then to %zu, ld %zu", c->number[BEGIN], done, n, ld);
    return 1;
}

static const signature catch_up_signature = {run_catch_up, make_catch_up};

/* ---- one sub-block of an encoding: round, search, rescale ---- */

enum { STEP, OFFSET, STATE, X, E, U, ROOM, CODE, LAST };

static gptq_codes codes_of(const qc_encoding_desc *d)
{
    return (gptq_codes){.lowest = (float)d->lowest,
                        .highest = (float)d->highest,
                        .levels = d->levels,
                        .n_levels = d->levels ? (size_t)(d->highest - d->lowest) + 1 : 0};
}

static qc_grid grid_at(const call *c)
{
    return (qc_grid){.size = sizeof(qc_grid),
                     .step = floats_at(c, STEP),
                     .offset = floats_at(c, OFFSET),
                     .state = c->buffers[STATE].at};
}

static size_t first_col(const call *c, const qc_coder *e)
{
    return c->number[SUB] * qc_sub_cols(e);
}

/* One tile of weights like those that the grid was fitted to, a sub-block's steps next to each other. */
static int sub_case(const kernel *k, size_t i, uint32_t *random, call *c, encoding_case *z)
{
    const encoding_side *side = k->reference_side;
    if (!is_case(k, i))
        return 0;
    *z = (encoding_case){.reference = side, .kind = i % 3 == 1 ? INPUT_HEAVY : INPUT_GAUSS, .n_rows = QC_LANES};
    z->cols = z->piece_cols = side->desc->block_cols;
    z->coder = coder_for(side, z->cols);
    const qc_grid g = new_grid(z, random);
    const size_t n_subs = qc_n_subs(&z->coder), n = qc_sub_cols(&z->coder), ld = n + random_below(random, 3);
    c->number[SUB] = random_below(random, n_subs);
    c->number[END] = n;
    c->number[LD] = ld;
    c->number[REACH] = 1 + random_below(random, 3);
    c->elements = n * QC_LANES;
    call_updates(c, "step", TYPE_FLOATS, g.step, n_subs * QC_LANES);
    call_updates(c, "offset", TYPE_FLOATS, g.offset, n_subs * QC_LANES);
    call_updates(c, "state", TYPE_PRIVATE, g.state, side->desc->state_bytes);
    call_updates(c, "x", TYPE_FLOATS, new_tile(z, random), n * QC_LANES);
    call_updates(c, "e", TYPE_FLOATS, new_floats(n * QC_LANES, i, random), n * QC_LANES);
    call_reads(c, "u", TYPE_FLOATS, new_square(n, ld, random), n * ld);
    snprintf(c->input, sizeof c->input, "%s, sub-block %zu, %zu steps, ld %zu, reach %zu", side->desc->base.id,
             c->number[SUB], n, ld, c->number[REACH]);
    return 1;
}

static gptq_tile tile_at(const call *c)
{
    return (gptq_tile){.x = floats_at(c, X), .e = floats_at(c, E), .u = floats_at(c, U), .ld = c->number[LD]};
}

static void run_round(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, ((const encoding_side *)side)->desc->block_cols);
    const gptq_tile t = tile_at(c);
    uint32_t col[GPTQ_RUN];
    qc_grid g = grid_at(c);
    for (uint32_t i = 0; i < GPTQ_RUN; i++)
        col[i] = (uint32_t)first_col(c, &e) + i;
    ((round_fn)fn)(&t, 0, c->number[END], &e, &g, NULL, col, (int32_t *)(void *)c->buffers[ROOM].at);
}

static int make_round(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!sub_case(k, i, random, c, &z))
        return 0;
    call_writes(c, "code", TYPE_INTS, z.piece_cols * QC_LANES);
    return 1;
}

static gptq_search search_of(const call *c, const qc_coder *e, qc_grid *g, const gptq_codes *codes)
{
    return (gptq_search){
        .coder = e, .grid = g, .codes = codes, .sub = (uint32_t)c->number[SUB], .reach = (int)c->number[REACH]};
}

static void run_search(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, ((const encoding_side *)side)->desc->block_cols);
    const gptq_codes codes = codes_of(e.desc);
    gptq_tile t = tile_at(c);
    qc_grid g = grid_at(c);
    const gptq_search s = search_of(c, &e, &g, &codes);
    t.room = floats_at(c, ROOM);
    ((search_fn)fn)(&t, 0, c->number[END], &s);
}

static int make_search(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!sub_case(k, i, random, c, &z))
        return 0;
    call_updates(c, "room", TYPE_PRIVATE, new_floats(GPTQ_SEARCH_COLS * QC_LANES, i, random),
                 GPTQ_SEARCH_COLS * QC_LANES * sizeof(float)); /* what is left there is nobody's business */
    return 1;
}

static void run_rescale(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, ((const encoding_side *)side)->desc->block_cols);
    const gptq_codes codes = codes_of(e.desc);
    qc_grid g = grid_at(c);
    const gptq_search s = search_of(c, &e, &g, &codes);
    const gptq_descent d = {.g = floats_at(c, X),
                            .h = floats_at(c, U),
                            .n = c->number[END],
                            .ld = c->number[LD],
                            .delta = floats_at(c, E),
                            .codes = &codes};
    c->result = (uint64_t)((rescale_fn)fn)(&d, 0, c->number[END], &s, (const int32_t *)(void *)c->buffers[ROOM].at);
}

static int make_rescale(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!sub_case(k, i, random, c, &z))
        return 0;
    call_reads(c, "code", TYPE_INTS, new_codes(&z, random), c->number[END] * QC_LANES);
    return 1;
}

static const signature round_signature = {run_round, make_round};
static const signature search_signature = {run_search, make_search};
static const signature rescale_signature = {run_rescale, make_rescale};

/* ---- descend ---- */

static void run_descend(any_fn fn, const void *side, call *c)
{
    const gptq_codes codes = codes_of(((const encoding_side *)side)->desc);
    const gptq_descent d = {.g = floats_at(c, 0),
                            .h = floats_at(c, 1),
                            .n = c->number[END],
                            .ld = c->number[LD],
                            .delta = floats_at(c, 2),
                            .codes = &codes};
    c->result = (uint64_t)((descend_fn)fn)(&d, c->number[BEGIN], c->number[MIDDLE], floats_at(c, 3),
                                           (int32_t *)(void *)c->buffers[4].at);
}

static int make_descend(const kernel *k, size_t i, uint32_t *random, call *c)
{
    if (!is_case(k, i))
        return 0;
    const qc_encoding_desc *desc = ((const encoding_side *)k->reference_side)->desc;
    const size_t n = i == BENCH_CASE ? 256 : 1 + random_below(random, 50), ld = n + random_below(random, 3);
    const size_t begin = random_below(random, n), n_looks = 1 + random_below(random, n - begin);
    int32_t *code = case_room(n_looks * QC_LANES * sizeof *code);
    float *step = case_room(QC_LANES * sizeof *step);
    for (size_t j = 0; j < n_looks * QC_LANES; j++)
        code[j] = desc->lowest + (int32_t)random_below(random, (size_t)(desc->highest - desc->lowest) + 1);
    for (size_t l = 0; l < QC_LANES; l++)
        step[l] = l == 3 ? 0.0f : random_float(random, -0.1f, 0.1f);
    call_updates(c, "g", TYPE_FLOATS, new_floats(n * QC_LANES, i, random), n * QC_LANES);
    call_reads(c, "h", TYPE_FLOATS, new_square(n, ld, random), n * ld);
    call_updates(c, "delta", TYPE_FLOATS, new_floats(n * QC_LANES, i + 1, random), n * QC_LANES);
    call_reads(c, "step", TYPE_FLOATS, step, QC_LANES);
    call_updates(c, "code", TYPE_INTS, code, n_looks * QC_LANES);
    c->number[BEGIN] = begin;
    c->number[MIDDLE] = begin + n_looks;
    c->number[END] = n;
    c->number[LD] = ld;
    c->elements = n_looks * n * QC_LANES;
    snprintf(c->input, sizeof c->input, "%s, columns %zu to %zu of %zu, ld %zu", desc->base.id, begin, begin + n_looks,
             n, ld);
    return 1;
}

static const signature descend_signature = {run_descend, make_descend};

/* ---- spread, invert ---- */

static void run_spread(any_fn fn, const void *side, call *c)
{
    (void)side;
    ((spread_fn)fn)(floats_at(c, 0), c->number[END], floats_at(c, 1), c->number[LD],
                    (const gptq_change *)(void *)c->buffers[2].at, c->number[BEGIN]);
}

static int make_spread(const kernel *k, size_t i, uint32_t *random, call *c)
{
    if (!is_case(k, i))
        return 0;
    const size_t n = i == BENCH_CASE ? 2048 : random_below(random, 200), cols = 1 + random_below(random, 20);
    const size_t n_changes = i == BENCH_CASE ? 32 : random_below(random, 12), ld = n + random_below(random, 3);
    gptq_change *changes = case_room(n_changes * sizeof *changes);
    for (size_t j = 0; j < n_changes; j++)
        changes[j] = (gptq_change){(uint32_t)random_below(random, cols), random_float(random, -1.0f, 1.0f)};
    const size_t h = (cols - 1) * ld + n;
    call_updates(c, "y", TYPE_FLOATS, new_floats(n, i, random), n);
    call_reads(c, "h", TYPE_FLOATS, new_floats(h, i + 1, random), h);
    call_reads(c, "changes", TYPE_PRIVATE, changes, n_changes * sizeof *changes);
    c->number[BEGIN] = n_changes;
    c->number[END] = n;
    c->number[LD] = ld;
    c->elements = n * n_changes;
    snprintf(c->input, sizeof c->input, "%zu columns, %zu changes, ld %zu", n, n_changes, ld);
    return 1;
}

static void run_invert(any_fn fn, const void *side, call *c)
{
    (void)side;
    ((invert_fn)fn)(floats_at(c, 0), floats_at(c, 1), c->number[END]);
}

static int make_invert(const kernel *k, size_t i, uint32_t *random, call *c)
{
    if (!is_case(k, i))
        return 0;
    const size_t n = i == BENCH_CASE ? 256 : 1 + random_below(random, 70);
    call_writes(c, "u", TYPE_FLOATS, n * n);
    call_reads(c, "a", TYPE_FLOATS, new_square(n, n, random), n * n);
    c->number[END] = n;
    c->elements = n * n * n / 6;
    snprintf(c->input, sizeof c->input, "%zu x %zu", n, n);
    return 1;
}

static const signature spread_signature = {run_spread, make_spread};
static const signature invert_signature = {run_invert, make_invert};

const member gptq_members[] = {
    MEMBER(gptq_kernels, catch_up, catch_up_signature, NULL), MEMBER(gptq_kernels, round, round_signature, NULL),
    MEMBER(gptq_kernels, search, search_signature, NULL),     MEMBER(gptq_kernels, descend, descend_signature, NULL),
    MEMBER(gptq_kernels, rescale, rescale_signature, NULL),   MEMBER(gptq_kernels, spread, spread_signature, NULL),
    MEMBER(gptq_kernels, invert, invert_signature, NULL),     {0},
};

/* Through the reference of an encoding of each sort: two levels of scales, one, levels from a table. */
static void list_with(kernel_list *list, const encoding_side *side, unsigned effort)
{
    static const struct level {
        const char *name;
        const gptq_kernels *kernels;
    } levels[] = {
        {"reference", &gptq_kernels_reference},
#if defined(CHECK_GPTQ_X86)
        {"x86-v3", &gptq_kernels_x86_v3},
        {"x86-v4", &gptq_kernels_x86_v4},
#endif
    };
    char prefix[60], missing[32];
    snprintf(prefix, sizeof prefix, "gptq.%.40s", side->desc->base.id);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (i == 0 || cpu_has(cpu_detect(), levels[i].name, missing))
            list_table(list, prefix, levels[i].name, gptq_members, levels[i].kernels, levels[0].kernels,
                       sizeof(gptq_kernels), side, side, effort);
}

static const encoding_side *side_of(const kernel_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->items[i].name, name))
            return list->items[i].reference_side;
    return NULL;
}

void list_gptq(kernel_list *list, unsigned effort)
{
    static const char *const encodings[] = {"kquants.q4_k.fit", "kquants.q3_k.fit", "legacy.q4_0.fit",
                                            "legacy.iq4_nl.fit", "ints.int4_g32_asym.fit"};
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        const encoding_side *side = side_of(list, encodings[i]);
        if (side)
            list_with(list, side, effort);
        else
            list_note(list, "gptq through %s: no such encoding here", encodings[i]);
    }
}

#else

void list_gptq(kernel_list *list, unsigned effort)
{
    (void)effort;
    list_note(list, "gptq was not built with this program");
}

#endif
