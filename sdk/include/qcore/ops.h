/* Op tables: kernels that backends fill, found by id with host->find. The scalar backend fills every entry and defines
 * it; faster backends overwrite entries with the same bits. Pointers borrowed; calls cannot fail. [any-thread]
 *
 * Exactness: sums over a row use QC_LANES (encoding.h) interleaved partial sums (element i goes to lane i mod 16, rising
 * i, separate multiply and add), folded 8, 4, 2, 1: lane l += lane l + 8, then + 4, + 2, + 1.
 */
#ifndef QCORE_OPS_H
#define QCORE_OPS_H

#include "qcore/host.h"

#define QC_KIND_BACKEND "qcore.backend/1"
#define QC_OPS_ROW "qcore.ops.row/1"

/* One row of n float32. Sums in double. */
typedef struct qc_ops_row {
    uint32_t size;
    int (*all_finite)(const float *x, size_t n);
    double (*sum_squares)(const float *x, const float *importance, size_t n); /* sum f x^2; f may be NULL: 1 */
    double (*squared_error)(const float *x, const float *y, const float *importance, size_t n); /* sum f (x - y)^2 */
} qc_ops_row;

/* A backend overlays tables: called once per table id; overwrites what it does better, leaves the rest and every table
 * it does not know. `size` is the host's sizeof the table: entries past it do not exist. */
typedef struct qc_backend_desc {
    qc_desc base;
    int32_t rank; /* 0: scalar, the definition; higher ranks overlay lower ones */
    /* cpu: the level in use, as "x86-v3". [main-thread] */
    void (*overlay)(const char *cpu, const char *table_id, void *table, size_t size);
} qc_backend_desc;

#endif
