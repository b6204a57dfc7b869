/* The plain encodings of this library: one number a weight, no scales. X(type, bytes) */
#ifndef FLOATS_H
#define FLOATS_H

#include "qcore/encoding.h"

#define FLOATS(X) \
    X(f64, 8) X(f32, 4) X(f16, 2) X(bf16, 2) X(f8_e4m3, 1) X(f8_e5m2, 1) X(i8, 1) X(i16, 2) X(i32, 4) X(i64, 8)

#define FLOATS_INDEX(type, bytes) FLOATS_##type,
enum { FLOATS(FLOATS_INDEX) FLOATS_COUNT };
#undef FLOATS_INDEX

extern const qc_ops_encoding floats_ops_reference[FLOATS_COUNT];
#if defined(QC_VARIANTS_X86)
extern const qc_ops_encoding floats_ops_x86_v3[FLOATS_COUNT], floats_ops_x86_v4[FLOATS_COUNT];
#endif

#endif
