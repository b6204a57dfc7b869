/* One row's super-block to and from its bytes; part of kernels.c, built once per CPU level. Little-endian; e is the
 * column in the block, j its sub-block.
 *
 * q2_k  84 bytes    s[16] | q[64] | d f16 | dm f16
 *       s[j]: low nibble scale j, high nibble min j
 *       q: two-bit planes (below), 64 bytes for 256 codes
 * q3_k  110 bytes   h[32] | q[64] | s[12] | d f16
 *       code + 4 = bits 0-1 in q, bit 2 in bit e / 32 of h[e % 32]
 *       s: scale j + 32 has 6 bits: low nibble in s[0..7] (j < 8 low half, else high), top two in s[8..11]
 * q4_k  144 bytes   d f16 | dm f16 | s[12] | q[128]
 * q5_k  176 bytes   d f16 | dm f16 | s[12] | h[32] | q[128]
 *       q: nibble planes (below); bit 4 of the code in bit e / 32 of h[e % 32]
 *       s: 6-bit scales and mins, as put_scales6 draws them
 * q6_k  210 bytes   q[128] | h[64] | s i8[16] | d f16
 *       code + 32: low nibble in q, bits 4-5 in h, both cut in halves of 128 columns
 *
 * Two-bit planes: byte 32 n + i holds columns 128 n + i + {0, 32, 64, 96}, the first in the lowest bits.
 * Nibble planes: byte 32 n + i holds columns 64 n + i (low) and 64 n + 32 + i (high).
 *
 * Bytes are moved eight (four) at a time as one whole number: KQ_EACH masks what a shift brought in from a neighbour,
 * so that the byte order of the machine does not matter, and loops over such words become vector instructions.
 */
#ifndef KQUANTS_LAYOUT_H
#define KQUANTS_LAYOUT_H

#include "kquants.h"

#define KQ_EACH(v) (0x0101010101010101u * (uint64_t)(v)) /* v in each of eight bytes */
#define KQ_EACH4(v) (0x01010101u * (uint32_t)(v))

/* Word i of bytes. */
static inline uint64_t kq_word(const uint8_t *p, size_t i)
{
    uint64_t w;
    memcpy(&w, p + 8 * i, sizeof w);
    return w;
}

static inline void kq_set_word(uint8_t *p, size_t i, uint64_t w)
{
    memcpy(p + 8 * i, &w, sizeof w);
}

static inline uint32_t kq_word4(const uint8_t *p, size_t i)
{
    uint32_t w;
    memcpy(&w, p + 4 * i, sizeof w);
    return w;
}

static inline void kq_set_word4(uint8_t *p, size_t i, uint32_t w)
{
    memcpy(p + 4 * i, &w, sizeof w);
}

static inline void kq_put_twos(uint8_t *restrict q, const uint8_t *restrict code)
{
    for (size_t n = 0; n < 2; n++, q += 32, code += 128)
        for (size_t i = 0; i < 4; i++)
            kq_set_word(q, i,
                        (kq_word(code, i) & KQ_EACH(3)) | (kq_word(code, i + 4) & KQ_EACH(3)) << 2 |
                            (kq_word(code, i + 8) & KQ_EACH(3)) << 4 | (kq_word(code, i + 12) & KQ_EACH(3)) << 6);
}

static inline void kq_get_twos(uint8_t *restrict code, const uint8_t *restrict q)
{
    for (size_t n = 0; n < 2; n++, q += 32, code += 128)
        for (size_t k = 0; k < 4; k++)
            for (size_t i = 0; i < 4; i++)
                kq_set_word(code, i + 4 * k, kq_word(q, i) >> 2 * k & KQ_EACH(3));
}

/* Low nibbles of `half` columns and those behind them: half is 32 (nibble planes) or 64 (q6_k). */
static inline void kq_put_nibbles(uint8_t *restrict q, const uint8_t *restrict code, size_t half)
{
    for (size_t n = 0; n < KQ_COLS / 2; n += half, q += half, code += 2 * half)
        for (size_t i = 0; i < half / 8; i++)
            kq_set_word(q, i, (kq_word(code, i) & KQ_EACH(15)) | (kq_word(code, i + half / 8) & KQ_EACH(15)) << 4);
}

