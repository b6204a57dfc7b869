/* Projected heads on their way to attention: bias, norm, rotation and scale. */
#ifndef LLAMA_HEADS_H
#define LLAMA_HEADS_H

#include "attention.h"

/* q, k or v: rows of heads side by side. bias, norm: NULL where there is none. */
typedef struct projection {
    float *rows;
    uint32_t heads;
    int rotated;
    const float *bias, *norm; /* [heads * head size], [head size] */
} projection;

typedef struct heads_work {
    const hyperparameters *h;
    const span *spans;
    rotary_tables tables;
    projection of[3]; /* q, k, v */
    float scale; /* of q */
} heads_work;

/* spans and scale are set here. */
qc_status prepare_heads(qc_job *job, const span *spans, size_t n_spans, heads_work *work);

#endif
