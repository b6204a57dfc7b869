/* What a block computes with: sizes, epsilon, rotary embedding and window, read once from a model's metadata. */
#ifndef LLAMA_HYPERPARAMETERS_H
#define LLAMA_HYPERPARAMETERS_H

#include "qcore/ops.h"
#include "rotary.h"

typedef struct hyperparameters {
    const llama_family *family;
    const qc_ops_row *row;
    const qc_ops_math *math;
    const qc_ops_matrix *matrix;
    uint32_t blocks, width, head_size;
    float epsilon;
    rotary rotary;
    /* Of each block. window: how many tokens one attends to, itself included; 0: all before it. */
    uint32_t *heads, *key_heads, *feed_forward, *window;
    uint32_t counts[]; /* where these are */
} hyperparameters;

/* As qc_architecture_desc.create, for a family. */
qc_status create_hyperparameters(qc_job *job, const qc_metadata *metadata, const llama_family *family, void **state);
void destroy_hyperparameters(const qc_host *host, void *state);

#endif
