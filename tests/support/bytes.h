/* Bytes put one after another, little-endian: files made by hand. */
#ifndef BYTES_H
#define BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct byte_buffer {
    unsigned char *data;
    size_t n;
} byte_buffer;

static inline void put_bytes(byte_buffer *b, const void *data, size_t n)
{
    unsigned char *grown = (unsigned char *)realloc(b->data, b->n + n + 1);
    if (!grown)
        abort();
    b->data = grown;
    if (n > 0)
        memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void put_number(byte_buffer *b, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);
        put_bytes(b, &byte, 1);
    }
}

static inline void put_u32(byte_buffer *b, uint32_t value)
{
    put_number(b, value, 4);
}

static inline void put_u64(byte_buffer *b, uint64_t value)
{
    put_number(b, value, 8);
}

static inline void put_f32(byte_buffer *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u32(b, bits);
}

static inline void put_zeros(byte_buffer *b, size_t n)
{
    while (n-- > 0)
        put_number(b, 0, 1);
}

static inline void put_padding(byte_buffer *b, size_t alignment)
{
    while (b->n % alignment != 0)
        put_number(b, 0, 1);
}

static inline void buffer_end(byte_buffer *b)
{
    free(b->data);
    b->data = NULL;
    b->n = 0;
}

#endif
