/* GGUF files made by hand, piece by piece: good ones and ones that no writer would make. */
#ifndef GGUF_BYTES_H
#define GGUF_BYTES_H

#include "bytes.h"

enum { GGUF_ARRAY = 9, GGUF_F32 = 0, GGUF_Q4_K = 12 };

static inline void put_text(byte_buffer *b, const char *text)
{
    put_u64(b, strlen(text));
    put_bytes(b, text, strlen(text));
}

static inline void put_head(byte_buffer *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    put_bytes(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_keys);
}

static inline void put_key(byte_buffer *b, const char *key, uint32_t type, uint64_t value, size_t n)
{
    put_text(b, key);
    put_u32(b, type);
    put_number(b, value, n);
}

static inline void put_tensor(byte_buffer *b, const char *name, uint32_t n_dims, uint64_t dim0, uint64_t dim1,
                              uint32_t type, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, i == 0 ? dim0 : i == 1 ? dim1 : 1);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_array(byte_buffer *b, const char *key, uint32_t type, uint64_t count)
{
    put_text(b, key);
    put_u32(b, GGUF_ARRAY);
    put_u32(b, type);
    put_u64(b, count);
}

#endif
