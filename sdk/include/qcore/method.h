/* Methods: how codes are chosen, given what the layer's inputs look like. Kind "qcore.method/1".
 *
 * A transform returns one factor per channel of an axis and the host does the rest; a rounder prepares once per shared
 * input and then rounds any chunk of rows. Rows never interact, so results do not depend on chunking or threads.
 */
#ifndef QCORE_METHOD_H
#define QCORE_METHOD_H

#include "qcore/encoding.h"
#include "qcore/number.h"

#define QC_KIND_METHOD "qcore.method/1"

/* Flags of a descriptor. */
enum {
    /* `round` leaves w as it was, so that the host need not make it a copy. Since ABI 0.4. */
    QC_METHOD_KEEPS_WEIGHTS = 1 << 16
};

enum { QC_STAT_MEAN_SQUARE = 1, QC_STAT_GRAM = 2, QC_STAT_ABSMAX = 4, QC_STAT_SAMPLES = 8 };

/* What calibration knows of one input; absent statistics are NULL. q, k, v share one input; gate and up share one;
 * each expert has its own. Made by the host; const; borrowed. */
typedef struct qc_input {
    uint32_t size;
    size_t cols;
    uint64_t n_tokens; /* rows of X that were seen */
    const float *mean_square, *absmax; /* [cols] */
    const float *gram; /* [cols][cols], X'X / n_tokens, symmetric: both triangles are there */
    const float *samples; /* [n_samples][cols] */
    size_t n_samples;
} qc_input;

typedef struct qc_linear {
    uint32_t size;
    const char *name, *role; /* canonical name; role word of configs/roles.yaml */
    int32_t layer, expert; /* -1: none */
    size_t rows, cols; /* of the whole matrix */
    const qc_input *input; /* NULL: nothing is known of it */
    const qc_coder *coder; /* the encoding it goes to */
} qc_linear;

/* An axis: channels that some tensors write (their rows) and others read (their columns). */
typedef struct qc_end {
    uint32_t size;
    const qc_linear *linear; /* cols == 1 for a norm or bias */
    const uint32_t *map; /* channel of row/column i (UINT32_MAX: none); NULL: i */
    /* Rows [first, first + n) of the weights as they are now. [job-thread] */
    qc_status (*rows)(const struct qc_end *end, qc_job *job, size_t first, size_t n, float *w);
} qc_end;

/* Writers are divided by the factors, readers multiplied: the model computes what it did. The encoding that a reader
 * goes to is linear->coder, its input is shared by all readers. Made by the host; const; borrowed. */
typedef struct qc_axis {
    uint32_t size;
    size_t n_channels;
    const qc_input *input; /* of the readers, as factors that were chosen before have made it; NULL: unknown */
    size_t n_writers, n_readers;
    const qc_end *const *writers, *const *readers;
    const char *name; /* since ABI 0.3: "attn_norm -> attn_q, attn_k, attn_v", for messages */
} qc_axis;

/* A method has `round`, or `transform`, or both; all else may be NULL. Of the methods of a recipe, in their order, all
 * that transform do so, and the last one rounds. plugin.ini: `orders = act_order` names the setting (a bool) by which the
 * method asks for a stored column order; `tokens = 30` says how many tokens of calibration it wants for each column. */
typedef struct qc_method_desc {
    qc_desc base;
    uint32_t statistics; /* QC_STAT_*: what calibration must record; the plan refuses a run that lacks them */
    /* The state is const after this. [main-thread] */
    qc_status (*create)(qc_job *job, const qc_settings *settings, void **state);
    void (*destroy)(const qc_host *host, void *state); /* [main-thread] */
    /* One factor per channel, preset to 1. The host multiplies readers, divides writers, norms, biases, statistics.
     * [job-thread] */
    qc_status (*transform)(qc_job *job, const void *state, const qc_axis *axis, float *factor);
    /* Once per input and encoding shape (block_cols, sub_cols), outside parallel_for, so that its own has all threads;
     * not for matrices of whose input nothing is known (round then gets NULL). order: preset to 0 .. cols - 1, may be
     * permuted; NULL where none is asked for or stored. [job-thread] */
    qc_status (*prepare)(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                         uint32_t *order, void **prepared);
    void (*release)(const qc_host *host, void *prepared); /* [any-thread] */
    /* Any chunk of rows in any order; n_rows is a multiple of QC_LANES except at the end. w [n_rows][cols] is the
     * plugin's to overwrite (but see QC_METHOD_KEEPS_WEIGHTS), finite, already scaled and in `order`; dst: n_rows *
     * row_bytes, all written. [job-thread] */
    qc_status (*round)(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                       size_t n_rows, void *dst);
    uint64_t (*memory)(const void *state, size_t cols); /* bytes that `prepare` keeps. [any-thread] */
    /* Since ABI 0.3: rows that round takes best at once; 0: the host's choice, about 2^17 weights. */
    uint32_t chunk_rows;
    /* Bytes of scratch that round needs beside w and dst, for a chunk; NULL: little. [any-thread] */
    uint64_t (*round_memory)(const void *state, size_t n_rows, size_t cols);
} qc_method_desc;

/* Fails with QC_E_NUMERIC, naming the place, when a weight is NaN or Inf. w: [n_rows][cols]. */
static inline qc_status qc_check_weights(qc_job *job, const float *w, size_t n_rows, size_t cols)
{
    for (size_t row = 0; row < n_rows; row++, w += cols) {
        uint32_t bad = 0;
        for (size_t col = 0; col < cols; col++)
            bad |= (uint32_t)!qc_is_finite(w[col]);
        for (size_t col = 0; bad && col < cols; col++)
            if (!qc_is_finite(w[col]))
                return qc_fail(job, QC_E_NUMERIC, "weight is %s in row %zu of the chunk, column %zu",
                               w[col] != w[col] ? "NaN" : "Inf", row, col);
    }
    return QC_OK;
}

#endif
