/* Rows of a tensor as finite float32, whatever encoding they are stored in. */
#ifndef CORE_ROWS_H
#define CORE_ROWS_H

#include "core/model.h"
#include "qcore/ops.h"

/* Rows [row, row + n) of t, whose stored bytes are given, as weights x [n][cols]; energy: the sum of their squares. Blocks
 * of a hostile file are validated before they are used; NaN and Inf are refused by row and column. [any-thread] */
qc_status rows_decode(qc_job *job, const qc_ops_row *ops, const model_tensor *t, const qc_coder *stored, uint64_t row,
                      size_t n, const void *bytes, float *x, double *energy);

/* The same, but nothing is checked: blocks have been validated, NaN and Inf go through. [any-thread] */
qc_status rows_unpack(qc_job *job, const model_tensor *t, const qc_coder *stored, size_t n, const void *bytes,
                      float *x);

/* As rows_decode, read from the model: scratch for the stored bytes is given back. */
qc_status rows_load(const model *m, qc_job *job, const qc_ops_row *ops, const model_tensor *t, const qc_coder *stored,
                    uint64_t row, size_t n, float *x);

/* Sums over rows of x^2, of (x - y)^2: finite where all weights are (no square of a float32 overflows a double), so that
 * nobody looks at them once more. */
double rows_energy(const qc_ops_row *ops, const float *x, size_t n, size_t cols);
double rows_error(const qc_ops_row *ops, const float *x, const float *y, size_t n, size_t cols);

#endif
