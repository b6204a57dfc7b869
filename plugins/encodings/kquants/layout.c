/* One row's super-block to and from its bytes. Little-endian; e is the column in the block, j its sub-block.
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
 */
#include "kquants.h"

static void put_twos(uint8_t *q, const uint8_t *code)
{
    for (size_t n = 0; n < 2; n++, code += 128)
        for (size_t i = 0; i < 32; i++)
            q[32 * n + i] = (uint8_t)((code[i] & 3) | (code[i + 32] & 3) << 2 | (code[i + 64] & 3) << 4 |
                                      (code[i + 96] & 3) << 6);
}

static void get_twos(uint8_t *code, const uint8_t *q)
{
    for (size_t n = 0; n < 2; n++, code += 128)
        for (size_t i = 0; i < 32; i++)
            for (size_t k = 0; k < 4; k++)
                code[i + 32 * k] = q[32 * n + i] >> 2 * k & 3;
}

static void put_nibbles(uint8_t *q, const uint8_t *code)
{
    for (size_t n = 0; n < 4; n++, code += 64)
        for (size_t i = 0; i < 32; i++)
            q[32 * n + i] = (uint8_t)((code[i] & 15) | (code[i + 32] & 15) << 4);
}

static void get_nibbles(uint8_t *code, const uint8_t *q)
{
    for (size_t n = 0; n < 4; n++, code += 64)
        for (size_t i = 0; i < 32; i++) {
            code[i] = q[32 * n + i] & 15;
            code[i + 32] = q[32 * n + i] >> 4;
        }
}

/* Bit `bit` of the codes: bit e / 32 of h[e % 32]. */
static void put_high_bit(uint8_t *h, const uint8_t *code, unsigned bit)
{
    for (size_t i = 0; i < 32; i++) {
        unsigned byte = 0;
        for (size_t k = 0; k < 8; k++)
            byte |= (unsigned)(code[i + 32 * k] >> bit & 1) << k;
        h[i] = (uint8_t)byte;
    }
}

static void add_high_bit(uint8_t *code, const uint8_t *h, unsigned bit)
{
    for (size_t k = 0; k < 8; k++)
        for (size_t i = 0; i < 32; i++)
            code[i + 32 * k] |= (uint8_t)((h[i] >> k & 1) << bit);
}

/* s[12], 6-bit scales and mins of 8 sub-blocks (bits 7 … 0; capitals and small letters: scale and min of that number):
 *     s[0..3]    4 4 A A A A A A    scale j = 0..3, above it the top two bits of scale j + 4
 *     s[4..7]    4 4 a a a a a a    the same for the mins
 *     s[8..11]   b b b b B B B B    low four bits of scale and min j = 4..7 */
static void put_scales6(uint8_t *s, const kq_row *row)
{
    for (size_t j = 0; j < 4; j++) {
        s[j] = (uint8_t)((row->scale[j] & 63) | (row->scale[j + 4] >> 4) << 6);
        s[j + 4] = (uint8_t)((row->min[j] & 63) | (row->min[j + 4] >> 4) << 6);
        s[j + 8] = (uint8_t)((row->scale[j + 4] & 15) | (row->min[j + 4] & 15) << 4);
    }
}

