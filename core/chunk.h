/* Inside the pipeline: what one chunk of rows goes through. */
#ifndef CORE_CHUNK_H
#define CORE_CHUNK_H

#include "core/pipeline.h"
#include "qcore/ops.h"

enum { CHUNK_WEIGHTS = 1 << 17 }; /* fixed: sums are grouped by chunk, and 512 KiB of floats fit the caches */

/* An item cut into chunks of `rows` rows; a chunk never reaches into the next matrix. */
typedef struct work {
    const plan_item *item;
    size_t index; /* of the item */
    const model_tensor *view; /* the rows to load; NULL: nothing to do */
    qc_coder from;
    uint64_t rows, chunks_each, n_matrices; /* chunks_each: of one matrix */
    uint64_t first_chunk, first_matrix; /* over all items; first_matrix: of those that are rounded */
} work;

typedef struct preparation preparation;

struct pipeline {
    const qc_host *host;
    const plan *plan;
    const statistics *statistics;
    const output *output;
    const qc_ops_row *ops;
    const qc_method_desc *method; /* NULL: nothing rounds */
    const plugin_use *method_use;
    qc_settings *settings;
    void *state; /* of the method */
    work *works;
    size_t n_works;
    uint64_t n_chunks, n_matrices;
    item_result *results, *sums; /* sums: one a chunk */
    preparation *preparations; /* one a matrix to be rounded; NULL: the method prepares nothing */
    uint64_t worker_bytes, most_prepared;
    const char *widest; /* the tensor that worker_bytes is for */
};

typedef struct chunk {
    const work *work;
    uint64_t matrix, row; /* row: of the whole tensor */
    size_t n_rows;
    item_result *sums;
} chunk;

/* Does the method choose its codes? Plain numbers have one nearest value each, whatever the method. */
static inline int is_rounded(const work *w)
{
    return w->view && !w->item->carried && w->item->to.desc && w->item->to.block_cols != 1;
}

qc_status chunk_run(const pipeline *p, qc_job *job, const chunk *c);

/* What a method prepares for an input is made when the first chunk asks and released after the last. */
qc_status preparations_new(pipeline *p, qc_job *job);
void preparations_free(pipeline *p);
qc_status preparation_take(const pipeline *p, qc_job *job, const chunk *c, const qc_input *input,
                           const void **prepared);
void preparation_done(const pipeline *p, const chunk *c); /* after a successful take */

#endif
