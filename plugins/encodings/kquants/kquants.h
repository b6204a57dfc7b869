/* Super-blocks of 256 weights: an f16 scale d (and dm) for the whole, a small integer scale (and min) for each
 * sub-block, a code for each weight.
 *
 *     value = (d * scale) * code - dm * min            q2_k q4_k q5_k      sub-blocks of 16, 32, 32
 *     value = (d * scale) * code                       q3_k q6_k           sub-blocks of 16
 *
 * The bytes of each type are drawn in layout.c.
 */
#ifndef KQUANTS_H
#define KQUANTS_H

#include "qcore/lanes.h"

enum { KQ_COLS = 256, KQ_MAX_SUBS = 16 };

/* One row's super-block, unpacked. Codes and scales are counted from 0, as stored. */
typedef struct kq_row {
    uint16_t d, dm; /* f16 */
    uint8_t scale[KQ_MAX_SUBS], min[KQ_MAX_SUBS], code[KQ_COLS];
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
    void (*put)(uint8_t *p, const kq_row *row);
    void (*get)(kq_row *row, const uint8_t *p);
} kq_type;

void put_q2_k(uint8_t *p, const kq_row *row);
void get_q2_k(kq_row *row, const uint8_t *p);
void put_q3_k(uint8_t *p, const kq_row *row);
void get_q3_k(kq_row *row, const uint8_t *p);
void put_q4_k(uint8_t *p, const kq_row *row);
void get_q4_k(kq_row *row, const uint8_t *p);
void put_q5_k(uint8_t *p, const kq_row *row);
void get_q5_k(kq_row *row, const uint8_t *p);
void put_q6_k(uint8_t *p, const kq_row *row);
void get_q6_k(kq_row *row, const uint8_t *p);

extern const qc_ops_encoding kquants_ops_reference;
#if defined(QC_VARIANTS_X86)
extern const qc_ops_encoding kquants_ops_x86_v3, kquants_ops_x86_v4;
#endif

#endif
