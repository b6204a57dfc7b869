/* Entries of encodings that work on grids: scales chosen, codes found, both stored and read back. What an encoding keeps
 * in a grid's state is its own; what pack makes of it is compared. */
#include "encoding_cases.h"

typedef void (*fit_fn)(const qc_coder *e, qc_grid *g, const float *x, const float *importance, uint32_t sub,
                       uint32_t n_subs);
typedef void (*snap_fn)(const qc_coder *e, qc_grid *g, float *value, int32_t *code, const float *x,
                        const float *importance, uint32_t col);
typedef void (*pack_fn)(const qc_coder *e, void *dst, const qc_grid *g, const int32_t *code, size_t n_rows);
typedef void (*unpack_fn)(const qc_coder *e, qc_grid *g, int32_t *code, const void *src, size_t n_rows);
typedef void (*neighbour_fn)(const qc_coder *e, const qc_grid *g, uint32_t sub, int32_t a, int32_t b, float *step,
                             float *offset);
typedef int (*adopt_fn)(const qc_coder *e, qc_grid *g);

/* The grid's buffers are the first three of every call. */
enum { STEP, OFFSET, STATE, AFTER_GRID };

static void grid_buffers(const encoding_case *z, call *c, buffer_use use, const qc_grid *g)
{
    const size_t n = qc_n_subs(&z->coder) * QC_LANES;
    for (int i = STEP; i <= STATE; i++) {
        static const char *const names[] = {"step", "offset", "state"};
        const void *from[] = {g ? g->step : NULL, g ? g->offset : NULL, g ? g->state : NULL};
        const buffer_type type = i == STATE ? TYPE_PRIVATE : TYPE_FLOATS;
        const size_t size = i == STATE ? z->reference->desc->state_bytes : n;
        if (use == BUFFER_WRITE)
            call_writes(c, names[i], type, size);
        else if (use == BUFFER_UPDATE)
            call_updates(c, names[i], type, from[i], size);
        else
            call_reads(c, names[i], type, from[i], size);
    }
}

static qc_grid grid_at(const call *c)
{
    return (qc_grid){.size = sizeof(qc_grid),
                     .step = (float *)(void *)c->buffers[STEP].at,
                     .offset = (float *)(void *)c->buffers[OFFSET].at,
                     .state = c->buffers[STATE].at};
}

static float *floats_at(const call *c, size_t i)
{
    return (float *)(void *)c->buffers[i].at;
}

static int32_t *ints_at(const call *c, size_t i)
{
    return (int32_t *)(void *)c->buffers[i].at;
}

/* The last two buffers of calls that change a grid: codes, and the bytes that pack makes of both. */
static void pack_buffers(const encoding_case *z, call *c, uint32_t *random)
{
    call_reads(c, "code", TYPE_INTS, new_codes(z, random), z->piece_cols * QC_LANES);
    call_writes(c, "packed", TYPE_BYTES, piece_bytes(z));
}

static void pack_after(const qc_coder *e, const qc_grid *g, const call *c)
{
    e->ops->pack(e, c->buffers[c->n_buffers - 1].at, g, ints_at(c, c->n_buffers - 2), c->number[ROWS]);
}

/* Blocks only; plain numbers have no grid. */
static int grid_case(const kernel *k, size_t i, uint32_t *random, call *c, encoding_case *z)
{
    return encoding_case_new(k, i, random, c, z) && z->reference->ops->fit && z->reference->ops->pack;
}

/* ---- fit ---- */

static void run_fit(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    qc_grid g = grid_at(c);
    ((fit_fn)fn)(&e, &g, floats_at(c, AFTER_GRID), floats_at(c, AFTER_GRID + 1), (uint32_t)c->number[PLACE],
                 (uint32_t)c->number[MOVE_A]);
    pack_after(&e, &g, c);
}

