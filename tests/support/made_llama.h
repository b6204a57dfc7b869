/* A made-up llama of two blocks as the bytes of a GGUF file, all right or with something wrong. */
#ifndef MADE_LLAMA_H
#define MADE_LLAMA_H

#include "bytes.h"

enum { MADE_WIDTH = 32, MADE_INNER = 48, MADE_WORDS = 64, MADE_BLOCKS = 2, MADE_EXPERTS = 3 };
#define MADE_STACK "blk.1.ffn_up_exps.weight" /* of MADE_EXPERTS matrices; no llama uses it */

/* What is wrong with the model; all NULL and 0: nothing. */
typedef struct made_flaw {
    const char *missing, *huge, *nan, *strange; /* tensors: left out, 3e38 all over, one NaN, of an unknown encoding */
    const char *family;
    uint32_t width; /* that the metadata claims */
} made_flaw;

void made_llama_put(byte_buffer *b, const made_flaw *f);
void made_llama_stack(byte_buffer *b); /* the stack's bytes, f32 */

#endif
