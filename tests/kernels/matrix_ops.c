/* The matrix table, defined by plain loops: one fmaf a term, in rising order. */
#include "check.h"
#include "inputs.h"
#include "test_host.h"
#include <math.h>

typedef qc_status (*gemm_fn)(qc_job *job, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                             size_t ldb, int b_transposed, float *c, size_t ldc);
typedef qc_status (*gram_fn)(qc_job *job, size_t n, size_t tokens, const float *x, size_t ldx, float *h);
typedef qc_status (*cholesky_fn)(qc_job *job, size_t n, float *a, size_t lda);

static qc_job *job_of(const void *side)
{
    return (qc_job *)(uintptr_t)side;
}

/* Scratch is gone after each call. */
static void end_call(const void *side, call *c, qc_status status)
{
    c->result = (uint64_t)(int64_t)status;
    test_host_reset((test_host *)(void *)((char *)job_of(side) - offsetof(test_host, job)));
}

static size_t matrix_floats(size_t rows, size_t cols, size_t ld)
{
    return rows ? (rows - 1) * ld + cols : 0;
}

static const float *floats(const call *c, size_t i)
{
    return (const float *)(const void *)c->buffers[i].at;
}

static float *results(const call *c, size_t i)
{
    return (float *)(void *)c->buffers[i].at;
}

/* Many magnitudes, so that sums in another order have other bits; now and then something worse. */
static const float *new_matrix(size_t n, size_t i, uint32_t *random)
{
    static const input_kind kinds[] = {INPUT_MIXED,    INPUT_POWERS,  INPUT_GAUSS,
                                       INPUT_DENORMAL, INPUT_LARGEST, INPUT_BITS};
    float *x = case_room(n * sizeof *x);
    const input_kind kind = i % 3 ? INPUT_MIXED : kinds[i / 3 % 6];
    for (size_t j = 0; j < n && kind == INPUT_MIXED; j++)
        x[j] = ldexpf(random_float(random, -1.0f, 1.0f), -(int)random_below(random, 12));
    if (kind != INPUT_MIXED)
        input_fill(x, n, kind, random);
    return x;
}

/* Mostly small, so that every tail of a tile is met; some larger than a tile in each direction. */
static size_t any_size(const kernel *k, size_t i, uint32_t *random)
{
    return i % 8 == 7 && k->effort ? 1 + random_below(random, 150) : random_below(random, 41);
}

enum { CASES = 150, FEW_CASES = 30, BENCH_N = 256 };

static size_t n_cases(const kernel *k)
{
    return k->effort ? (size_t)CASES * k->effort : FEW_CASES;
}

/* ---- gemm ---- */

enum { M, N, K, LDA, LDB, LDC, TRANSPOSED };

static qc_status define_gemm(qc_job *job, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                             size_t ldb, int b_transposed, float *c, size_t ldc)
{
    (void)job;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (size_t t = 0; t < k; t++)
                sum = fmaf(a[i * lda + t], b_transposed ? b[j * ldb + t] : b[t * ldb + j], sum);
            c[i * ldc + j] = sum;
        }
    return QC_OK;
}

static void run_gemm(any_fn fn, const void *side, call *c)
{
    const size_t *v = c->number;
    end_call(side, c,
             ((gemm_fn)fn)(job_of(side), v[M], v[N], v[K], floats(c, 0), v[LDA], floats(c, 1), v[LDB],
                           (int)v[TRANSPOSED], results(c, 2), v[LDC]));
}

static int make_gemm(const kernel *k, size_t i, uint32_t *random, call *c)
{
    size_t *v = c->number;
    if (i != BENCH_CASE && i >= n_cases(k))
        return 0;
    for (size_t s = M; s <= K; s++)
        v[s] = i == BENCH_CASE ? BENCH_N : any_size(k, i + s, random);
    v[TRANSPOSED] = i == BENCH_CASE || (i & 1);
    const size_t rows_b = v[TRANSPOSED] ? v[N] : v[K], cols_b = v[TRANSPOSED] ? v[K] : v[N];
    v[LDA] = v[K] + (i == BENCH_CASE ? 0 : random_below(random, 4));
    v[LDB] = cols_b + (i == BENCH_CASE ? 0 : random_below(random, 4));
    v[LDC] = v[N] + (i == BENCH_CASE ? 0 : random_below(random, 4));
    const size_t floats_a = matrix_floats(v[M], v[K], v[LDA]), floats_b = matrix_floats(rows_b, cols_b, v[LDB]);
    call_reads(c, "a", TYPE_FLOATS, new_matrix(floats_a, i, random), floats_a);
    call_reads(c, "b", TYPE_FLOATS, new_matrix(floats_b, i + 1, random), floats_b);
    call_writes(c, "c", TYPE_FLOATS, matrix_floats(v[M], v[N], v[LDC]));
    c->elements = v[M] * v[N] * v[K];
    snprintf(c->input, sizeof c->input, "%zu x %zu x %zu, ld %zu %zu %zu%s", v[M], v[N], v[K], v[LDA], v[LDB], v[LDC],
             v[TRANSPOSED] ? ", b transposed" : "");
    return 1;
}

