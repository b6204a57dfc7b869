/* Sequences of tokens to be run, and the rows of logits that are wanted of them. */
#ifndef CORE_ASKED_H
#define CORE_ASKED_H

#include "core/tokens.h"

typedef struct asked {
    sequences sequences;
    size_t *first_row; /* [sequences.n + 1] */
    size_t *rows; /* [n_rows]: tokens of the sequences, counted through */
    uint32_t *next; /* [n_rows]: the token that follows; QC_NO_TOKEN after a sequence's last */
    size_t n_rows;
    size_t sequence_capacity, start_capacity, token_capacity, row_capacity, next_capacity;
} asked;

/* A copy of n tokens; logits are wanted at positions first .. end - 1. */
qc_status asked_add(asked *a, qc_job *job, const uint32_t *tokens, size_t n, size_t first, size_t end);
void asked_free(asked *a);
size_t asked_tokens(const asked *a); /* of all sequences */
size_t asked_sequence(const asked *a, size_t row); /* which one a row belongs to */

#endif