/* All sub-blocks of an empty grid, or some of one that was fitted to other weights. */
static int make_fit(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!grid_case(k, i, random, c, &z))
        return 0;
    const size_t n_subs = qc_n_subs(&z.coder);
    const int some = i != BENCH_CASE && n_subs > 1 && (random_next(random) & 1);
    const size_t sub = some ? random_below(random, n_subs) : 0;
    const size_t n = some ? 1 + random_below(random, n_subs - sub) : n_subs;
    const qc_grid before = new_grid(&z, random);
    grid_buffers(&z, c, n < n_subs ? BUFFER_UPDATE : BUFFER_WRITE, &before);
    for (int b = STEP; b <= OFFSET; b++)
        c->buffers[b].lanes = z.n_rows;
    c->number[PLACE] = sub;
    c->number[MOVE_A] = n;
    call_reads(c, "x", TYPE_FLOATS, new_tile(&z, random), z.piece_cols * QC_LANES);
    call_reads(c, "importance", TYPE_FLOATS, new_importance(&z, z.piece_cols, random), z.piece_cols);
    pack_buffers(&z, c, random);
    snprintf(c->input + strlen(c->input), sizeof c->input - strlen(c->input), ", sub-blocks %zu to %zu of %zu", sub,
             sub + n - 1, n_subs);
    return 1;
}

const signature fit_signature = {run_fit, make_fit};

/* ---- snap ---- */

static void run_snap(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    qc_grid g = grid_at(c);
    const size_t at = AFTER_GRID, run = e.desc->snap_cols;
    for (size_t col = c->number[PLACE], done = 0; done < c->number[MOVE_A]; col += run, done += run)
        ((snap_fn)fn)(&e, &g, floats_at(c, at) + done * QC_LANES, ints_at(c, at + 1) + done * QC_LANES,
                      floats_at(c, at + 2) + done * QC_LANES, floats_at(c, at + 3), (uint32_t)col);
}

/* Steps of a power of two and no offset: weights that are ties then lie halfway between two codes, exactly. */
static void make_ties(const encoding_case *z, qc_grid *g, float *x)
{
    for (size_t j = 0; j < qc_n_subs(&z->coder) * QC_LANES; j++) {
        g->step[j] = j & 1 ? 0.25f : -0.25f;
        g->offset[j] = 0.0f;
    }
    for (size_t j = 0; j < z->piece_cols * QC_LANES; j++)
        x[j] *= j & 2 ? 0.25f : 0.03125f;
}

/* Some columns of the block, for a grid that was fitted to weights like these. */
static int make_snap(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!grid_case(k, i, random, c, &z))
        return 0;
    const size_t run = z.reference->desc->snap_cols, runs = z.piece_cols / run;
    const size_t first = i == BENCH_CASE ? 0 : random_below(random, runs);
    const size_t n = i == BENCH_CASE ? runs : 1 + random_below(random, runs - first);
    qc_grid g = new_grid(&z, random);
    float *x = new_tile(&z, random);
    if (z.kind == INPUT_TIES)
        make_ties(&z, &g, x);
    grid_buffers(&z, c, BUFFER_UPDATE, &g);
    call_writes(c, "value", TYPE_FLOATS, n * run * QC_LANES)->lanes = z.n_rows;
    call_writes(c, "code", TYPE_INTS, n * run * QC_LANES)->lanes = z.n_rows;
    call_reads(c, "x", TYPE_FLOATS, x + first * run * QC_LANES, n * run * QC_LANES);
    call_reads(c, "importance", TYPE_FLOATS, new_importance(&z, z.piece_cols, random), z.piece_cols);
    c->number[PLACE] = first * run;
    c->number[MOVE_A] = n * run;
    c->elements = n * run * QC_LANES;
    return 1;
}

const signature snap_signature = {run_snap, make_snap};

/* ---- pack, unpack ---- */

static void run_pack(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    const qc_grid g = grid_at(c);
    ((pack_fn)fn)(&e, c->buffers[AFTER_GRID + 1].at, &g, ints_at(c, AFTER_GRID), c->number[ROWS]);
}

static int make_pack(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!grid_case(k, i, random, c, &z))
        return 0;
    const qc_grid g = new_grid(&z, random);
    grid_buffers(&z, c, BUFFER_READ, &g);
    pack_buffers(&z, c, random);
    return 1;
}

