/* Codes in words: field k of a bit string is bits k * b .. k * b + b - 1, counted from bit 0 of word 0 upwards, and may
 * straddle two words:
 *
 *     b = 3:   word 0  |c10|c9 |...|c1 |c0 |     bits 31 .. 0; c10 has its low 2 bits here and its high one in word 1
 */
#ifndef SAFETENSORS_PACKING_H
#define SAFETENSORS_PACKING_H

#include "qcore/number.h"

/* Places in a matrix of which one direction runs along fields (or their words), the other from string to string. */
typedef struct ck_strides {
    size_t along, across;
} ck_strides;

static inline size_t ck_words(size_t n_fields, uint32_t bits)
{
    return (n_fields * bits + 31) / 32;
}

/* words: zero before. */
static inline void ck_pack(uint32_t *words, ck_strides to, const uint8_t *codes, ck_strides from, uint32_t bits,
                           size_t n_fields, size_t n_strings)
{
    for (size_t k = 0; k < n_fields; k++) {
        uint32_t *word = words + k * bits / 32 * to.along;
        uint32_t shift = (uint32_t)(k * bits % 32);
        const uint8_t *code = codes + k * from.along;
        for (size_t i = 0; i < n_strings; i++)
            word[i * to.across] |= (uint32_t)code[i * from.across] << shift;
        if (shift + bits > 32)
            for (size_t i = 0; i < n_strings; i++)
                word[to.along + i * to.across] |= (uint32_t)code[i * from.across] >> (32 - shift);
    }
}

/* In place, as files have them. */
static inline void ck_little_endian(uint32_t *words, size_t n)
{
    for (size_t i = 0; QC_BIG_ENDIAN && i < n; i++)
        words[i] = qc_swap32(words[i]);
}

#endif
