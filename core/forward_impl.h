/* The inside of a forward pass, shared by forward.c and forward_*.c. */
#ifndef CORE_FORWARD_IMPL_H
#define CORE_FORWARD_IMPL_H

#include "core/forward.h"
#include "core/hidden.h"
#include "core/job.h"
#include "qcore/encoding.h"
#include "qcore/ops.h"

enum {
    LARGEST_BATCH = 2048, /* tokens: enough for weights to be read seldom, and few enough for their activations */
    SMALLEST_BATCH = 512 /* for which there must be room; one longer sequence asks for more when it comes */
};

/* A matrix (or vector) as float32, or its bytes as stored. */
typedef struct decoded {
    const model_tensor *tensor; /* NULL: none any more; the room is for the next of that size */
    uint64_t matrix; /* expert */
    void *values; /* owned: pages_free */
    uint64_t bytes;
    int replaced; /* the values are not the file's */
    int stored; /* bytes, not float32 */
} decoded;

struct forward {
    const model *model;
    registry *registry;
    const qc_host *host;
    const qc_ops_row *rows;
    const qc_ops_matrix *matrices;
    const qc_architecture_desc *architecture;
    void *state; /* of the architecture */
    model_view metadata;
    char *folder; /* for temporary files; NULL: the default */
    const model_tensor *embedding, *output; /* the same where they are tied */
    size_t width;
    uint32_t n_blocks;
    int quantized; /* products in 8 bits */
    qc_coder *coders; /* one a tensor of the model; size 0: not made yet */
    uint64_t memory, block_bytes, token_bytes; /* of the largest block; activations of one token */
    size_t batch_tokens;
    decoded *decoded; /* what is in memory */
    size_t n_decoded, capacity;
    uint64_t decoded_bytes;
};

uint64_t forward_room(const forward *f); /* tokens that fit beside the largest block */
/* What is wrong with a model is told with its path: there may be two that run. */
qc_status forward_blame(const forward *f, qc_job *job, qc_status status);

/* ---- forward_weights.c ---- */

/* By canonical name; "output.weight" finds the embedding where they are tied. NULL: none. */
const model_tensor *forward_tensor(const forward *f, const char *name);
/* How its rows are stored; fails where no plugin decodes that. Outside parallel_for. */
qc_status forward_coder(forward *f, qc_job *job, const model_tensor *t, const qc_coder **coder);
/* Rows [row, row + n) by all threads. */
qc_status forward_decode(forward *f, qc_job *job, const model_tensor *t, uint64_t row, size_t n, float *x);
/* All of one matrix, kept until forward_forget. */
qc_status forward_take(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, const float **values);
/* The same as bytes, of tensors that are multiplied so. */
qc_status forward_take_stored(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, const void **bytes);
/* As it is kept in memory; 0 where one matrix has more bytes than 64 bits count. */
int forward_matrix_bytes(const forward *f, const model_tensor *t, uint64_t *bytes);

/* ---- forward_quantized.c ---- */

/* Is this tensor multiplied as it is stored? Its coder is made. */
int forward_as_stored(const forward *f, const model_tensor *t);
uint64_t forward_activation_bytes(uint64_t cols); /* of one token's rounded input */
/* Inputs in 8 bits, in scratch. x: finite; cols: a multiple of QC_ACTIVATION_COLS. */
qc_status forward_round(const forward *f, qc_job *job, const float *x, size_t n_tokens, size_t cols,
                        qc_activations *out);
/* y [tokens][ldy] of n_rows rows as stored. */
qc_status forward_dot(qc_job *job, const qc_coder *coder, const void *rows, size_t n_rows, const qc_activations *x,
                      float *y, size_t ldy);
/* Bytes of rows [row, row + n) by all threads. */
qc_status forward_read(forward *f, qc_job *job, const model_tensor *t, uint64_t row, size_t n, void *bytes);

/* ---- forward_pass.c ---- */

typedef struct pass {
    qc_pass api; /* first: its functions get it back */
    forward *forward;
    const forward_watch *watch; /* or NULL */
    size_t *starts; /* room for those of any batch */
    size_t first_sequence; /* of the batch, in the run */
} pass;

void pass_init(pass *p, forward *f, size_t *starts);
/* Rows of a float32 [n][cols], by all threads: the first that is not finite, or n. */
qc_status forward_check(const forward *f, qc_job *job, const float *x, size_t n, size_t cols, size_t *bad);
/* "block 3", "the final norm"; where a row of the pass lies: "sequence 2, token 17" (counted from 0). */
const char *pass_block(const pass *p, char text[32]);
const char *pass_place(const pass *p, size_t row, char text[64]);

#endif
