/* Running a model, block by block: one block's weights in memory at a time, all sequences through it in batches, hidden
 * states in memory or, beyond run.memory, in a temporary file. Results depend on neither batches, threads nor memory. */
#ifndef CORE_FORWARD_H
#define CORE_FORWARD_H

#include "core/progress.h"
#include "core/tokens.h"

typedef struct forward forward;
typedef struct forward_steps forward_steps;
typedef struct hidden_states hidden_states;

/* What a run may look at. Called on the caller's thread, in the order of the pass; any member may be NULL. */
typedef struct forward_watch {
    void *arg;
    /* After n weights were multiplied with one x [n_tokens][cols]: y[i] = W_i x; expert: -1, or of a stack. Tokens of all
     * batches come in rising order, block by block. */
    qc_status (*linears)(void *arg, qc_job *job, size_t n, const model_tensor *const *weights, int32_t expert,
                         const float *x, size_t n_tokens, const float *const *y);
    qc_status (*block_done)(void *arg, qc_job *job, uint32_t block); /* after its last batch */
    int before; /* `linears` is asked before the products are made, with y NULL: FORWARD_ENOUGH then spares them */
    int output; /* also for output.weight, over all tokens, after the last block (y is then NULL) */
} forward_watch;

/* The architecture's state and a coder for every tensor it may ask for. memory: run.memory, of which the largest block's
 * weights as float32 and one batch must find room, or it fails with the number needed. folder: for the temporary file;
 * NULL: $TMPDIR, or /tmp. m, and r, live as long. */
qc_status forward_open(qc_job *job, registry *r, const model *m, uint64_t memory, const char *folder, forward **out);
/* The same, but inputs are rounded to 8 bits and meet weights as they are stored, where the encoding has such products
 * (qc_ops_encoding.dot): less memory and time, as other programs run quantized models. Tensors in other encodings, norms,
 * attention and embeddings stay float32. For judging alone: no weight can be replaced. */
qc_status forward_open_quantized(qc_job *job, registry *r, const model *m, uint64_t memory, const char *folder,
                                 forward **out);
void forward_free(forward *f);
size_t forward_vocabulary(const forward *f); /* rows of output.weight (of token_embd.weight where that is tied) */
size_t forward_width(const forward *f);
uint32_t forward_blocks(const forward *f);
/* What it will need beside the sequences: weights of the largest block and a batch. */
uint64_t forward_memory(const forward *f);
uint64_t forward_least_memory(const forward *f); /* what it cannot do with less than */

/* All blocks and the final norm over all sequences. Ids beyond the vocabulary fail; NaN or Inf after a block fails,
 * naming the block, and the tensor whose product first had one. shown: steps of tokens x blocks; may be NULL. */
qc_status forward_run(forward *f, qc_job *job, const sequences *s, const forward_watch *watch, progress *shown,
                      hidden_states **out);
void hidden_free(hidden_states *h);

/* ---- step by step, for those who change weights on the way ---- */

/* What a watch's `linears` returns when it needs no more of this batch's block: the rest of it is left out. Not in
 * forward_run, nor in a step that keeps what comes out. */
enum { FORWARD_ENOUGH = 1 };

/* Ready for block 0: embeddings of all sequences. s lives as long. shown: every step counts its tokens, but for the one
 * after the last block. What was in memory, replaced weights too, is forgotten. */
qc_status forward_begin(forward *f, qc_job *job, const sequences *s, progress *shown, forward_steps **out);
/* All sequences through one block (n_blocks: what comes after the last). keep: what comes out is the next block's input;
 * else the block's input stays, and it can be run again (after FORWARD_ENOUGH it must). Weights stay in memory until
 * forward_leave. block_done is not called. */
qc_status forward_step(forward_steps *r, qc_job *job, uint32_t block, const forward_watch *watch, int keep);
/* Other values for a tensor that the block (or its norms, biases) asks for: the caller fills [rows][cols] of *values
 * before the next step; they are the tensor's until forward_leave. The second call for one gives what is there. */
qc_status forward_replace(forward *f, qc_job *job, const model_tensor *t, uint64_t matrix, float **values);
/* Gives back the memory of all weights but the replaced ones, for work between two steps; the next step reads them anew. */
void forward_rest(forward *f);
/* The block is done: its weights, the replaced ones too, are forgotten; their memory is the next block's. */
void forward_leave(forward *f);
void forward_end(forward_steps *r); /* NULL is fine */

/* Logits of n rows (tokens of the sequences, counted through; rising): logits [n][vocabulary]. Where there is no room
 * for output.weight as a whole, every call decodes it once: ask for a few hundred rows at least. */
qc_status forward_logits(forward *f, qc_job *job, const hidden_states *h, const size_t *rows, size_t n, float *logits);

/* A weight matrix (expert's; 0 of plain tensors) as float32 [rows][cols], as replaced where it was; kept until
 * forward_forget (in steps: forward_rest, forward_leave). */
qc_status forward_weight(forward *f, qc_job *job, const char *name, int32_t expert, const float **w, size_t *rows,
                         size_t *cols);
void forward_forget(forward *f); /* gives back the memory of all weights */

#endif
