/* Inside a calibrated run: what is shared by those who open it and divide its memory (blocks_open.c) and those who run its
 * blocks (blocks.c). */
#ifndef CORE_BLOCKS_IMPL_H
#define CORE_BLOCKS_IMPL_H

#include "core/blocks.h"
#include "core/forward.h"
#include "core/record.h"

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

uint64_t blocks_tokens(const block_run *b); /* of the text */
uint64_t blocks_input_peak(uint32_t wants, uint64_t cols, uint64_t n_matrices); /* while one input is recorded */
uint64_t blocks_rounding_bytes(const block_run *b); /* what rounding takes beside the inputs */
void blocks_forget_values(block_run *b);

/* Bytes of two things; all there are where that is too many for a number. */
static inline uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

#endif
