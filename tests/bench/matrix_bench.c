/* What one core makes of the matrix and math ops, per backend, beside OpenBLAS where it is installed:
 *
 *     matrix_bench [SECONDS]      how long each figure may take (default 0.5)
 *
 * GFLOP/s of CPU time, a multiply-add being two (0: not measured); and milliards of elements a second. The best of several runs: the others were
 * disturbed. Backends take turns, so that a machine that slows down slows all of them.
 */
#include "../kernels/backend_tables.h"
#include "core/job.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

/* cblas_sgemm, cblas_ssyrk, LAPACKE_spotrf of the system's OpenBLAS: int is its default index type. */
typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                         const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*ssyrk_fn)(int order, int uplo, int trans, int n, int k, float alpha, const float *a, int lda, float beta,
                         float *c, int ldc);
typedef void (*spotrf_fn)(const char *uplo, const int *n, float *a, const int *lda, int *info);
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112, UPPER = 121 };

enum { LARGEST = 4096, MOST_BACKENDS = 4, REPEATS = 1000 };

typedef struct bench {
    backend_tables backend[MOST_BACKENDS];
    size_t n_backends;
    test_host host;
    pool *pool;
    qc_job *job; /* the core's own: scratch is used again, as in a run */
    sgemm_fn sgemm;
    ssyrk_fn ssyrk;
    spotrf_fn spotrf;
    float *a, *b, *c, *spd;
    double seconds;
} bench;

typedef struct shape {
    const char *op; /* gemm, gram, cholesky */
    size_t m, n, k;
    int b_transposed;
} shape;

static const shape shapes[] = {
    {"gemm", 512, 1024, 1024, 1},   {"gemm", 512, 4096, 4096, 1},   {"gemm", 2048, 1024, 4096, 1},
    {"gemm", 2048, 4096, 1024, 1},  {"gemm", 4096, 4096, 4096, 1},  {"gemm", 512, 4096, 4096, 0},
    {"gemm", 64, 64, 64, 1},        {"gemm", 64, 512, 64, 1},       {"gemm", 64, 512, 128, 1},
    {"gemm", 64, 64, 512, 0},       {"gemm", 64, 128, 512, 0},      {"gemm", 1, 4096, 4096, 1},
    {"gemm", 8, 4096, 4096, 1},     {"gram", 1024, 1024, 2048, 0},  {"gram", 4096, 4096, 512, 0},
    {"cholesky", 1024, 1024, 0, 0}, {"cholesky", 4096, 4096, 0, 0},
};

