/* What fuzz targets share. A target defines LLVMFuzzerTestOneInput; it is linked with libFuzzer, or with fuzz_main.c,
 * which runs a corpus and mutations of it. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); /* libFuzzer's name */

/* xorshift64: the same numbers on every machine. */
typedef struct fuzz_random {
    uint64_t state; /* not 0 */
} fuzz_random;

uint64_t fuzz_next(fuzz_random *r);
size_t fuzz_below(fuzz_random *r, size_t n); /* 0 .. n - 1; n > 0 */

typedef struct fuzz_input {
    const char *name;
    unsigned char *data;
    size_t size;
} fuzz_input;

/* A few changes to data[*size], which has room for `room` bytes; pieces may come from `other`. */
void fuzz_mutate(fuzz_random *r, unsigned char *data, size_t *size, size_t room, const fuzz_input *other);

#endif