static const signature gemm_signature = {run_gemm, make_gemm};

/* ---- gram ---- */

enum { GRAM_N, TOKENS, LDX };

static qc_status define_gram(qc_job *job, size_t n, size_t tokens, const float *x, size_t ldx, float *h)
{
    (void)job;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++)
            for (size_t t = 0; t < tokens; t++)
                h[i * n + j] = fmaf(x[t * ldx + i], x[t * ldx + j], h[i * n + j]);
    return QC_OK;
}

static void run_gram(any_fn fn, const void *side, call *c)
{
    const size_t *v = c->number;
    end_call(side, c, ((gram_fn)fn)(job_of(side), v[GRAM_N], v[TOKENS], floats(c, 0), v[LDX], results(c, 1)));
}

static int make_gram(const kernel *k, size_t i, uint32_t *random, call *c)
{
    size_t *v = c->number;
    if (i != BENCH_CASE && i >= n_cases(k))
        return 0;
    v[GRAM_N] = i == BENCH_CASE ? BENCH_N : any_size(k, i, random);
    v[TOKENS] = i == BENCH_CASE ? BENCH_N : any_size(k, i + 1, random);
    v[LDX] = v[GRAM_N] + (i == BENCH_CASE ? 0 : random_below(random, 4));
    const size_t n = matrix_floats(v[TOKENS], v[GRAM_N], v[LDX]), all = v[GRAM_N] * v[GRAM_N];
    call_reads(c, "x", TYPE_FLOATS, new_matrix(n, i, random), n);
    call_updates(c, "h", TYPE_FLOATS, new_matrix(all, i + 1, random), all);
    c->elements = all * v[TOKENS] / 2;
    snprintf(c->input, sizeof c->input, "%zu columns, %zu tokens, ld %zu", v[GRAM_N], v[TOKENS], v[LDX]);
    return 1;
}

static const signature gram_signature = {run_gram, make_gram};

/* ---- cholesky ---- */

enum { CHOLESKY_N, CHOLESKY_LD };

static qc_status define_cholesky(qc_job *job, size_t n, float *a, size_t lda)
{
    (void)job;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i; j < n; j++)
            for (size_t t = 0; t < i; t++)
                a[i * lda + j] = fmaf(-a[t * lda + i], a[t * lda + j], a[i * lda + j]);
        if (!(a[i * lda + i] > 0.0f))
            return QC_E_NUMERIC;
        a[i * lda + i] = sqrtf(a[i * lda + i]);
        for (size_t j = i + 1; j < n; j++)
            a[i * lda + j] /= a[i * lda + i];
    }
    return QC_OK;
}

static void run_cholesky(any_fn fn, const void *side, call *c)
{
    end_call(side, c, ((cholesky_fn)fn)(job_of(side), c->number[CHOLESKY_N], results(c, 0), c->number[CHOLESKY_LD]));
}

/* Positive definite where the diagonal outweighs its row; one case in eight has a pivot that is not positive, and then
 * only the status counts. */
static int make_cholesky(const kernel *k, size_t i, uint32_t *random, call *c)
{
    if (i != BENCH_CASE && i >= n_cases(k) / 2)
        return 0;
    const size_t n = i == BENCH_CASE ? BENCH_N : any_size(k, i, random);
    const size_t ld = n + (i == BENCH_CASE ? 0 : random_below(random, 4)), all = matrix_floats(n, n, ld);
    float *a = case_room(all * sizeof *a);
    input_fill(a, all, INPUT_GAUSS, random);
    for (size_t j = 0; j < n; j++)
        a[j * ld + j] = random_float(random, 1.0f, 4.0f) + 0.06f * (float)n;
    const int bad = i != BENCH_CASE && i % 8 == 5 && n > 0;
    if (bad)
        a[random_below(random, n) * (ld + 1)] = -0.5f;
    call_updates(c, "a", bad ? TYPE_PRIVATE : TYPE_FLOATS, a, bad ? all * sizeof *a : all);
    c->number[CHOLESKY_N] = n;
    c->number[CHOLESKY_LD] = ld;
    c->elements = n * n * n / 6;
    snprintf(c->input, sizeof c->input, "%zu x %zu, ld %zu%s", n, n, ld, bad ? ", not positive definite" : "");
    return 1;
}

static const signature cholesky_signature = {run_cholesky, make_cholesky};

const member matrix_members[] = {
    MEMBER(qc_ops_matrix, gemm, gemm_signature, (any_fn)define_gemm),
    MEMBER(qc_ops_matrix, gram, gram_signature, (any_fn)define_gram),
    MEMBER(qc_ops_matrix, cholesky, cholesky_signature, (any_fn)define_cholesky),
    {0},
};
