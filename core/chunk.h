/* Inside the pipeline: what is shared by those who cut it, transform, round and measure. */
#ifndef CORE_CHUNK_H
#define CORE_CHUNK_H

#include "core/pipeline.h"
#include "qcore/architecture.h"
#include "qcore/ops.h"

enum {
    CHUNK_WEIGHTS = 1 << 17, /* fixed: sums are grouped by chunk, and 512 KiB of floats fit the caches */
    SMALL_PREPARED = 8 << 20 /* what is prepared is that small together: all of it at once, and no thread waits */
};

/* One method of the recipe, opened. */
typedef struct opened_method {
    const plugin_use *use;
    const qc_method_desc *desc;
    qc_settings *settings;
    void *state;
    int wants_order; /* the setting that its manifest calls `orders` is on */
} opened_method;

/* What transforms came to for an item; canonical order. A vector has but columns. */
typedef struct factors {
    float *multiply; /* [cols]: every row is multiplied; NULL: not */
    float *divide; /* [rows], of a vector [cols]; NULL: not */
    job_figure figures[MAX_LINEAR_FIGURES];
    size_t n_figures;
} factors;

/* An item cut into chunks of `rows` rows; a chunk never reaches into the next matrix. */
typedef struct work {
    const plan_item *item;
    size_t index; /* of the item */
    const model_tensor *view; /* the rows to load; NULL: nothing to do */
    qc_coder from, to;
    uint32_t *order; /* column order that the output keeps, shared with its tensors; NULL: none */
    factors factors;
    uint64_t rows, chunks_each, n_matrices; /* chunks_each: of one matrix */
    uint64_t first_chunk, first_matrix; /* over all items; first_matrix: of those with a grid */
} work;

/* What a method prepared for an input and a shape of encoding; in an order, for those whose output keeps one. */
typedef struct preparation {
    const qc_input *input;
    const qc_encoding_desc *shape;
    int ordered;
    void *prepared;
    int made;
    uint64_t bytes;
    uint32_t *order; /* [cols], or NULL */
    job_figure figures[MAX_LINEAR_FIGURES];
    size_t n_figures;
} preparation;

/* Rows of one matrix that are measured: [n][cols] each, in the columns' own order and as factors have made them. */
typedef struct sampled {
    float *weights, *error, *rtn_error; /* weights NULL: nothing is measured */
    size_t n, stride;
} sampled;

/* One matrix of an item, while its stage runs. */
typedef struct portion {
    work *work;
    uint64_t matrix;
    const qc_input *input; /* or NULL */
    const preparation *prepared; /* or NULL */
    sampled sampled;
    uint64_t first_chunk; /* of the stage */
} portion;

struct pipeline {
    const qc_host *host;
    const plan *plan;
    const output *output;
    const qc_ops_row *ops;
    const qc_ops_matrix *matrices; /* NULL: nothing is measured */
    const qc_architecture_desc *family; /* NULL: not known, or no method asks for its axes */
    opened_method *methods;
    size_t n_methods;
    const opened_method *rounder; /* one of them; NULL: nothing rounds */
    const pipeline_tap *tap;
    work *works;
    size_t n_works;
    uint64_t n_chunks, n_matrices;
    item_result *results, *sums; /* sums: one a chunk */
    linear_result *linears; /* n_matrices */
    uint64_t worker_bytes, most_measured;
    uint64_t most_prepared, all_prepared; /* at once; if nothing were given back */
    const char *widest; /* the tensor that worker_bytes is for */
    uint64_t pace_steps, pace_bytes;
};

typedef struct chunk {
    const portion *portion;
    const work *work;
    uint64_t row; /* of the whole tensor */
    size_t n_rows;
    item_result *sums;
} chunk;

/* Does it go to an encoding with a grid? Plain numbers have one nearest value each, whatever the method. */
static inline int has_grid(const work *w)
{
    return w->view && w->to.desc && w->to.block_cols != 1;
}

static inline int is_scaled(const work *w)
{
    return w->factors.multiply || w->factors.divide;
}

int is_transcoded(const work *w); /* its codes fit the new encoding as they are */
int is_rounded(const work *w); /* does the method choose its codes? */

qc_status chunk_run(const pipeline *p, qc_job *job, const chunk *c);

/* ---- scale.c ---- */

/* Rows [row, row + n) of the output's view, multiplied and divided in place. */
void scale_view_rows(const work *w, uint64_t row, size_t n, float *x);
/* Rows of the view as canonical values, in place. */
void canonical_values(const work *w, size_t n, float *x);
/* The canonical row of a matrix that is row `row` of the view's. */
uint64_t canonical_row(const work *w, uint64_t row);

/* ---- measure.c ---- */

/* Room for the rows of a portion that are to be measured, and its size; none where its input has no Gram matrix. */
uint64_t sample_bytes(const pipeline *p, const portion *portion);
qc_status sample_begin(const pipeline *p, qc_job *job, portion *portion);
void sample_free(const pipeline *p, portion *portion);
/* Before factors are applied: rtn's error of the chunk's sampled rows. After: x, and w as written. */
qc_status sample_rtn(qc_job *job, const chunk *c, const float *x);
void sample_rows(const chunk *c, const float *x, const float *w);
/* Outside parallel_for, after all chunks: sums into the linear's result. */
qc_status sample_finish(const pipeline *p, qc_job *job, const portion *portion);

#endif