static inline void kq_get_nibbles(uint8_t *restrict code, const uint8_t *restrict q, size_t half)
{
    for (size_t n = 0; n < KQ_COLS / 2; n += half, q += half, code += 2 * half)
        for (size_t i = 0; i < half / 8; i++) {
            kq_set_word(code, i, kq_word(q, i) & KQ_EACH(15));
            kq_set_word(code, i + half / 8, kq_word(q, i) >> 4 & KQ_EACH(15));
        }
}

/* Bit `bit` of the codes: bit e / 32 of h[e % 32]. */
static inline void kq_put_high_bit(uint8_t *restrict h, const uint8_t *restrict code, unsigned bit)
{
    for (size_t i = 0; i < 4; i++) {
        uint64_t bits = 0;
        for (size_t k = 0; k < 8; k++)
            bits |= (kq_word(code, i + 4 * k) >> bit & KQ_EACH(1)) << k;
        kq_set_word(h, i, bits);
    }
}

static inline void kq_add_high_bit(uint8_t *restrict code, const uint8_t *restrict h, unsigned bit)
{
    for (size_t k = 0; k < 8; k++)
        for (size_t i = 0; i < 4; i++)
            kq_set_word(code, i + 4 * k, kq_word(code, i + 4 * k) | (kq_word(h, i) >> k & KQ_EACH(1)) << bit);
}

/* s[12], 6-bit scales and mins of 8 sub-blocks (bits 7 … 0; capitals and small letters: scale and min of that number):
 *     s[0..3]    4 4 A A A A A A    scale j = 0..3, above it the top two bits of scale j + 4
 *     s[4..7]    4 4 a a a a a a    the same for the mins
 *     s[8..11]   b b b b B B B B    low four bits of scale and min j = 4..7 */
static inline void kq_put_scales6(uint8_t *s, const kq_row *row)
{
    uint32_t scale = kq_word4(row->scale, 1), min = kq_word4(row->min, 1);
    kq_set_word4(s, 0, (kq_word4(row->scale, 0) & KQ_EACH4(63)) | (scale >> 4 & KQ_EACH4(3)) << 6);
    kq_set_word4(s, 1, (kq_word4(row->min, 0) & KQ_EACH4(63)) | (min >> 4 & KQ_EACH4(3)) << 6);
    kq_set_word4(s, 2, (scale & KQ_EACH4(15)) | (min & KQ_EACH4(15)) << 4);
}

static inline void kq_get_scales6(kq_row *row, const uint8_t *s)
{
    uint32_t scale = kq_word4(s, 0), min = kq_word4(s, 1), low = kq_word4(s, 2);
    kq_set_word4(row->scale, 0, scale & KQ_EACH4(63));
    kq_set_word4(row->min, 0, min & KQ_EACH4(63));
    kq_set_word4(row->scale, 1, (low & KQ_EACH4(15)) | (scale >> 6 & KQ_EACH4(3)) << 4);
    kq_set_word4(row->min, 1, (low >> 4 & KQ_EACH4(15)) | (min >> 6 & KQ_EACH4(3)) << 4);
}

static void kq_put_q2_k(uint8_t *restrict p, const kq_row *restrict row)
{
    for (size_t i = 0; i < 2; i++)
        kq_set_word(p, i, (kq_word(row->scale, i) & KQ_EACH(15)) | (kq_word(row->min, i) & KQ_EACH(15)) << 4);
    kq_put_twos(p + 16, row->code);
    qc_store_le16(p + 80, row->d);
    qc_store_le16(p + 82, row->dm);
}

static void kq_get_q2_k(kq_row *restrict row, const uint8_t *restrict p)
{
    for (size_t i = 0; i < 2; i++) {
        kq_set_word(row->scale, i, kq_word(p, i) & KQ_EACH(15));
        kq_set_word(row->min, i, kq_word(p, i) >> 4 & KQ_EACH(15));
    }
    kq_get_twos(row->code, p + 16);
    row->d = qc_load_le16(p + 80);
    row->dm = qc_load_le16(p + 82);
}

static void kq_put_q3_k(uint8_t *restrict p, const kq_row *restrict row)
{
    uint8_t *s = p + 96;
    uint32_t top = 0;
    kq_put_high_bit(p, row->code, 2);
    kq_put_twos(p + 32, row->code);
    kq_set_word(s, 0, (kq_word(row->scale, 0) & KQ_EACH(15)) | (kq_word(row->scale, 1) & KQ_EACH(15)) << 4);
    for (unsigned i = 0; i < 4; i++)
        top |= (kq_word4(row->scale, i) >> 4 & KQ_EACH4(3)) << 2 * i;
    kq_set_word4(s, 2, top);
    qc_store_le16(p + 108, row->d);
}