static void run_unpack(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    qc_grid g = grid_at(c);
    ((unpack_fn)fn)(&e, &g, ints_at(c, AFTER_GRID), c->buffers[AFTER_GRID + 1].at, c->number[ROWS]);
    e.ops->pack(&e, c->buffers[AFTER_GRID + 2].at, &g, ints_at(c, AFTER_GRID), c->number[ROWS]);
}

static int make_unpack(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!grid_case(k, i, random, c, &z))
        return 0;
    grid_buffers(&z, c, BUFFER_WRITE, NULL);
    for (int b = STEP; b <= OFFSET; b++)
        c->buffers[b].lanes = z.n_rows;
    call_writes(c, "code", TYPE_INTS, z.piece_cols * QC_LANES)->lanes = z.n_rows;
    call_reads(c, "src", TYPE_BYTES, new_bytes(&z, z.n_rows, random), piece_bytes(&z));
    call_writes(c, "packed again", TYPE_BYTES, piece_bytes(&z));
    return 1;
}

const signature pack_signature = {run_pack, make_pack};
const signature unpack_signature = {run_unpack, make_unpack};

/* ---- neighbour, adopt ---- */

static int32_t any_move(uint32_t *random)
{
    return random_next(random) % 8 ? (int32_t)random_below(random, 9) - 4 : (int32_t)random_below(random, 600) - 300;
}

static void run_neighbour(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    const qc_grid g = grid_at(c);
    ((neighbour_fn)fn)(&e, &g, (uint32_t)c->number[PLACE], (int32_t)(int64_t)c->number[MOVE_A],
                       (int32_t)(int64_t)c->number[MOVE_B], floats_at(c, AFTER_GRID), floats_at(c, AFTER_GRID + 1));
}

static int make_neighbour(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!grid_case(k, i, random, c, &z))
        return 0;
    const qc_grid g = new_grid(&z, random);
    grid_buffers(&z, c, BUFFER_READ, &g);
    call_writes(c, "new step", TYPE_FLOATS, QC_LANES)->lanes = z.n_rows;
    call_writes(c, "new offset", TYPE_FLOATS, QC_LANES)->lanes = z.n_rows;
    const int32_t a = i == BENCH_CASE ? 1 : any_move(random), b = i == BENCH_CASE ? 0 : any_move(random);
    c->number[PLACE] = i == BENCH_CASE ? 0 : random_below(random, qc_n_subs(&z.coder));
    c->number[MOVE_A] = (size_t)(int64_t)a;
    c->number[MOVE_B] = (size_t)(int64_t)b;
    c->elements = QC_LANES;
    snprintf(c->input + strlen(c->input), sizeof c->input - strlen(c->input), ", moved by %d, %d", (int)a, (int)b);
    return 1;
}

static void run_adopt(any_fn fn, const void *side, call *c)
{
    const qc_coder e = coder_for(side, c->number[COLS]);
    qc_grid g = grid_at(c);
    c->result = (uint64_t)(int64_t)((adopt_fn)fn)(&e, &g);
    pack_after(&e, &g, c);
}

/* One sub-block's scales are a neighbour's, or, in one case of four, what hardly can be stored. */
static int make_adopt(const kernel *k, size_t i, uint32_t *random, call *c)
{
    encoding_case z;
    if (!grid_case(k, i, random, c, &z) || !z.reference->ops->neighbour)
        return 0;
    qc_grid g = new_grid(&z, random);
    const uint32_t sub = (uint32_t)random_below(random, qc_n_subs(&z.coder));
    const int32_t a = (int32_t)random_below(random, 3) - 1, b = (int32_t)random_below(random, 3) - 1;
    z.coder.ops->neighbour(&z.coder, &g, sub, a, b, g.step + sub * QC_LANES, g.offset + sub * QC_LANES);
    if (i != BENCH_CASE && random_next(random) % 4 == 0)
        g.step[sub * QC_LANES + random_below(random, QC_LANES)] = random_float(random, 0.0f, 1.0f);
    grid_buffers(&z, c, BUFFER_UPDATE, &g);
    pack_buffers(&z, c, random);
    return 1;
}

const signature neighbour_signature = {run_neighbour, make_neighbour};
const signature adopt_signature = {run_adopt, make_adopt};
