/* Joins neighbouring symbols, the pair of the lowest rank first and of equal ones the leftmost, until none is left:
 * what byte-level BPE does with its merges and SentencePiece with its scores. O(n log n). */
#ifndef SUBWORD_JOINER_H
#define SUBWORD_JOINER_H

#include "maps.h"

#define LAST_SYMBOL UINT32_MAX

typedef struct symbol {
    uint32_t id; /* QC_NO_TOKEN: what no pair joins */
    uint32_t at; /* where its bytes begin; they end where the next one's begin */
    uint32_t previous, next; /* LAST_SYMBOL: none */
} symbol;

typedef struct joiner {
    qc_job *job;
    const pair_map *pairs;
    symbol *symbols; /* in scratch, as is the queue */
    uint64_t *queue; /* a heap of rank << 32 | symbol, the least on top */
    size_t n, capacity, n_queued, queue_capacity;
} joiner;

void joiner_begin(joiner *j, qc_job *job, const pair_map *pairs);

static inline void joiner_clear(joiner *j)
{
    j->n = 0;
}

/* One more symbol at the end. */
qc_status joiner_add(joiner *j, uint32_t id, uint32_t at);

/* Joins. What is left is symbols[0], and from each the one that `next` names. */
qc_status joiner_run(joiner *j);

#endif
