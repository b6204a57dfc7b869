/* The tables of a dense backend. Rows and functions come from one source, built for the CPU level of each backend;
 * matrices are the scalar backend's own definition there, and tiles of vectors elsewhere. */
#ifndef DENSE_H
#define DENSE_H

#include "qcore/encoding.h"
#include "qcore/ops.h"

extern const qc_ops_row dense_row;
extern const qc_ops_math dense_math;
extern const qc_ops_matrix dense_matrix;

/* Lane l += lane l + 8, then + 4, + 2, + 1. */
static inline double dense_fold(double *lane)
{
    for (size_t half = QC_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* The next QC_LANES elements of a row, `filler` past its end: itself where it is long enough, else a copy in `room`. */
static inline const float *dense_lanes(const float *x, size_t n, float filler, float *room)
{
    if (n >= QC_LANES)
        return x;
    for (size_t l = 0; l < QC_LANES; l++)
        room[l] = l < n ? x[l] : filler;
    return room;
}

#endif
