#include "core/blocks.h"
#include "core/calibrate.h"
#include "core/forward.h"
#include "core/record.h"
#include "core/units.h"
#include "core/yaml.h"
#include <stdlib.h>
#include <unistd.h>

/* Where an item of the block stands. */
enum { UNSEEN, SEEN, READY, DONE };

/* Of the inputs of the block that has most. */
typedef struct input_bytes {
    uint64_t widest; /* one input, while it is recorded */
    uint64_t all; /* all of them, while they are recorded */
    uint64_t held; /* all of them, afterwards */
    uint64_t first; /* what transforms want of all of them */
} input_bytes;

struct block_run {
    registry *registry;
    pipeline *pipeline;
    const plan *plan;
    const model *model;
    const recipe *recipe;
    uint32_t transform_wants, round_wants; /* QC_STAT_* */
    sequences windows;
    forward *forward;
    forward_steps *steps;
    statistics *statistics;
    recorder *recorder;
    uint64_t room; /* for statistics, what is prepared from them, and the workers' chunks */
    input_bytes inputs;
    uint64_t chosen; /* by the inputs of this pass, while they are recorded */
    int all_fit; /* all inputs of a block at once */
    int first_pass, one_stage; /* one_stage: an input at a time, as the block computes them */
    int stage_chosen;
    unsigned char *state; /* one an item */
    size_t *items; /* those to run now */
    size_t n_items;
    float ***values; /* [item][matrix]: where written weights go; NULL: nowhere */
    progress *shown;
};

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for a calibrated run");
}

/* ---- whether ---- */

qc_status blocks_wanted(qc_job *job, registry *r, const recipe *rec, int *wanted)
{
    const uint32_t sums = QC_STAT_MEAN_SQUARE | QC_STAT_ABSMAX;
    qc_status status = QC_OK;
    *wanted = rec->calibration.sequential != SEQUENTIAL_NONE;
    for (size_t i = 0; i < rec->quantize.n_methods && status == QC_OK; i++) {
        const void *desc;
        const plugin_use *use = &rec->quantize.methods[i];
        char where[300];
        status = registry_open(r, job, "method", use->id, &desc);
        const qc_method_desc *d = desc;
        *wanted |= status == QC_OK && (d->transform || (d->statistics & ~sums));
        if (status != QC_OK && *place_text(use->at, where, sizeof where))
            job_add_context(job, "%s", where);
    }
    *wanted = *wanted && rec->calibration.text.n && !rec->calibration.output;
    return status;
}

/* ---- memory ---- */

