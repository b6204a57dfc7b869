/* The sizes that a config gives, and the shapes of tensors that follow from them. */
#ifndef LLAMA_SHAPES_H
#define LLAMA_SHAPES_H

#include "conversion.h"

typedef struct sizes {
    uint32_t blocks, context, embedding, feed_forward, vocabulary;
    uint32_t heads, key_heads, head_size, given_head_size; /* given_head_size: 0 where the config names none */
    double epsilon;
} sizes;

void put_shapes(conversion *c, const sizes *s);

#endif