/* CPU seconds: other programs on the machine do not count. */
static double now(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static double flops(const shape *s)
{
    double m = (double)s->m, n = (double)s->n, k = (double)s->k;
    return !strcmp(s->op, "gemm") ? 2 * m * n * k : !strcmp(s->op, "gram") ? n * (n + 1) * k : n * n * n / 3;
}

static void theirs(bench *b, const shape *s)
{
    int m = (int)s->m, n = (int)s->n, k = (int)s->k, info;
    if (!strcmp(s->op, "gemm"))
        b->sgemm(ROW_MAJOR, PLAIN, s->b_transposed ? TRANSPOSED : PLAIN, m, n, k, 1.0f, b->a, k, b->b,
                 s->b_transposed ? k : n, 0.0f, b->c, n);
    else if (!strcmp(s->op, "gram"))
        b->ssyrk(ROW_MAJOR, UPPER, TRANSPOSED, n, k, 1.0f, b->a, n, 1.0f, b->c, n);
    else
        b->spotrf("L", &n, b->c, &n, &info); /* the lower triangle of columns is the upper one of rows */
}

static void ours(bench *b, const qc_ops_matrix *ops, const shape *s)
{
    if (!strcmp(s->op, "gemm"))
        ops->gemm(b->job, s->m, s->n, s->k, b->a, s->k, b->b, s->b_transposed ? s->k : s->n, s->b_transposed, b->c,
                  s->n);
    else if (!strcmp(s->op, "gram"))
        ops->gram(b->job, s->n, s->k, b->a, s->n, b->c);
    else
        ops->cholesky(b->job, s->n, b->c, s->n);
    job_clear(b->job);
}

/* GFLOP/s of one run, repeated where it is short. NULL: OpenBLAS. */
static double run(bench *b, const qc_ops_matrix *ops, const shape *s)
{
    int times = flops(s) > 1e8 || !strcmp(s->op, "cholesky") ? 1 : 1 + (int)(2e7 / flops(s));
    if (!strcmp(s->op, "cholesky"))
        memcpy(b->c, b->spd, s->n * s->n * sizeof *b->c);
    double start = now();
    for (int i = 0; i < times; i++)
        ops ? ours(b, ops, s) : theirs(b, s);
    return flops(s) * times / (now() - start) * 1e-9;
}

/* A diagonal that outweighs the rest. */
static void make_positive_definite(float *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            a[i * n + j] = i == j ? (float)n : (float)((i * j) % 17) * 0.01f;
}

static void measure(bench *b, const shape *s)
{
    double best[MOST_BACKENDS + 1] = {0};
    const size_t first = flops(s) > 3e9 ? 1 : 0; /* scalar would take minutes */
    if (!strcmp(s->op, "cholesky"))
        make_positive_definite(b->spd, s->n);
    double end = now() + b->seconds * (double)(b->n_backends + 1);
    for (int round = 0; round < 3 || now() < end; round++) {
        for (size_t i = round ? first > 1 ? first : 1 : first; i < b->n_backends; i++) {
            double rate = run(b, &b->backend[i].matrix, s);
            best[i] = rate > best[i] ? rate : best[i];
        }
        double rate = b->sgemm ? run(b, NULL, s) : 0.0;
        best[MOST_BACKENDS] = rate > best[MOST_BACKENDS] ? rate : best[MOST_BACKENDS];
    }
    printf("%-9s%6zu%6zu%6zu%5s", s->op, s->m, s->n, s->k, s->b_transposed ? "t" : "");
    for (size_t i = 0; i < b->n_backends; i++)
        printf("%9.1f", best[i]);
    printf("%10.1f%7.0f%%\n", best[MOST_BACKENDS],
           best[MOST_BACKENDS] > 0 ? 100 * best[b->n_backends - 1] / best[MOST_BACKENDS] : 0.0);
    fflush(stdout);
}

/* ---- functions ---- */

enum { ROW = 4096 };

static double elements_per_second(const backend_tables *t, int which, float *y, const float *x)
{
    static volatile double kept;
    double start = now();
    for (int i = 0; i < REPEATS; i++)
        switch (which) {
        case 0:
            t->math.exp(y, x, ROW);
            break;
        case 1:
            t->math.silu(y, x, ROW);
            break;
        case 2:
            t->math.softmax(y, x, ROW);
            break;
        case 3:
            kept = t->math.log_sum_exp(x, ROW);
            break;
        case 4:
            t->math.rms_norm(y, x, x, ROW, 1e-5f);
            break;
        default:
            kept = t->row.sum_squares(x, NULL, ROW);
        }
    (void)kept;
    return (double)ROW * REPEATS / (now() - start) * 1e-9;
}

static void measure_functions(bench *b)
{
    static const char *const names[] = {"exp", "silu", "softmax", "log_sum_exp", "rms_norm", "sum_squares"};
    printf("\n%-32s", "milliard elements/s");
    for (size_t i = 0; i < b->n_backends; i++)
        printf("%9s", b->backend[i].name);
    printf("\n");
    for (int which = 0; which < (int)(sizeof names / sizeof *names); which++) {
        printf("%-32s", names[which]);
        for (size_t i = 0; i < b->n_backends; i++) {
            double best = 0;
            for (int round = 0; round < 7; round++) {
                double rate = elements_per_second(&b->backend[i], which, b->c, b->a);
                best = rate > best ? rate : best;
            }
            printf("%9.2f", best);
        }
        printf("\n");
    }
}

/* ---- */

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)(seed >> 8) * 0x1p-23f - 1.0f;
    }
}

static void find_openblas(bench *b)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    void (*set_threads)(int);
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&b->sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&b->ssyrk = dlsym(library, "cblas_ssyrk");
    *(void **)&b->spotrf = dlsym(library, "spotrf_");
    if (set_threads && b->sgemm && b->ssyrk && b->spotrf)
        set_threads(1);
    else
        b->sgemm = NULL;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    static bench b;
    const size_t cells = (size_t)LARGEST * LARGEST;
    b.seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        b.n_backends += (size_t)backend_open(&b.backend[b.n_backends], names[i]);
    find_openblas(&b);
    test_host_begin(&b.host);
    b.pool = pool_new(&b.host.host, 1);
    if (!b.pool)
        return 1;
    b.job = pool_job(b.pool);
    b.a = malloc(cells * sizeof(float));
    b.b = malloc(cells * sizeof(float));
    b.c = calloc(cells, sizeof(float));
    b.spd = malloc(cells * sizeof(float));
    if (!b.a || !b.b || !b.c || !b.spd)
        return 1;
    fill(b.a, cells, 1);
    fill(b.b, cells, 2);
    printf("%-9s%6s%6s%6s%5s", "GFLOP/s", "m", "n", "k", "b");
    for (size_t i = 0; i < b.n_backends; i++)
        printf("%9s", b.backend[i].name);
    printf("%10s%8s\n", "OpenBLAS", "ratio");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        measure(&b, &shapes[i]);
    measure_functions(&b);
    pool_free(b.pool);
    test_host_end(&b.host);
    free(b.a);
    free(b.b);
    free(b.c);
    free(b.spd);
    return 0;
}