static uint64_t tokens(const block_run *b)
{
    return b->windows.starts[b->windows.n];
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* While it is recorded. */
static uint64_t input_peak(uint32_t wants, uint64_t cols, uint64_t n_matrices)
{
    return plus(record_bytes(wants, cols, n_matrices), recording_bytes(wants, cols, n_matrices));
}

static uint64_t rounding_bytes(const block_run *b)
{
    return plus(pipeline_prepared_bytes(b->pipeline), pipeline_worker_bytes(b->pipeline));
}

static void add_input(input_bytes *block, const block_run *b, const model_tensor *t)
{
    uint32_t wants = b->round_wants | b->transform_wants;
    uint64_t cols = t->dims[0], n = t->dims[2] * t->dims[3], peak = input_peak(wants, cols, n);
    block->widest = peak > block->widest ? peak : block->widest;
    block->all = plus(block->all, peak);
    block->held = plus(block->held, record_bytes(wants, cols, n));
    if (b->transform_wants)
        block->first = plus(block->first, input_peak(b->transform_wants, cols, n));
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static input_bytes measure_inputs(const block_run *b)
{
    input_bytes most = {0}, block = {0};
    for (size_t i = 0; i < b->model->n_tensors; i++) {
        const model_tensor *t = &b->model->tensors[i];
        if (i > 0 && t->layer != t[-1].layer)
            block = (input_bytes){0};
        if (!calibration_is_linear(t) || calibration_is_shared(b->model, t))
            continue;
        add_input(&block, b, t);
        most = (input_bytes){larger(most.widest, block.widest), larger(most.all, block.all),
                             larger(most.held, block.held), larger(most.first, block.first)};
    }
    return most;
}

/* Block after block, all inputs must be seen before any of its weights is replaced: at once, or what later ones see would
 * depend on memory. */
static uint64_t least_inputs(const block_run *b)
{
    int at_once = b->recipe->calibration.sequential == SEQUENTIAL_BLOCK;
    uint64_t few = plus(b->inputs.widest, b->inputs.first);
    return at_once || few > b->inputs.all ? b->inputs.all : few;
}

static qc_status refuse_memory(const block_run *b, qc_job *job, uint64_t run, uint64_t least)
{
    char needed[BYTES_TEXT], running[BYTES_TEXT], inputs[BYTES_TEXT], allowed[BYTES_TEXT];
    int at_once = b->recipe->calibration.sequential == SEQUENTIAL_BLOCK;
    return qc_fail(job, QC_E_LIMIT,
                   "%s needs %s of memory: %s to run it and %s for the statistics of %s and what is made of them; "
                   "run.memory allows %s (--memory %lluMiB is enough%s)",
                   b->model->path, bytes_text(plus(run, least), needed), bytes_text(run, running),
                   bytes_text(least, inputs), at_once ? "all inputs of a block" : "its widest input",
                   bytes_text(b->recipe->run.memory, allowed), (unsigned long long)(plus(run, least) >> 20) + 1,
                   at_once ? "; calibration.sequential: linear holds one input at a time" : "");
}

/* All inputs of a block at once where they fit, and of what is then left half for more threads that round. */
static uint64_t room_for_inputs(const block_run *b, uint64_t limit)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t wanted = plus(b->inputs.all, rounding_bytes(b)), workers = pipeline_worker_bytes(b->pipeline);
    if (wanted >= limit)
        return limit;
    workers = cpus > 1 && workers < UINT64_MAX / (uint64_t)cpus ? workers * (uint64_t)(cpus - 1) : 0;
    return wanted + (workers < (limit - wanted) / 2 ? workers : (limit - wanted) / 2);
}

/* The forward pass gets what is left when all inputs of a block are recorded at once, or what it cannot do without. */
static qc_status open_forward(block_run *b, qc_job *job)
{
    uint64_t limit = b->recipe->run.memory, windows = calibration_windows_bytes(&b->windows);
    qc_status status = forward_open(job, b->registry, b->model, limit, NULL, &b->forward);
    if (status != QC_OK)
        return status;
    b->inputs = measure_inputs(b);
    uint64_t run = plus(forward_least_memory(b->forward), windows), least = plus(least_inputs(b), rounding_bytes(b));
    if (plus(run, least) > limit)
        return refuse_memory(b, job, run, least);
    b->room = room_for_inputs(b, limit - run);
    b->all_fit = b->inputs.all <= b->room - rounding_bytes(b);
    forward_free(b->forward);
    b->forward = NULL;
    return forward_open(job, b->registry, b->model, limit - b->room - windows, NULL, &b->forward);
}

/* ---- opening ---- */

static qc_status open_parts(block_run *b, qc_job *job)
{
    qc_status status = calibration_windows(job, b->registry, b->recipe, b->model, &b->windows);
    if (status == QC_OK)
        status = open_forward(b, job);
    if (status != QC_OK)
        return status;
    b->state = calloc(b->plan->n_items + 1, sizeof *b->state);
    b->items = calloc(b->plan->n_items + 1, sizeof *b->items);
    b->values = calloc(b->plan->n_items + 1, sizeof *b->values);
    b->statistics = statistics_new(b->room);
    if (!b->state || !b->items || !b->values || !b->statistics)
        return no_memory(job);
    calibration_warn_of_few_tokens(job->host, b->registry, b->plan, (double)b->windows.starts[b->windows.n]);
    return recorder_new(job, b->statistics, b->round_wants | b->transform_wants, &b->recorder);
}

qc_status blocks_open(qc_job *job, registry *r, pipeline *p, const plan *planned, block_run **out)
{
    *out = NULL;
    block_run *b = calloc(1, sizeof *b);
    if (!b)
        return no_memory(job);
    b->registry = r;
    b->pipeline = p;
    b->plan = planned;
    b->model = planned->model;
    b->recipe = planned->recipe;
    b->transform_wants = pipeline_statistics(p, 1);
    b->round_wants = pipeline_statistics(p, 0);
    qc_status status = open_parts(b, job);
    if (status == QC_OK)
        *out = b;
    else
        blocks_free(b);
    return status;
}

static void forget_values(block_run *b)
{
    for (size_t i = 0; b->values && i < b->plan->n_items; i++) {
        free(b->values[i]);
        b->values[i] = NULL;
    }
}

void blocks_free(block_run *b)
{
    if (!b)
        return;
    forget_values(b);
    recorder_free(b->recorder);
    forward_end(b->steps);
    forward_free(b->forward);
    statistics_free(b->statistics);
    sequences_free(&b->windows);
    free(b->values);
    free(b->items);
    free(b->state);
    free(b);
}

qc_status blocks_forecast(qc_job *job, registry *r, const recipe *rec, const model *m, uint32_t wanted, uint64_t *bytes,
                          uint64_t *steps)
{
    block_run b = {.registry = r, .model = m, .recipe = rec, .round_wants = wanted};
    *bytes = *steps = 0;
    qc_status status = calibration_windows(job, r, rec, m, &b.windows);
    if (status == QC_OK)
        status = forward_open(job, r, m, rec->run.memory, NULL, &b.forward);
    if (status == QC_OK) {
        input_bytes inputs = measure_inputs(&b);
        int in_stages = rec->calibration.sequential == SEQUENTIAL_LINEAR;
        *bytes = plus(forward_least_memory(b.forward), calibration_windows_bytes(&b.windows));
        *bytes = plus(*bytes, in_stages ? inputs.widest : inputs.all);
        *steps = tokens(&b) * forward_blocks(b.forward);
    }
    forward_free(b.forward);
    sequences_free(&b.windows);
    return status;
}

qc_status blocks_threads(const block_run *b, qc_job *job, unsigned wanted, unsigned *n)
{
    uint64_t held = b->room - rounding_bytes(b);
    held = b->inputs.held < held ? b->inputs.held : held;
    return pipeline_threads(b->pipeline, job, wanted, b->recipe->run.memory - b->room + held, n);
}

/* ---- progress ---- */

/* Passes through a block, about: one for each of four inputs where they are taken one at a time. */
static uint64_t passes(const block_run *b)
{
    static const uint64_t n[] = {1, 2, 5}; /* in the order of SEQUENTIAL_* */
    int in_stages = b->recipe->calibration.sequential == SEQUENTIAL_LINEAR;
    return n[b->recipe->calibration.sequential] + (in_stages && b->transform_wants ? 1 : 0);
}

uint64_t blocks_block_steps(const block_run *b)
{
    return tokens(b) * (passes(b) + 1); /* rounding stands for one more */
}

uint64_t blocks_steps(const block_run *b)
{
    return blocks_block_steps(b) * forward_blocks(b->forward);
}

/* ---- what a pass records ---- */

static size_t item_of(const block_run *b, const model_tensor *t)
{
    return (size_t)(t - b->model->tensors);
}

static void mark(block_run *b, size_t n, const model_tensor *const *weights, unsigned char state)
{
    for (size_t i = 0; i < n; i++)
        b->state[item_of(b, weights[i])] = state;
}

static int needs_rounding(const block_run *b, size_t n, const model_tensor *const *weights)
{
    for (size_t i = 0; i < n; i++) {
        const plan_item *item = &b->plan->items[item_of(b, weights[i])];
        if (item->to.desc && item->to.block_cols != 1)
            return 1;
    }
    return 0;
}

static int fits(const block_run *b, uint64_t peak)
{
    uint64_t room = b->room - rounding_bytes(b) - (b->first_pass ? b->inputs.first : 0);
    return b->all_fit || plus(b->chosen, peak) <= room;
}

/* All of an input where it fits beside those that are recorded already; else what transforms want, and the rest in
 * another pass. */
static uint32_t choose(void *arg, size_t n, const model_tensor *const *weights, int *is_last)
{
    block_run *b = arg;
    uint64_t peak = input_peak(b->round_wants | b->transform_wants, weights[0]->dims[0],
                               weights[0]->dims[2] * weights[0]->dims[3]);
    uint32_t little = b->first_pass ? b->transform_wants : 0;
    if (b->state[item_of(b, weights[0])] == DONE)
        return 0;
    if (b->one_stage && (b->stage_chosen || b->first_pass)) {
        mark(b, n, weights, SEEN);
        return little;
    }
    if (!needs_rounding(b, n, weights) || !fits(b, peak)) {
        mark(b, n, weights, needs_rounding(b, n, weights) ? SEEN : READY);
        return little;
    }
    b->chosen += peak;
    b->stage_chosen = 1;
    *is_last = b->one_stage;
    mark(b, n, weights, READY);
    return b->round_wants | little;
}

/* ---- rounding ---- */

static int is_of_block(const block_run *b, size_t item, uint32_t block)
{
    return b->model->tensors[item].layer == (int32_t)block;
}

/* Items of the block to be run now: whose input is known; and with the first of them those that have no grid. */
static void list_items(block_run *b, uint32_t block, int with_others)
{
    b->n_items = 0;
    for (size_t i = 0; i < b->plan->n_items; i++) {
        if (!is_of_block(b, i, block) || b->state[i] == DONE)
            continue;
        const plan_item *item = &b->plan->items[i];
        int grid = item->to.desc && item->to.block_cols != 1;
        if (b->state[i] == READY || (with_others && !grid)) {
            b->items[b->n_items++] = i;
            b->state[i] = DONE;
        }
    }
}

static void take_row(void *arg, size_t item, uint64_t matrix, uint64_t row, const float *w)
{
    const block_run *b = arg;
    size_t cols = (size_t)b->model->tensors[item].dims[0];
    if (b->values[item])
        memcpy(b->values[item][matrix] + row * cols, w, cols * sizeof *w);
}

/* Room for what is written, so that the block can be run with it. */
static qc_status open_values(block_run *b, qc_job *job, size_t item)
{
    const model_tensor *t = &b->model->tensors[item];
    const plan_item *planned = &b->plan->items[item];
    uint64_t n = t->dims[2] * t->dims[3];
    int vector = t->n_rows == 1, scaled = pipeline_is_scaled(b->pipeline, item);
    if (b->values[item] || (!scaled && (planned->carried || vector)))
        return QC_OK;
    b->values[item] = calloc((size_t)n, sizeof *b->values[item]);
    qc_status status = b->values[item] ? QC_OK : no_memory(job);
    for (uint64_t k = 0; k < n && status == QC_OK; k++)
        status = forward_replace(b->forward, job, t, k, &b->values[item][k]);
    return status;
}

static qc_status run_items(block_run *b, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < b->n_items && status == QC_OK && b->recipe->calibration.sequential; i++)
        status = open_values(b, job, b->items[i]);
    if (status == QC_OK)
        status = pipeline_run(b->pipeline, job, b->items, b->n_items, b->statistics, b->shown);
    return status;
}

