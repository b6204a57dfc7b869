/* Architectures: how a model family's tensors are named elsewhere. Kind "qcore.architecture/1".
 *
 * Data wherever possible: a table of names that the host reads both ways, and one call that turns config.json into
 * canonical metadata. plugin.ini: `classes = LlamaForCausalLM, …` (config.json's "architectures") and
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

typedef struct qc_architecture_desc {
    qc_desc base;
    const qc_name_rule *names; /* first match wins; ends with source NULL */
    /* Canonical metadata from the folder's config.json (hyperparameters under "<arch>.", general.*) and generated
     * tensors. [main-thread] */
    qc_status (*import)(qc_job *job, const qc_source *folder, const qc_import *out);
} qc_architecture_desc;

#endif
