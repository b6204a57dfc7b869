/* Super-blocks of 256 weights: an f16 scale d (and dm) for the whole, a small integer scale (and min) for each
 * sub-block, a code for each weight.
 *
 *     value = (d * scale) * code - dm * min            q2_k q4_k q5_k      sub-blocks of 16, 32, 32
 *     value = (d * scale) * code                       q3_k q6_k           sub-blocks of 16
 *
 * The bytes of each type are drawn in layout.h.
 */
#ifndef KQUANTS_H
#define KQUANTS_H

#include "qcore/lanes.h"

enum { KQ_COLS = 256, KQ_MAX_SUBS = 16 };

/* Types, as they index what layout.h defines. */
enum { KQ_q2_k, KQ_q3_k, KQ_q4_k, KQ_q5_k, KQ_q6_k };

/* One row's super-block, unpacked. Codes and scales are counted from 0, as stored. */
typedef struct kq_row {
    _Alignas(64) uint8_t code[KQ_COLS];
    uint8_t scale[KQ_MAX_SUBS], min[KQ_MAX_SUBS];
    uint16_t d, dm; /* f16 */
} kq_row;

/* qc_grid.state: what is stored of the scales of a tile, as numbers. Integers are kept in floats. */
typedef struct kq_state {
    float d[QC_LANES], dm[QC_LANES];
    float scale[KQ_MAX_SUBS][QC_LANES], min[KQ_MAX_SUBS][QC_LANES];
} kq_state;

typedef struct kq_type {
    uint32_t sub_cols, has_min;
    float scale_lowest, scale_highest; /* of the integer scales; mins run from 0 to scale_highest */
    qc_search search; /* of one sub-block */
    uint32_t layout; /* KQ_q2_k … */
    uint32_t d_at; /* where d is in the bytes of a block; dm, where there is one, is next */
} kq_type;

extern const qc_ops_encoding kquants_ops_reference;
#if defined(QC_VARIANTS_X86)
extern const qc_ops_encoding kquants_ops_x86_v3, kquants_ops_x86_v4;
#endif

#endif