/* ---- factors ---- */

typedef struct folding {
    block_run *run;
    size_t item;
} folding;

static qc_status fold_row(void *arg, qc_job *job, size_t begin, size_t end)
{
    const folding *f = arg;
    const block_run *b = f->run;
    size_t cols = (size_t)b->model->tensors[f->item].dims[0];
    int changed;
    return pipeline_folded(b->pipeline, job, f->item, begin, end - begin, b->values[f->item][0] + begin * cols,
                           &changed);
}

/* Later passes of the block see it with all factors folded in, so that nothing is scaled twice. */
static qc_status fold_block(block_run *b, qc_job *job, uint32_t block)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < b->plan->n_items && status == QC_OK; i++) {
        folding f = {b, i};
        if (!is_of_block(b, i, block) || !pipeline_is_scaled(b->pipeline, i))
            continue;
        status = open_values(b, job, i);
        if (status == QC_OK)
            status = job->parallel_for(job, (size_t)b->model->tensors[i].n_rows, QC_LANES, fold_row, &f);
    }
    return status;
}

/* What a later pass recorded of the original block is scaled as the first pass's was; linears that share an input share
 * its record. */
static qc_status scale_inputs(block_run *b, qc_job *job, uint32_t block)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < b->plan->n_items && status == QC_OK; i++) {
        const qc_input *input = statistics_input(b->statistics, b->model->tensors[i].name, 0);
        int again = 0;
        if (!is_of_block(b, i, block) || b->state[i] != READY || !input)
            continue;
        for (size_t k = i; k-- > 0 && is_of_block(b, k, block) && !again;)
            again = b->state[k] == READY && statistics_input(b->statistics, b->model->tensors[k].name, 0) == input;
        if (!again)
            status = pipeline_scale_input(b->pipeline, job, b->statistics, i);
    }
    return status;
}

