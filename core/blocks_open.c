/* Opening a calibrated run: whether a recipe has one, and how its memory is divided. */
#include "core/blocks_impl.h"
#include "core/calibrate.h"
#include "core/units.h"
#include "core/yaml.h"
#include <stdlib.h>
#include <unistd.h>

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

uint64_t blocks_tokens(const block_run *b)
{
    return b->windows.starts[b->windows.n];
}

/* While it is recorded. */
uint64_t blocks_input_peak(uint32_t wants, uint64_t cols, uint64_t n_matrices)
{
    return plus(record_bytes(wants, cols, n_matrices), recording_bytes(wants, cols, n_matrices));
}

uint64_t blocks_rounding_bytes(const block_run *b)
{
    return plus(pipeline_prepared_bytes(b->pipeline), pipeline_worker_bytes(b->pipeline));
}

static void add_input(input_bytes *block, const block_run *b, const model_tensor *t)
{
    uint32_t wants = b->round_wants | b->transform_wants;
    uint64_t cols = t->dims[0], n = t->dims[2] * t->dims[3], peak = blocks_input_peak(wants, cols, n);
    block->widest = peak > block->widest ? peak : block->widest;
    block->all = plus(block->all, peak);
    block->held = plus(block->held, record_bytes(wants, cols, n));
    if (b->transform_wants)
        block->first = plus(block->first, blocks_input_peak(b->transform_wants, cols, n));
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
    uint64_t wanted = plus(b->inputs.all, blocks_rounding_bytes(b)), workers = pipeline_worker_bytes(b->pipeline);
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
    uint64_t run = plus(forward_least_memory(b->forward), windows),
             least = plus(least_inputs(b), blocks_rounding_bytes(b));
    if (plus(run, least) > limit)
        return refuse_memory(b, job, run, least);
    b->room = room_for_inputs(b, limit - run);
    b->all_fit = b->inputs.all <= b->room - blocks_rounding_bytes(b);
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

void blocks_forget_values(block_run *b)
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
    blocks_forget_values(b);
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
        *steps = blocks_tokens(&b) * forward_blocks(b.forward);
    }
    forward_free(b.forward);
    sequences_free(&b.windows);
    return status;
}

qc_status blocks_threads(const block_run *b, qc_job *job, unsigned wanted, unsigned *n)
{
    uint64_t held = b->room - blocks_rounding_bytes(b);
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
    return blocks_tokens(b) * (passes(b) + 1); /* rounding stands for one more */
}

uint64_t blocks_steps(const block_run *b)
{
    return blocks_block_steps(b) * forward_blocks(b->forward);
}
