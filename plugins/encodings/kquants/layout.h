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
 * Planes: byte 32 n + i holds the bits of columns group n + i + {0, 32, 64, …}, the first lowest: two-bit planes of
 * groups of 128 columns, nibble planes of 64. The nibbles of q6_k: byte 64 n + i holds columns 128 n + i + {0, 64}.
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

/* Plane of `bits` bits of each code: byte width n + i holds columns group n + i + {0, width, 2 width, …}. */
static inline void kq_put_plane(uint8_t *restrict q, const uint8_t *restrict code, unsigned lowest_bit, unsigned bits,
                                size_t width)
{
    const size_t n_parts = 8 / bits;
    for (size_t n = 0; n < KQ_COLS / n_parts; n += width, code += n_parts * width)
        for (size_t i = 0; i < width / 8; i++) {
            uint64_t byte = 0;
            for (size_t k = 0; k < n_parts; k++)
                byte |= (kq_word(code + k * width, i) >> lowest_bit & KQ_EACH((1 << bits) - 1)) << k * bits;
            kq_set_word(q + n, i, byte);
        }
}

/* Word i of 32 columns from column `col` on, out of such a plane. */
static inline uint64_t kq_plane(const uint8_t *q, size_t col, size_t i, unsigned bits, size_t width)
{
    const size_t group = 8 / bits * width;
    return kq_word(q + col / group * width + col % width, i) >> col % group / width * bits & KQ_EACH((1 << bits) - 1);
}

/* Codes out of a plane of low bits and, where high_bits is not 0, one of bits above them. */
static inline void kq_get_planes(uint8_t *restrict code, const uint8_t *restrict low, unsigned bits, size_t width,
                                 const uint8_t *restrict high, unsigned high_bits)
{
    for (size_t col = 0; col < KQ_COLS; col += 32)
        for (size_t i = 0; i < 4; i++)
            kq_set_word(code + col, i,
                        kq_plane(low, col, i, bits, width) |
                            (high_bits ? kq_plane(high, col, i, high_bits, 32) << bits : 0));
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
    kq_put_plane(p + 16, row->code, 0, 2, 32);
    qc_store_le16(p + 80, row->d);
    qc_store_le16(p + 82, row->dm);
}

static void kq_get_q2_k(kq_row *restrict row, const uint8_t *restrict p)
{
    for (size_t i = 0; i < 2; i++) {
        kq_set_word(row->scale, i, kq_word(p, i) & KQ_EACH(15));
        kq_set_word(row->min, i, kq_word(p, i) >> 4 & KQ_EACH(15));
    }
    kq_get_planes(row->code, p + 16, 2, 32, p, 0);
    row->d = qc_load_le16(p + 80);
    row->dm = qc_load_le16(p + 82);
}

static void kq_put_q3_k(uint8_t *restrict p, const kq_row *restrict row)
{
    uint8_t *s = p + 96;
    uint32_t top = 0;
    kq_put_plane(p, row->code, 2, 1, 32);
    kq_put_plane(p + 32, row->code, 0, 2, 32);
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
    kq_get_planes(row->code, p + 32, 2, 32, p, 1);
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
    kq_put_plane(p + 16, row->code, 0, 4, 32);
}

static void kq_get_q4_k(kq_row *restrict row, const uint8_t *restrict p)
{
    row->d = qc_load_le16(p);
    row->dm = qc_load_le16(p + 2);
    kq_get_scales6(row, p + 4);
    kq_get_planes(row->code, p + 16, 4, 32, p, 0);
}

static void kq_put_q5_k(uint8_t *restrict p, const kq_row *restrict row)
{
    qc_store_le16(p, row->d);
    qc_store_le16(p + 2, row->dm);
    kq_put_scales6(p + 4, row);
    kq_put_plane(p + 16, row->code, 4, 1, 32);
    kq_put_plane(p + 48, row->code, 0, 4, 32);
}

static void kq_get_q5_k(kq_row *restrict row, const uint8_t *restrict p)
{
    row->d = qc_load_le16(p);
    row->dm = qc_load_le16(p + 2);
    kq_get_scales6(row, p + 4);
    kq_get_planes(row->code, p + 48, 4, 32, p + 16, 1);
}

static void kq_put_q6_k(uint8_t *restrict p, const kq_row *restrict row)
{
    kq_put_plane(p, row->code, 0, 4, 64);
    kq_put_plane(p + 128, row->code, 4, 2, 32);
    for (size_t i = 0; i < 2; i++)
        kq_set_word(p + 192, i, kq_word(row->scale, i) ^ KQ_EACH(0x80)); /* i8 */
    qc_store_le16(p + 208, row->d);
}

static void kq_get_q6_k(kq_row *restrict row, const uint8_t *restrict p)
{
    kq_get_planes(row->code, p, 4, 64, p + 128, 2);
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
