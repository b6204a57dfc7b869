/* Codes of one row's block to and from bytes, as legacy.h draws them. Codes are counted from 0 here. */
#ifndef LEGACY_LAYOUT_H
#define LEGACY_LAYOUT_H

#include "legacy.h"

/* Bit 4 of 8 codes as one byte, that of the first code lowest. A product adds each bit, moved up by its own distance:
 * none of them meet. */
static inline uint8_t high_bits_of(const uint8_t *code)
{
    uint64_t bits = qc_load_le64(code) >> 4 & 0x0101010101010101u;
    return (uint8_t)(bits * 0x0102040810204080u >> 56);
}

/* The reverse: 16 in each of 8 bytes whose bit is 1. */
static inline uint64_t spread_high_bits(uint8_t high)
{
    uint64_t own = high * 0x0101010101010101u & 0x8040201008040201u; /* each byte has its own bit */
    return ((own + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u) << 4;
}

static inline void add_high_bits(uint8_t *code, const uint8_t *p)
{
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    for (size_t c = 0; c < LEGACY_COLS; c += 16) {
        __m128i *at = (__m128i *)(void *)(code + c);
        __m128i high = _mm_maskz_set1_epi8(qc_load_le16(p + c / 8), 16);
        _mm_storeu_si128(at, _mm_or_si128(_mm_loadu_si128(at), high));
    }
#else
    for (size_t i = 0; i < LEGACY_COLS / 8; i++)
        qc_store_le64(code + 8 * i, qc_load_le64(code + 8 * i) | spread_high_bits(p[i]));
#endif
}

static inline void put_codes(uint8_t *p, const uint8_t *code, uint32_t bits)
{
    if (bits == 8) {
        for (size_t c = 0; c < LEGACY_COLS; c++)
            p[c] = code[c] ^ 0x80; /* i8 */
        return;
    }
    for (size_t i = 0; bits == 5 && i < LEGACY_COLS / 8; i++)
        *p++ = high_bits_of(code + 8 * i);
    for (size_t c = 0; c < LEGACY_COLS / 2; c++)
        p[c] = (uint8_t)((code[c] & 15) | code[c + LEGACY_COLS / 2] << 4);
}

static inline void get_codes(uint8_t *code, const uint8_t *p, uint32_t bits)
{
    if (bits == 8) {
        for (size_t c = 0; c < LEGACY_COLS; c++)
            code[c] = p[c] ^ 0x80;
        return;
    }
    const uint8_t *nibbles = bits == 5 ? p + LEGACY_COLS / 8 : p;
    for (size_t c = 0; c < LEGACY_COLS / 2; c++) {
        code[c] = nibbles[c] & 15;
        code[c + LEGACY_COLS / 2] = nibbles[c] >> 4;
    }
    if (bits == 5)
        add_high_bits(code, p);
}

#endif
