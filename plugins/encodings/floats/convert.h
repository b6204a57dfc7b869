/* One number to and from its bytes: read_ID and write_ID for every id of floats.h.
 *
 *     f8_e4m3  s eeee mmm    bias 7;   e = 0: m * 2^-9;   0x7f is NaN, no Inf, largest 448      (OCP OFP8, "fn")
 *     f8_e5m2  s eeeee mm    bias 15;  the upper half of an f16
 *
 * Floats round to nearest even. f8 saturates at its largest number, as quantized checkpoints do; f16 and bf16 overflow
 * to Inf. Integers round to nearest even and saturate; they exist as side data of files.
 */
#ifndef FLOATS_CONVERT_H
#define FLOATS_CONVERT_H

#include "qcore/number.h"

static inline float read_f64(const uint8_t *p)
{
    uint64_t bits = qc_load_le64(p);
    double v;
    memcpy(&v, &bits, sizeof v);
    return (float)v;
}

static inline void write_f64(uint8_t *p, float v)
{
    double wide = (double)v;
    uint64_t bits;
    memcpy(&bits, &wide, sizeof bits);
    qc_store_le64(p, bits);
}

static inline float read_f32(const uint8_t *p)
{
    return qc_float_from_bits(qc_load_le32(p));
}

static inline void write_f32(uint8_t *p, float v)
{
    qc_store_le32(p, qc_float_bits(v));
}

static inline float read_f16(const uint8_t *p)
{
    return qc_f32_from_f16(qc_load_le16(p));
}

static inline void write_f16(uint8_t *p, float v)
{
    qc_store_le16(p, qc_f16_from_f32(v));
}

static inline float read_bf16(const uint8_t *p)
{
    return qc_f32_from_bf16(qc_load_le16(p));
}

static inline void write_bf16(uint8_t *p, float v)
{
    qc_store_le16(p, qc_bf16_from_f32(v));
}

static inline float read_f8_e4m3(const uint8_t *p)
{
    uint32_t code = *p, sign = (code & 0x80u) << 24, magnitude = (code & 0x7fu) << 20;
    uint32_t bits = magnitude + 0x3c000000u; /* exponent bias 127 - 7 */
    bits = magnitude < 0x00800000u ? qc_float_bits((float)(int32_t)(code & 7u) * 0x1p-9f) : bits;
    bits = magnitude == 0x07f00000u ? 0x7fc00000u : bits;
    return qc_float_from_bits(sign | bits);
}

static inline void write_f8_e4m3(uint8_t *p, float v)
{
    uint32_t bits = qc_float_bits(v), magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude + 0x7ffffu + (magnitude >> 20 & 1) - 0x3c000000u) >> 20;
    float tiny = magnitude < 0x3c800000u ? qc_float_from_bits(magnitude) : 0.0f; /* below 2^-6 */
    uint32_t small = qc_float_bits(tiny + 16384.0f) - 0x46800000u; /* there the last bit is worth 2^-9 */
    uint32_t code = magnitude < 0x3c800000u ? small : normal;
    code = magnitude > 0x43e00000u ? 0x7eu : code; /* above 448 */
    code = magnitude > 0x7f800000u ? 0x7fu : code;
    *p = (uint8_t)(bits >> 24 & 0x80u) | (uint8_t)code;
}

static inline float read_f8_e5m2(const uint8_t *p)
{
    return qc_f32_from_f16((uint16_t)((uint32_t)*p << 8));
}

static inline void write_f8_e5m2(uint8_t *p, float v)
{
    uint32_t bits = qc_float_bits(v), magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude + 0xfffffu + (magnitude >> 21 & 1) - 0x38000000u) >> 21;
    float tiny = magnitude < 0x38800000u ? qc_float_from_bits(magnitude) : 0.0f; /* below 2^-14 */
    uint32_t small = qc_float_bits(tiny + 128.0f) - 0x43000000u; /* there the last bit is worth 2^-16 */
    uint32_t code = magnitude < 0x38800000u ? small : normal;
    code = magnitude > 0x47600000u ? 0x7bu : code; /* above 57344 */
    code = magnitude > 0x7f800000u ? 0x7fu : code;
    *p = (uint8_t)(bits >> 24 & 0x80u) | (uint8_t)code;
}

/* v rounded to an integer, ties to even, clamped to [lowest, highest]; NaN gives 0. */
static inline float whole(float v, float lowest, float highest)
{
    float magic = v < 0.0f ? -8388608.0f : 8388608.0f;
    float rounded = v > -8388608.0f && v < 8388608.0f ? (v + magic) - magic : v;
    rounded = rounded < lowest ? lowest : rounded > highest ? highest : rounded;
    return rounded == rounded ? rounded : 0.0f;
}

static inline float read_i8(const uint8_t *p)
{
    return (float)(int8_t)*p;
}

static inline void write_i8(uint8_t *p, float v)
{
    *p = (uint8_t)(int8_t)whole(v, -128.0f, 127.0f);
}

static inline float read_i16(const uint8_t *p)
{
    return (float)(int16_t)qc_load_le16(p);
}

static inline void write_i16(uint8_t *p, float v)
{
    qc_store_le16(p, (uint16_t)(int16_t)whole(v, -32768.0f, 32767.0f));
}

static inline float read_i32(const uint8_t *p)
{
    return (float)(int32_t)qc_load_le32(p);
}

static inline void write_i32(uint8_t *p, float v) /* the largest float32 below 2^31 is 2^31 - 128 */
{
    qc_store_le32(p, (uint32_t)(int32_t)whole(v, -2147483648.0f, 2147483520.0f));
}

static inline float read_i64(const uint8_t *p)
{
    return (float)(int64_t)qc_load_le64(p);
}

static inline void write_i64(uint8_t *p, float v)
{
    qc_store_le64(p, (uint64_t)(int64_t)whole(v, -9223372036854775808.0f, 9223371487098961920.0f));
}

#endif
