/* Running a calibrated quantization, block by block: record, transform, round. */
#include "core/blocks_impl.h"
#include <stdlib.h>

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for a calibrated run");
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
    uint64_t room = b->room - blocks_rounding_bytes(b) - (b->first_pass ? b->inputs.first : 0);
    return b->all_fit || plus(b->chosen, peak) <= room;
}

/* All of an input where it fits beside those that are recorded already; else what transforms want, and the rest in
 * another pass. */
static uint32_t choose(void *arg, size_t n, const model_tensor *const *weights, int *is_last)
{
    block_run *b = arg;
    uint64_t peak = blocks_input_peak(b->round_wants | b->transform_wants, weights[0]->dims[0],
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
    blocks_forget_values(b);
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
    pipeline_set_pace(b->pipeline, blocks_tokens(b) * forward_blocks(b->forward), pipeline_bytes(b->pipeline));
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