/* ---- a block ---- */

static qc_status record(block_run *b, qc_job *job, uint32_t block, int first, int keep)
{
    forward_watch watch = recorder_watch(b->recorder, 0);
    b->first_pass = first;
    b->chosen = 0;
    b->stage_chosen = 0;
    statistics_clear(b->statistics);
    qc_status status = forward_step(b->steps, job, block, &watch, keep);
    return status == QC_OK ? recorder_finish(b->recorder, job) : status;
}

static int is_left(const block_run *b, uint32_t block, unsigned char state)
{
    for (size_t i = 0; i < b->plan->n_items; i++)
        if (is_of_block(b, i, block) && b->state[i] == state)
            return 1;
    return 0;
}

/* Inputs that did not fit beside the others, in further passes. */
static qc_status record_rest(block_run *b, qc_job *job, uint32_t block)
{
    qc_status status = QC_OK;
    while (status == QC_OK && is_left(b, block, SEEN)) {
        status = record(b, job, block, 0, 0);
        if (status == QC_OK && !b->stage_chosen)
            return qc_fail(job, QC_E_INTERNAL, "block %u: an input was not seen again", block);
        if (status == QC_OK)
            status = scale_inputs(b, job, block);
        list_items(b, block, 0);
        if (status == QC_OK)
            status = run_items(b, job);
    }
    return status;
}

