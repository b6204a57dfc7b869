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
#define QC_OPS_MATH "qcore.ops.math/1"
#define QC_OPS_MATRIX "qcore.ops.matrix/1"

/* What host->find gives for this is the CPU level in use, as a backend's overlay is told it ("x86-v3"): for plugins that
 * build kernels of their own per level. Static; NULL: not known. Since ABI 0.3. */
#define QC_CPU_LEVEL "qcore.cpu/1"

/* One row of n float32. Sums in double. */
typedef struct qc_ops_row {
    uint32_t size;
    int (*all_finite)(const float *x, size_t n);
    double (*sum_squares)(const float *x, const float *importance, size_t n); /* sum f x^2; f may be NULL: 1 */
    double (*squared_error)(const float *x, const float *y, const float *importance, size_t n); /* sum f (x - y)^2 */
    /* One row of qc_activations (encoding.h); n: a multiple of QC_ACTIVATION_COLS; x finite. code = rne(x * (127 / most)) and
     * scale = most / 127 with most the largest |x|; all 0 where that is below 2^-100. Since ABI 0.4. */
    void (*round_activations)(int8_t *code, float *scale, int16_t *sum, const float *x, size_t n);
} qc_ops_row;

/* Functions of float32 rows, for inputs that are finite. Built from + - * / and qcore/math.h alone: a few ulp of the true
 * value, and the same bits everywhere. y may be x. */
typedef struct qc_ops_math {
    uint32_t size;
    void (*exp)(float *y, const float *x, size_t n); /* 0 where that is below FLT_MIN, FLT_MAX where above it */
    void (*silu)(float *y, const float *x, size_t n); /* x / (1 + exp(-x)) */
    /* exp(x - max) / sum of them. The sum in QC_LANES lanes of float32, as in the row table. n > 0 */
    void (*softmax)(float *y, const float *x, size_t n);
    double (*log_sum_exp)(const float *x,
                          size_t n); /* max + log(sum of exp(x - max)), the sum in double lanes. n > 0 */
    /* weight x / sqrt(mean of x^2 + epsilon); the mean as sum_squares has it, in double; weight may be NULL: 1 */
    void (*rms_norm)(float *y, const float *x, const float *weight, size_t n, float epsilon);
} qc_ops_math;

/* Dense matrices of float32, row-major; ld: floats from one row to the next. Every element is one sum in rising k, one
 * fused multiply-add (fmaf) a term, in one accumulator: same bits for any vector width, blocking and thread count. Work
 * is shared by job->parallel_for in pieces of fixed size; inside a parallel_for it runs where it was called. They fail
 * only when out of memory, cancelled, or as said. [job-thread] */
typedef struct qc_ops_matrix {
    uint32_t size;
    /* c [m][n] = a [m][k] b; b is [k][n], or [n][k] with b_transposed. Sums start at 0. c overlaps neither. */
    qc_status (*gemm)(qc_job *job, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                      int b_transposed, float *c, size_t ldc);
    /* h [n][n] += x'x for x [tokens][n], upper triangle (row <= column); sums go on from h, tokens rising. h: ld n. */
    qc_status (*gram)(qc_job *job, size_t n, size_t tokens, const float *x, size_t ldx, float *h);
    /* The upper triangle of a symmetric [n][n] becomes U with U'U = a; the rest is left alone. Sums start at a, and
     * each term is subtracted, k rising. QC_E_NUMERIC with the pivot's number where one is not positive. */
    qc_status (*cholesky)(qc_job *job, size_t n, float *a, size_t lda);
} qc_ops_matrix;

/* A backend overlays tables: called once per table id; overwrites what it does better, leaves the rest and every table
 * it does not know. `size` is the host's sizeof the table: entries past it do not exist. */
typedef struct qc_backend_desc {
    qc_desc base;
    int32_t rank; /* 0: scalar, the definition; higher ranks overlay lower ones */
    /* cpu: the level in use, as "x86-v3". [main-thread] */
    void (*overlay)(const char *cpu, const char *table_id, void *table, size_t size);
} qc_backend_desc;

#endif
