/* Causal attention with grouped queries: every key and value head serves the same number of query heads.
 *
 * Work is a span of one sequence's tokens times a head. Sums over keys rise with the key's position and leave out what
 * is masked, so results depend on neither spans nor batches.
 */
#ifndef LLAMA_ATTENTION_H
#define LLAMA_ATTENTION_H

#include "hyperparameters.h"

enum { SPAN_TOKENS = 64 };

/* Rows first .. first + n - 1 of a pass: consecutive tokens of the sequence of `length` tokens that begins at start. */
typedef struct span {
    size_t start, length, first, n;
} span;

/* All rows of a pass, in order. Scratch. */
qc_status make_spans(qc_job *job, const qc_pass *pass, span **spans, size_t *n_spans);

/* Projected rows, heads side by side. */
typedef struct attention {
    const hyperparameters *h;
    const span *spans;
    uint32_t block, heads, key_heads, window;
    float *q; /* scaled already; becomes the output */
    const float *k, *v;
} attention;

qc_status attend(const attention *a, qc_job *job, size_t n_spans);

#endif
