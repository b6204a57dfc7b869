/* What a block does to each row by itself, shared among workers. */
#ifndef LLAMA_ROWS_H
#define LLAMA_ROWS_H

#include "qcore/ops.h"

typedef struct rows_norm {
    const qc_ops_math *math;
    const float *x;
    float *y;
    const float *weight;
    size_t cols;
    float epsilon;
} rows_norm;

/* x += y + bias; bias may be NULL. */
typedef struct rows_sum {
    float *x;
    const float *y, *bias;
    size_t cols;
} rows_sum;

/* gate = silu(gate + its bias) * (up + its bias); biases may be NULL. */
typedef struct rows_gate {
    const qc_ops_math *math;
    float *gate, *up;
    const float *gate_bias, *up_bias;
    size_t cols;
} rows_gate;

qc_status norm_rows(qc_job *job, size_t n, const rows_norm *work);
qc_status add_rows(qc_job *job, size_t n, const rows_sum *work);
qc_status gate_rows(qc_job *job, size_t n, const rows_gate *work);

#endif
