/* Whole numbers of 2 to 8 bits: 32, 64 or 128 weights of a row, or all of it (a channel), share a step, and in the _asym
 * types a zero point.
 *
 *     int4_g128        step f16 |          codes               value = step * code,            code = u - 8
 *     int4_g128_asym   step f16 | zero u8 | codes              value = step * (code - zero),   code = u
 *
 *     codes: a bit string; u of column c are the bits c*b .. c*b + b - 1, bit i being bit i % 8 of byte i / 8. Bits after
 *     the last code of a channel are 0. Everything is little-endian.
 *
 * step * (code - zero) is computed as step * code + offset with offset = -(step * zero): both products are exact in
 * float32 (11 significant bits times 8), and so is the sum.
 */
#ifndef INTS_H
#define INTS_H

#include "qcore/lanes.h"

enum {
    INTS_PIECE = 128 /* columns handled at once: whole bytes of any code width */
};

typedef struct ints_type {
    uint32_t bits; /* of a code */
    uint32_t has_zero;
    float lowest, highest; /* codes */
    float first, stride, growth; /* by how many codes candidates of the search reach past the end: see search.h */
    int32_t n_notches; /* how far from the best step a storable one is looked for */
    uint32_t n_tries[2]; /* without importance; with it, where clipping what matters little pays */
} ints_type;

/* qc_grid.state of the _asym types: their zero points, which a step of 0 would hide. */
typedef struct ints_state {
    float zero[QC_LANES];
} ints_state;

extern const qc_ops_encoding ints_ops_reference;
#if defined(QC_VARIANTS_X86)
extern const qc_ops_encoding ints_ops_x86_v3, ints_ops_x86_v4;
#endif

#endif
