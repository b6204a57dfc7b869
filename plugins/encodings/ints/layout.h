/* One row's codes to and from their bit string, as ints.h draws it. Part of kernels.c, built once per CPU level. */
#ifndef INTS_LAYOUT_H
#define INTS_LAYOUT_H

#include "ints.h"

/* 8 codes move at once: one in each byte of a word, or all in its lowest 8 * bits bits. Neighbours are joined to pairs,
 * pairs to fours, fours to the whole; and parted the other way. */
static inline uint64_t join_codes(uint64_t x, uint32_t bits)
{
    const uint64_t even_bytes = 0x00ff00ff00ff00ffu, even_pairs = 0x0000ffff0000ffffu;
    x = (x & even_bytes) | (x >> 8 & even_bytes) << bits;
    x = (x & even_pairs) | (x >> 16 & even_pairs) << 2 * bits;
    return (x & 0xffffffffu) | x >> 32 << 4 * bits;
}

static inline uint64_t part_codes(uint64_t x, uint32_t bits)
{
    const uint64_t four = ((uint64_t)1 << 4 * bits) - 1, pair = ((uint64_t)1 << 2 * bits) - 1;
    const uint64_t pairs = pair | pair << 32, ones = (((uint64_t)1 << bits) - 1) * 0x0001000100010001u;
    x = (x & four) | (x >> 4 * bits & four) << 32;
    x = (x & pairs) | (x >> 2 * bits & pairs) << 16;
    return (x & ones) | (x >> bits & ones) << 8;
}

/* Little-endian words of which n_bytes exist. */
static inline uint64_t load_some(const uint8_t *p, size_t n_bytes)
{
    uint64_t word = 0;
    if (n_bytes >= sizeof word)
        return qc_load_le64(p);
    for (size_t i = 0; i < n_bytes; i++)
        word |= (uint64_t)p[i] << 8 * i;
    return word;
}

static inline void store_some(uint8_t *p, uint64_t word, size_t n_bytes)
{
    if (n_bytes >= sizeof word)
        qc_store_le64(p, word);
    else
        for (size_t i = 0; i < n_bytes; i++)
            p[i] = (uint8_t)(word >> 8 * i);
}

/* n codes of one row, a byte each, counted from 0; `code` has room for whole eights. Bytes of n codes are
 * (n * bits + 7) / 8; a word stored may reach into those of the next eight, which follow. */
static inline void put_codes(uint8_t *p, const uint8_t *code, size_t n, uint32_t bits)
{
    const uint8_t *end = p + (n * bits + 7) / 8;
    for (size_t c = 0; c < n; c += 8, p += bits)
        store_some(p, join_codes(load_some(code + c, n - c), bits), (size_t)(end - p));
}

static inline void get_codes(uint8_t *code, const uint8_t *p, size_t n, uint32_t bits)
{
    const uint8_t *end = p + (n * bits + 7) / 8;
    for (size_t c = 0; c < n; c += 8, p += bits)
        qc_store_le64(code + c, part_codes(load_some(p, (size_t)(end - p)), bits));
}

#endif
