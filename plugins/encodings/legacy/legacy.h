/* Blocks of 32 weights with one f16 scale d and, in the _1 types, one f16 offset m.
 *
 *     q4_0   18 bytes   d f16 | q[16]                       value = (code) * d,        code = nibble - 8
 *     q4_1   20 bytes   d f16 | m f16 | q[16]               value = code * d + m,      code = nibble
 *     q5_0   22 bytes   d f16 | h u32 | q[16]               value = (code) * d,        code = (nibble | high bit) - 16
 *     q5_1   24 bytes   d f16 | m f16 | h u32 | q[16]       value = code * d + m,      code = nibble | high bit
 *     q8_0   34 bytes   d f16 | q i8[32]                    value = code * d
 *     iq4_nl 18 bytes   d f16 | q[16]                       value = level(code) * d,   code = nibble
 *
 * Nibble of column c: c < 16 the low half of q[c], else the high half of q[c - 16]. High bit of column c: bit c of h,
 * worth 16. Everything is little-endian.
 */
#ifndef LEGACY_H
#define LEGACY_H

#include "qcore/lanes.h"

enum { LEGACY_COLS = 32, LEGACY_LEVELS = 16 };

typedef struct legacy_type {
    uint32_t bits; /* of a code: 4, 5 or 8 */
    uint32_t has_offset;
    qc_search search;
} legacy_type;

extern const qc_ops_encoding legacy_ops_reference;
#if defined(QC_VARIANTS_X86)
extern const qc_ops_encoding legacy_ops_x86_v3, legacy_ops_x86_v4;
#endif

#endif
