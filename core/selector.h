/* Which of n things, counted from 0: "3", "0-7", "first_eighth", "last_2", "every_third". */
#ifndef CORE_SELECTOR_H
#define CORE_SELECTOR_H

#include <stdint.h>

typedef struct selector {
    enum {
        SELECT_RANGE, /* a .. b */
        SELECT_FIRST,
        SELECT_LAST, /* a of them */
        SELECT_FIRST_PART,
        SELECT_LAST_PART, /* one a-th, rounded down as llama-quantize does: i < n/a, i >= (a-1)n/a */
        SELECT_MIDDLE, /* neither in the first nor in the last a-th */
        SELECT_EVERY_THIRD /* past the first eighth, each third one */
    } kind;
    uint64_t a, b;
} selector;

int selector_parse(const char *text, selector *out); /* 0: not a selector */
int selector_hits(const selector *s, uint64_t i, uint64_t n);

extern const char selector_help[]; /* what may be written, for messages */

#endif
