/* Looking at a model: range, spread and tails of its weights, and input channels whose magnitude stands out. */
#ifndef CORE_INSPECT_H
#define CORE_INSPECT_H

#include "core/progress.h"
#include "core/statistics.h"
#include <stdio.h>

enum {
    INSPECT_SIGMAS = 6, /* beyond so many standard deviations from the mean a weight is counted */
    INSPECT_TIMES = 6, /* a channel stands out from so many times the median on */
    INSPECT_TOP = 3 /* channels named of each input */
};

/* The numbers of one tensor. NaN and Inf are counted, and left out of all else. */
typedef struct weight_view {
    const model_tensor *tensor;
    int decoded; /* 0: no plugin decodes its encoding, nothing else is known */
    uint64_t n, n_nan, n_infinite, n_beyond; /* n: finite ones; n_beyond: of them, beyond INSPECT_SIGMAS */
    float minimum, maximum;
    double mean, mean_square, deviation;
    double kurtosis; /* fourth central moment over the squared second: 3 of a normal distribution; 0: all equal */
} weight_view;

typedef struct channel_view {
    size_t channel;
    float magnitude; /* root of the mean square */
    float largest; /* absolute maximum; negative: not known */
} channel_view;

/* One input of one or more linears. */
typedef struct input_view {
    const model_tensor **tensors; /* owned */
    size_t n_tensors, n_channels, n_beyond;
    uint64_t matrix; /* expert, where tensors are stacks */
    uint64_t n_tokens;
    float median; /* of the channels' magnitudes */
    channel_view top[INSPECT_TOP]; /* largest first */
    size_t n_top;
} input_view;

typedef struct inspection inspection;

/* Coders of all tensors, and how they are cut. memory: run.memory. m, and r, live as long. */
qc_status inspection_new(qc_job *job, registry *r, const model *m, uint64_t memory, inspection **out);
void inspection_free(inspection *i);
unsigned inspection_threads(const inspection *i); /* that memory has room for */
uint64_t inspection_bytes(const inspection *i); /* to be read: the steps of its progress */

/* Reads all weights, twice: moments about a mean want the mean first. */
qc_status inspection_weights(inspection *i, qc_job *job, progress *shown);
/* Inputs that the statistics know; each once, whoever shares it. */
qc_status inspection_inputs(inspection *i, qc_job *job, const statistics *s);

const weight_view *inspection_views(const inspection *i, size_t *n); /* in the model's order */
const input_view *inspection_input_views(const inspection *i, size_t *n);

void inspection_print(const inspection *i, FILE *file);
void inspection_json(const inspection *i, FILE *file);

#endif