static void kq_get_q3_k(kq_row *restrict row, const uint8_t *restrict p)
{
    const uint8_t *s = p + 96;
    uint32_t top = kq_word4(s, 2);
    kq_get_twos(row->code, p + 32);
    kq_add_high_bit(row->code, p, 2);
    for (unsigned i = 0; i < 4; i++)
        kq_set_word4(row->scale, i,
                     (kq_word4(s, i % 2) >> i / 2 * 4 & KQ_EACH4(15)) | (top >> 2 * i & KQ_EACH4(3)) << 4);
    row->d = qc_load_le16(p + 108);
}

static void kq_put_q4_k(uint8_t *restrict p, const kq_row *restrict row)
{
    qc_store_le16(p, row->d);
    qc_store_le16(p + 2, row->dm);
    kq_put_scales6(p + 4, row);
    kq_put_nibbles(p + 16, row->code, 32);
}

static void kq_get_q4_k(kq_row *restrict row, const uint8_t *restrict p)
{
    row->d = qc_load_le16(p);
    row->dm = qc_load_le16(p + 2);
    kq_get_scales6(row, p + 4);
    kq_get_nibbles(row->code, p + 16, 32);
}

static void kq_put_q5_k(uint8_t *restrict p, const kq_row *restrict row)
{
    qc_store_le16(p, row->d);
    qc_store_le16(p + 2, row->dm);
    kq_put_scales6(p + 4, row);
    kq_put_high_bit(p + 16, row->code, 4);
    kq_put_nibbles(p + 48, row->code, 32);
}

static void kq_get_q5_k(kq_row *restrict row, const uint8_t *restrict p)
{
    row->d = qc_load_le16(p);
    row->dm = qc_load_le16(p + 2);
    kq_get_scales6(row, p + 4);
    kq_get_nibbles(row->code, p + 48, 32);
    kq_add_high_bit(row->code, p + 16, 4);
}

static void kq_put_q6_k(uint8_t *restrict p, const kq_row *restrict row)
{
    const uint8_t *code = row->code;
    kq_put_nibbles(p, code, 64);
    for (size_t n = 0; n < 2; n++, code += 128)
        for (size_t i = 0; i < 4; i++) {
            uint64_t high = 0;
            for (unsigned k = 0; k < 4; k++)
                high |= (kq_word(code, i + 4 * k) >> 4 & KQ_EACH(3)) << 2 * k;
            kq_set_word(p + 128 + 32 * n, i, high);
        }
    for (size_t i = 0; i < 2; i++)
        kq_set_word(p + 192, i, kq_word(row->scale, i) ^ KQ_EACH(0x80)); /* i8 */
    qc_store_le16(p + 208, row->d);
}

static void kq_get_q6_k(kq_row *restrict row, const uint8_t *restrict p)
{
    uint8_t *code = row->code;
    kq_get_nibbles(code, p, 64);
    for (size_t n = 0; n < 2; n++, code += 128)
        for (unsigned k = 0; k < 4; k++)
            for (size_t i = 0; i < 4; i++) {
                uint64_t high = kq_word(p + 128 + 32 * n, i) >> 2 * k & KQ_EACH(3);
                kq_set_word(code, i + 4 * k, kq_word(code, i + 4 * k) | high << 4);
            }
    for (size_t i = 0; i < 2; i++)
        kq_set_word(row->scale, i, kq_word(p + 192, i) ^ KQ_EACH(0x80));
    row->d = qc_load_le16(p + 208);
}

/* By kq_type.layout. */
typedef struct kq_layout {
    void (*put)(uint8_t *restrict p, const kq_row *restrict row);
    void (*get)(kq_row *restrict row, const uint8_t *restrict p); /* dm and mins as they were where there are none */
} kq_layout;

static const kq_layout kq_layouts[] = {
    [KQ_q2_k] = {kq_put_q2_k, kq_get_q2_k}, [KQ_q3_k] = {kq_put_q3_k, kq_get_q3_k},
    [KQ_q4_k] = {kq_put_q4_k, kq_get_q4_k}, [KQ_q5_k] = {kq_put_q5_k, kq_get_q5_k},
    [KQ_q6_k] = {kq_put_q6_k, kq_get_q6_k},
};

#endif
