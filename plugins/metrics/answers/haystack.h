/* A sentence hidden in a text, and a question for it. */
#ifndef HAYSTACK_H
#define HAYSTACK_H

#include "greedy.h"

enum { TEXT_BYTES = 1024 };

typedef struct needle_texts {
    const char *needle, *question, *names; /* with {name} and {value}; names: separated by commas */
    unsigned digits;
} needle_texts;

/* Where a needle goes: `length` tokens in all, depth in percent; trial: which name, value and stretch of text. */
typedef struct hiding_place {
    size_t length, depth, trial, n_trials;
} hiding_place;

/* g->said, guess and answer of one question. */
qc_status haystack_make(const qc_evaluation *e, qc_job *job, const needle_texts *texts, const hiding_place *at,
                        greedy *g);

#endif