static void get_scales6(kq_row *row, const uint8_t *s)
{
    for (size_t j = 0; j < 4; j++) {
        row->scale[j] = s[j] & 63;
        row->min[j] = s[j + 4] & 63;
        row->scale[j + 4] = (uint8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
        row->min[j + 4] = (uint8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
    }
}

void put_q2_k(uint8_t *p, const kq_row *row)
{
    for (size_t j = 0; j < 16; j++)
        p[j] = (uint8_t)((row->scale[j] & 15) | (row->min[j] & 15) << 4);
    put_twos(p + 16, row->code);
    qc_store_le16(p + 80, row->d);
    qc_store_le16(p + 82, row->dm);
}

void get_q2_k(kq_row *row, const uint8_t *p)
{
    for (size_t j = 0; j < 16; j++) {
        row->scale[j] = p[j] & 15;
        row->min[j] = p[j] >> 4;
    }
    get_twos(row->code, p + 16);
    row->d = qc_load_le16(p + 80);
    row->dm = qc_load_le16(p + 82);
}

void put_q3_k(uint8_t *p, const kq_row *row)
{
    uint8_t *s = p + 96;
    put_high_bit(p, row->code, 2);
    put_twos(p + 32, row->code);
    for (size_t j = 0; j < 8; j++)
        s[j] = (uint8_t)((row->scale[j] & 15) | (row->scale[j + 8] & 15) << 4);
    for (size_t j = 0; j < 4; j++)
        s[j + 8] = (uint8_t)(row->scale[j] >> 4 | row->scale[j + 4] >> 4 << 2 | row->scale[j + 8] >> 4 << 4 |
                             row->scale[j + 12] >> 4 << 6);
    qc_store_le16(p + 108, row->d);
}

void get_q3_k(kq_row *row, const uint8_t *p)
{
    const uint8_t *s = p + 96;
    get_twos(row->code, p + 32);
    add_high_bit(row->code, p, 2);
    for (size_t j = 0; j < 16; j++) {
        unsigned low = j < 8 ? s[j] : (unsigned)s[j - 8] >> 4, high = (unsigned)s[8 + j % 4] >> 2 * (j / 4);
        row->scale[j] = (uint8_t)((low & 15) | (high & 3) << 4);
    }
    row->d = qc_load_le16(p + 108);
}

void put_q4_k(uint8_t *p, const kq_row *row)
{
    qc_store_le16(p, row->d);
    qc_store_le16(p + 2, row->dm);
    put_scales6(p + 4, row);
    put_nibbles(p + 16, row->code);
}

void get_q4_k(kq_row *row, const uint8_t *p)
{
    row->d = qc_load_le16(p);
    row->dm = qc_load_le16(p + 2);
    get_scales6(row, p + 4);
    get_nibbles(row->code, p + 16);
}

void put_q5_k(uint8_t *p, const kq_row *row)
{
    qc_store_le16(p, row->d);
    qc_store_le16(p + 2, row->dm);
    put_scales6(p + 4, row);
    put_high_bit(p + 16, row->code, 4);
    put_nibbles(p + 48, row->code);
}

void get_q5_k(kq_row *row, const uint8_t *p)
{
    row->d = qc_load_le16(p);
    row->dm = qc_load_le16(p + 2);
    get_scales6(row, p + 4);
    get_nibbles(row->code, p + 48);
    add_high_bit(row->code, p + 16, 4);
}

void put_q6_k(uint8_t *p, const kq_row *row)
{
    const uint8_t *code = row->code;
    for (size_t n = 0; n < 2; n++, code += 128) {
        for (size_t i = 0; i < 64; i++)
            p[64 * n + i] = (uint8_t)((code[i] & 15) | (code[i + 64] & 15) << 4);
        for (size_t i = 0; i < 32; i++)
            p[128 + 32 * n + i] = (uint8_t)(code[i] >> 4 | code[i + 32] >> 4 << 2 | code[i + 64] >> 4 << 4 |
                                            code[i + 96] >> 4 << 6);
    }
    for (size_t j = 0; j < 16; j++)
        p[192 + j] = row->scale[j] ^ 0x80; /* i8 */
    qc_store_le16(p + 208, row->d);
}

void get_q6_k(kq_row *row, const uint8_t *p)
{
    uint8_t *code = row->code;
    for (size_t n = 0; n < 2; n++, code += 128) {
        for (size_t i = 0; i < 64; i++) {
            code[i] = p[64 * n + i] & 15;
            code[i + 64] = p[64 * n + i] >> 4;
        }
        for (size_t i = 0; i < 128; i++)
            code[i] |= (uint8_t)((p[128 + 32 * n + i % 32] >> 2 * (i / 32) & 3) << 4);
    }
    for (size_t j = 0; j < 16; j++)
        row->scale[j] = p[192 + j] ^ 0x80;
    row->d = qc_load_le16(p + 208);
}
