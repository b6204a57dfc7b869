/* Name patterns of architectures' tables: "{}" stands for the block number, "{e}" for the expert. */
#ifndef CORE_NAMES_H
#define CORE_NAMES_H

#include <stddef.h>
#include <stdint.h>

enum { NAME_BYTES = 256 }; /* of a canonical or family name, zero byte included */

typedef struct name_numbers {
    uint64_t block, expert;
} name_numbers;

/* 1 where `name` is the pattern with numbers put in (decimal, no leading zeros); the numbers in *n. */
int name_match(const char *pattern, const char *name, name_numbers *n);

/* The pattern with numbers put in; 0 where it does not fit. */
int name_fill(const char *pattern, name_numbers n, char out[NAME_BYTES]);

int name_has_block(const char *pattern);
int name_has_expert(const char *pattern);

/* The number after "blk.", or -1. */
int32_t name_block(const char *canonical);

/* Order of a GGUF file: names without a block bytewise, then by block number, then bytewise. */
int name_compare(const char *a, const char *b);

/* Does one of the comma-separated items of `list` equal `word`? list may be NULL. */
int list_has(const char *list, const char *word);
/* The next item of a comma-separated list, blanks trimmed, in item[]; NULL at the end. */
const char *list_next(const char *list, char item[NAME_BYTES]);

#endif
