/* An axis made by hand: matrices that read one input, with weights, maps and statistics in plain arrays. */
#ifndef MADE_AXIS_H
#define MADE_AXIS_H

#include "qcore/method.h"

enum { MADE_READERS = 3 };

typedef struct made_reader {
    qc_end end; /* first */
    qc_linear linear;
    qc_coder coder;
    qc_ops_encoding ops;
    float *w; /* [rows][cols] */
} made_reader;

typedef struct made_axis {
    qc_axis axis;
    qc_input input;
    made_reader readers[MADE_READERS];
    const qc_end *ends[MADE_READERS];
    float *mean_square, *samples; /* of the input; axis.input is NULL where it is to be unknown */
    uint32_t *map;
} made_axis;

/* One channel a column and no reader yet. Statistics are those of n_samples made-up rows. */
void made_axis_begin(made_axis *a, size_t cols, size_t n_samples);
void made_axis_end(made_axis *a);
/* Another reader, of `rows` made-up rows, that goes to an encoding of a plugin. */
made_reader *made_axis_read(made_axis *a, size_t rows, const char *plugin, const char *encoding);
/* Columns in runs of `run`, of which every `shared` in turn are the same channels. */
void made_axis_share(made_axis *a, size_t run, size_t shared);
/* What the host does: readers times the factors, the input's statistics divided. */
void made_axis_apply(made_axis *a, const float *factor);

#endif
