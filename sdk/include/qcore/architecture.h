/* Architectures: how a model family's tensors are named elsewhere, and how a block computes. Kind "qcore.architecture/1".
 *
 * Data wherever possible: a table of names that the host reads both ways, one call that turns config.json into canonical
 * metadata, and the forward pass of one block. plugin.ini: `classes = LlamaForCausalLM, …` (config.json's "architectures") and
 * `gguf = llama` (general.architecture) tell the host which plugin to open.
 */
#ifndef QCORE_ARCHITECTURE_H
#define QCORE_ARCHITECTURE_H

#include "qcore/model.h"

#define QC_KIND_ARCHITECTURE "qcore.architecture/1"

enum {
    QC_NAME_OPTIONAL = 1, /* the model may lack it */
    QC_NAME_DROP = 2, /* known and not carried over; canonical is NULL */
    QC_NAME_KEEP_F32 = 4, /* stored as f32 whatever the recipe says (norms, biases, 1-D) */
    QC_NAME_ADD_ONE = 8, /* canonical = source + 1 */
    QC_NAME_TRANSPOSE = 16 /* source keeps [in][out] */
};

/* How rows of a source tensor become rows of the canonical one. */
enum {
    QC_ROWS_PLAIN = 0,
    /* Per head of D rows, halves to pairs: canonical row h*D + 2*i + s is source row h*D + s*D/2 + i, i < D/2, s < 2.
     * For families whose GGUF rotary embedding pairs neighbours while Hugging Face's pairs halves. */
    QC_ROWS_PAIR_QUERY_HEADS = 1, /* D = rows / head_count */
    QC_ROWS_PAIR_KEY_HEADS = 2 /* D = rows / head_count_kv */
};

/* "{}" in both names is the block number; "{e}" in a source name is the expert, whose matrices the canonical tensor
 * stacks along its third dimension. Frozen layout: crosses in arrays. */
typedef struct qc_name_rule {
    const char *source, *canonical;
    uint32_t flags, rows; /* QC_NAME_*, QC_ROWS_* */
} qc_name_rule;

/* What the channels of an axis are. */
enum {
    QC_CHANNELS_PLAIN = 0, /* channel i: row i of every writer, column i of every reader */
    /* Rows of the writers are channels of key/value heads; a reader's columns are those of query heads, each of which
     * reads the key/value head of its group: column (h, i) is channel (h / (head_count / head_count_kv), i). */
    QC_CHANNELS_VALUE_HEADS = 1
};

/* Channels between which the block computes nothing but products, so that a factor goes from one side to the other.
 * Canonical names with "{}" for the block, separated by spaces; one that begins with '?' may be absent, and where
 * another is, the model has no such axis. Vectors among the writers (norms, biases) have one number a channel. Frozen
 * layout: crosses in arrays. */
typedef struct qc_axis_rule {
    const char *writers, *readers;
    uint32_t channels; /* QC_CHANNELS_* */
} qc_axis_rule;

/* Where what a configuration says goes; everything is copied. [main-thread] */
typedef struct qc_import {
    uint32_t size;
    const qc_scan *scan; /* metadata */
    /* A tensor that the family generates (rotary factors): f32, 1-D. */
    qc_status (*vector)(const struct qc_import *out, qc_job *job, const char *canonical, const float *values, size_t n);
    /* The shape that a tensor must have, by its canonical name in the table of names; rows 0: it has one dimension. Of
     * a stack of experts, that of one. */
    qc_status (*shape)(const struct qc_import *out, qc_job *job, const char *canonical, uint64_t cols, uint64_t rows);
} qc_import;

/* A forward pass of one block over several sequences at once, lent by the host. Row r of every matrix is a token:
 * sequence s has the rows starts[s] .. starts[s + 1] - 1, at positions 0, 1, 2, … Sequences do not see each other. */
typedef struct qc_pass {
    uint32_t size;
    uint32_t block; /* number; the number of blocks for what comes after the last one */
    size_t n_tokens, n_sequences;
    const size_t *starts; /* [n_sequences + 1], the last is n_tokens */
    /* y[i] [n_tokens][rows of W_i] = x W_i' for n weights, by canonical name, that read one x [n_tokens][cols]: what
     * shares an input goes into one call, which is how statistics know. Biases are the caller's. n_tokens may be fewer
     * than the pass has (an expert's share); expert: -1, or the matrix of stacked weights. Return its status at once
     * when it is not QC_OK: the host ends a pass early with it. [job-thread, outside parallel_for] */
    qc_status (*linears)(const struct qc_pass *pass, qc_job *job, size_t n, const char *const *names, int32_t expert,
                         const float *x, size_t n_tokens, float *const *y);
    /* A vector of the model (norm, bias, rotary factors) as float32, n its length; *values NULL where it has none.
     * Borrowed until the block ends. */
    qc_status (*vector)(const struct qc_pass *pass, qc_job *job, const char *name, const float **values, size_t *n);
    /* Inputs and outputs of a weight, by canonical name (of one expert's, where they are stacked); 0 and 0 where the
     * model has none. What linears writes has the model's sizes: check them against the buffers before. */
    void (*shape)(const struct qc_pass *pass, const char *name, uint64_t *cols, uint64_t *rows);
} qc_pass;

/* `names` and `import` are needed; without `block` models of the family can be quantized, not run. */
typedef struct qc_architecture_desc {
    qc_desc base;
    const qc_name_rule *names; /* first match wins; ends with source NULL */
    /* Canonical metadata from the folder's config.json (hyperparameters under "<arch>.", general.*) and generated
     * tensors. [main-thread] */
    qc_status (*import)(qc_job *job, const qc_source *folder, const qc_import *out);
    /* Hyperparameters from canonical metadata, whoever wrote it; checked, since files are hostile. The state is const
     * after this. QC_E_UNSUPPORTED: a variant that cannot be run. [main-thread] */
    qc_status (*create)(qc_job *job, const qc_metadata *metadata, void **state);
    void (*destroy)(const qc_host *host, void *state); /* [main-thread] */
    /* Block pass->block, in place: x [n_tokens][width]. Float32 throughout; sums through op tables. [job-thread] */
    qc_status (*block)(qc_job *job, const void *state, const qc_pass *pass, float *x);
    /* What comes between the last block and output.weight (the final norm), in place. [job-thread] */
    qc_status (*finish)(qc_job *job, const void *state, const qc_pass *pass, float *x);
    /* Since ABI 0.3: axes of a block, in the order in which methods are asked; ends with writers NULL. Or NULL: none. */
    const qc_axis_rule *axes;
} qc_architecture_desc;

#endif
