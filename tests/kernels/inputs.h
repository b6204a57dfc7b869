/* Numbers that break kernels: all finite, the same for the same seed. */
#ifndef INPUTS_H
#define INPUTS_H

#include <stddef.h>
#include <stdint.h>

typedef enum input_kind {
    INPUT_GAUSS,
    INPUT_EQUAL, /* one value throughout */
    INPUT_ZEROS, /* of both signs */
    INPUT_LARGEST, /* +FLT_MAX, -FLT_MAX and what is near */
    INPUT_SMALLEST, /* the least normal numbers */
    INPUT_DENORMAL,
    INPUT_POWERS, /* of two, of all sizes */
    INPUT_TIES, /* halfway between two whole numbers, and one ulp off */
    INPUT_MIXED, /* all magnitudes next to each other */
    INPUT_OUTLIER, /* one large, the rest small */
    INPUT_RUNS, /* 16 neighbours each of one magnitude, some of one value */
    INPUT_SHIFTED, /* far from 0, close together */
    INPUT_HEAVY, /* heavy tails */
    INPUT_BITS, /* any bits that are a finite number */
    INPUT_KINDS
} input_kind;

const char *input_name(input_kind kind);

uint32_t random_next(uint32_t *random);
size_t random_below(uint32_t *random, size_t n);
float random_float(uint32_t *random, float low, float high);

void input_fill(float *x, size_t n, input_kind kind, uint32_t *random);
void input_bytes(void *x, size_t n, uint32_t *random);

/* Weights of columns: 0: none (NULL is meant), 1: about 1, some 0, some large; 2: all 0; 3: one huge, the rest 0 or tiny;
 * 4: all equal; 5: denormal, in every other run of 32 at least. */
enum { IMPORTANCE_KINDS = 6 };
const char *importance_name(size_t kind);
void importance_fill(float *f, size_t n, size_t kind, uint32_t *random);

#endif
