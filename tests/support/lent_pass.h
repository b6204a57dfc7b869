/* A qc_pass over made-up weights, for testing a block without a model: every weight is a hash of its name and place.
 * What was asked for is written down; what tests want wrong is wrong.
 */
#ifndef LENT_PASS_H
#define LENT_PASS_H

#include "qcore/architecture.h"
#include "qcore/ops.h"

enum { LENT_VECTORS = 16, LENT_LENGTH = 64, LENT_STOP = 7 };

typedef struct lent_pass {
    qc_pass pass; /* first */
    uint64_t width, heads, key_heads, head_size, inner;
    int has_biases, norms_heads;
    const char *missing; /* a name that the model lacks */
    const char *odd; /* one with a row (or value) too many */
    const char *infinite; /* one whose product is */
    const char *stop; /* linears with it return LENT_STOP */
    const char *factors_name; /* rotary factors of this name are there, half a head of them */
    float factor; /* all of them */
    char calls[512]; /* "name+name, name": weights by call */
    float vectors[LENT_VECTORS][LENT_LENGTH]; /* what vector has handed out */
    size_t n_vectors;
} lent_pass;

/* Sizes: those of a block of 16 channels, 4 heads of 4 that share 2 key heads, and 24 inner channels. */
void lent_begin(lent_pass *p, uint32_t block, const size_t *starts, size_t n_sequences);

#endif
