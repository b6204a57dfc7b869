/* Numbers as files keep them: little-endian loads and stores, f16 and bf16. Exact on every CPU, and free of branches
 * where loops over them are to be vectorized.
 *
 *     f16   s eeeee mmmmmmmmmm          bias 15;  e = 0: m * 2^-24;  e = 31: Inf, NaN
 *     bf16  s eeeeeeee mmmmmmm          the upper half of a float32
 */
#ifndef QCORE_NUMBER_H
#define QCORE_NUMBER_H

#include "qcore/abi.h"
#include <string.h>

static inline uint16_t qc_swap16(uint16_t v)
{
    return (uint16_t)(v >> 8 | v << 8);
}

static inline uint32_t qc_swap32(uint32_t v)
{
    return v >> 24 | (v >> 8 & 0xff00u) | (v << 8 & 0xff0000u) | v << 24;
}

static inline uint16_t qc_load_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return QC_BIG_ENDIAN ? qc_swap16(v) : v;
}

static inline uint32_t qc_load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return QC_BIG_ENDIAN ? qc_swap32(v) : v;
}

static inline uint64_t qc_load_le64(const void *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return qc_load_le32(b) | (uint64_t)qc_load_le32(b + 4) << 32;
}

static inline void qc_store_le16(void *p, uint16_t v)
{
    v = QC_BIG_ENDIAN ? qc_swap16(v) : v;
    memcpy(p, &v, sizeof v);
}

static inline void qc_store_le32(void *p, uint32_t v)
{
    v = QC_BIG_ENDIAN ? qc_swap32(v) : v;
    memcpy(p, &v, sizeof v);
}

static inline void qc_store_le64(void *p, uint64_t v)
{
    unsigned char *b = (unsigned char *)p;
    qc_store_le32(b, (uint32_t)v);
    qc_store_le32(b + 4, (uint32_t)(v >> 32));
}

static inline uint32_t qc_float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float qc_float_from_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline int qc_is_finite(float v)
{
    return (qc_float_bits(v) & 0x7f800000u) != 0x7f800000u;
}

static inline float qc_f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t small = qc_float_bits((float)(int32_t)(half & 0x3ff) * 0x1p-24f);
    uint32_t bits = magnitude + 0x38000000u; /* exponent bias 127 - 15 */
    bits = magnitude >= 0x0f800000u ? magnitude + 0x70000000u : bits; /* Inf and NaN: exponent 255 */
    bits = magnitude < 0x00800000u ? small : bits;
    return qc_float_from_bits(sign | bits);
}

/* Round to nearest even; 65520 and above become Inf, NaN becomes the quiet NaN of its sign. */
static inline uint16_t qc_f16_from_f32(float v)
{
    uint32_t bits = qc_float_bits(v), magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1) - 0x38000000u) >> 13;
    float tiny = magnitude < 0x38800000u ? qc_float_from_bits(magnitude) : 0.0f; /* below 2^-14 */
    uint32_t small = qc_float_bits(tiny + 0.5f) - 0x3f000000u; /* in [0.5, 1) the last bit is worth 2^-24 */
    uint32_t half = magnitude < 0x38800000u ? small : normal;
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;
    half = magnitude > 0x7f800000u ? 0x7e00u : half;
    return (uint16_t)(bits >> 16 & 0x8000u) | (uint16_t)half;
}

static inline float qc_f32_from_bf16(uint16_t v)
{
    return qc_float_from_bits((uint32_t)v << 16);
}

/* Round to nearest even; NaN stays a (quiet) NaN. */
static inline uint16_t qc_bf16_from_f32(float v)
{
    uint32_t bits = qc_float_bits(v);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

#endif