/* One pass where all inputs fit: it then goes on to the next block at once. */
static qc_status run_whole(block_run *b, qc_job *job, uint32_t block)
{
    int keep = b->all_fit && !b->recipe->calibration.sequential;
    b->one_stage = 0;
    qc_status status = record(b, job, block, 1, keep);
    if (status == QC_OK)
        status = pipeline_transform(b->pipeline, job, b->statistics, block);
    list_items(b, block, 1);
    if (status == QC_OK)
        status = run_items(b, job);
    if (status == QC_OK)
        status = record_rest(b, job, block);
    return status == QC_OK && !keep ? forward_step(b->steps, job, block, NULL, 1) : status;
}

/* An input at a time, each seen through the linears before it as they were written. */
static qc_status run_in_stages(block_run *b, qc_job *job, uint32_t block)
{
    qc_status status = QC_OK;
    b->one_stage = 1;
    if (b->transform_wants) {
        status = record(b, job, block, 1, 0);
        if (status == QC_OK)
            status = pipeline_transform(b->pipeline, job, b->statistics, block);
        if (status == QC_OK)
            status = fold_block(b, job, block);
    }
    for (int first = 1; status == QC_OK; first = 0) {
        status = record(b, job, block, 0, 0);
        list_items(b, block, first);
        if (status == QC_OK)
            status = run_items(b, job);
        if (status == QC_OK && !b->stage_chosen)
            break;
        if (!is_left(b, block, SEEN) && !is_left(b, block, UNSEEN))
            break;
    }
    return status == QC_OK ? forward_step(b->steps, job, block, NULL, 1) : status;
}

/* Linears that the block never asks for are rounded with nothing known of their input. */
static qc_status run_unseen(block_run *b, qc_job *job, uint32_t block)
{
    statistics_clear(b->statistics);
    for (size_t i = 0; i < b->plan->n_items; i++)
        b->state[i] = is_of_block(b, i, block) && b->state[i] != DONE ? READY : b->state[i];
    list_items(b, block, 1);
    return run_items(b, job);
}

static qc_status run_block(block_run *b, qc_job *job, uint32_t block)
{
    qc_status status = b->recipe->calibration.sequential == SEQUENTIAL_LINEAR ? run_in_stages(b, job, block)
                                                                              : run_whole(b, job, block);
    if (status == QC_OK)
        status = run_unseen(b, job, block);
    forget_values(b);
    forward_leave(b->forward);
    return status;
}

/* ---- the whole ---- */

/* The output's input, where it is asked for; then everything that belongs to no block. */
static qc_status run_ends(block_run *b, qc_job *job)
{
    qc_status status = QC_OK;
    statistics_clear(b->statistics);
    if (b->recipe->calibration.output_weight) {
        forward_watch watch = recorder_watch(b->recorder, 1);
        b->first_pass = 0;
        b->one_stage = 0;
        b->chosen = 0;
        status = forward_step(b->steps, job, forward_blocks(b->forward), &watch, 1);
        if (status == QC_OK)
            status = recorder_finish(b->recorder, job);
    }
    forward_leave(b->forward);
    b->n_items = 0;
    for (size_t i = 0; i < b->plan->n_items; i++)
        if (b->state[i] != DONE)
            b->items[b->n_items++] = i;
    if (status == QC_OK)
        status = pipeline_know_embedding(b->pipeline, job, b->statistics);
    return status == QC_OK ? pipeline_run(b->pipeline, job, b->items, b->n_items, b->statistics, b->shown) : status;
}

qc_status blocks_run(block_run *b, qc_job *job, progress *shown)
{
    const pipeline_tap tap = {b, take_row};
    b->shown = shown;
    pipeline_set_pace(b->pipeline, tokens(b) * forward_blocks(b->forward), pipeline_bytes(b->pipeline));
    pipeline_set_tap(b->pipeline, b->recipe->calibration.sequential ? &tap : NULL);
    recorder_choose(b->recorder, choose, b);
    qc_status status = forward_begin(b->forward, job, &b->windows, shown, &b->steps);
    for (uint32_t block = 0; block < forward_blocks(b->forward) && status == QC_OK; block++)
        status = run_block(b, job, block);
    if (status == QC_OK)
        status = run_ends(b, job);
    pipeline_set_tap(b->pipeline, NULL);
    return status;
}
