/* Matrix ops of every backend that this CPU runs: the bits of a plain loop of fmaf in rising k, whatever the sizes,
 * strides and alignment; nothing outside the result is written; and near what long double gives. */
#include "backend_tables.h"
#include "core/job.h"
#include "qcore/number.h"
#include "test_rows.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const backends[] = {"scalar", "avx2", "avx512", "neon"};

enum { GUARD = 5 }; /* floats before, behind and between the rows of a matrix */
static const float guard_value = 12345.0f;

/* [rows][cols], ld = cols + GUARD, in the middle of a buffer that starts misaligned. */
typedef struct grid {
    size_t rows, cols, ld, n;
    float *all, *at;
} grid;

static grid grid_new(size_t rows, size_t cols)
{
    grid g = {.rows = rows, .cols = cols, .ld = cols + GUARD, .n = (rows + 2) * (cols + GUARD) + GUARD};
    g.all = malloc(g.n * sizeof *g.all);
    assert_non_null(g.all);
    for (size_t i = 0; i < g.n; i++)
        g.all[i] = guard_value;
    g.at = g.all + g.ld + 1;
    return g;
}

/* Values of many magnitudes: sums in another order, or rounded twice, have other bits. */
static void grid_fill(grid *g, uint32_t *random)
{
    for (size_t i = 0; i < g->rows; i++)
        for (size_t j = 0; j < g->cols; j++) {
            float whole = (float)(int32_t)(rows_random(random) >> 8) - 0x1p23f;
            g->at[i * g->ld + j] = ldexpf(whole, -23 - (int)(rows_random(random) % 12));
        }
}

static grid grid_copy(const grid *g)
{
    grid copy = grid_new(g->rows, g->cols);
    memcpy(copy.all, g->all, g->n * sizeof *g->all);
    return copy;
}

static void assert_same(const grid *got, const grid *want, const char *what, const char *name)
{
    if (!memcmp(got->all, want->all, got->n * sizeof *got->all))
        return;
    for (size_t i = 0; i < got->n; i++)
        if (qc_float_bits(got->all[i]) != qc_float_bits(want->all[i])) {
            size_t row = i < got->ld + 1 ? 0 : (i - got->ld - 1) / got->ld;
            fail_msg("%s of %s, %zu x %zu: %a for %a at %zu, %zu", what, name, got->rows, got->cols,
                     (double)got->all[i], (double)want->all[i], row, (i - got->ld - 1) % got->ld);
        }
}

/* ---- the definitions, once more, and in long double ---- */

static float element(const grid *b, int transposed, size_t k, size_t j)
{
    return transposed ? b->at[j * b->ld + k] : b->at[k * b->ld + j];
}

static void expect_gemm(const grid *a, const grid *b, int transposed, grid *c)
{
    for (size_t i = 0; i < c->rows; i++)
        for (size_t j = 0; j < c->cols; j++) {
            float sum = 0.0f;
            long double exact = 0.0L, size = 0.0L;
            for (size_t k = 0; k < a->cols; k++) {
                float x = a->at[i * a->ld + k], y = element(b, transposed, k, j);
                sum = fmaf(x, y, sum);
                exact += (long double)x * y;
                size += fabsl((long double)x * y);
            }
            c->at[i * c->ld + j] = sum;
            assert_true(fabsl(exact - sum) <= size * (long double)a->cols * 0x1p-24L);
        }
}

static void expect_gram(const grid *x, grid *h)
{
    for (size_t i = 0; i < h->rows; i++)
        for (size_t j = i; j < h->rows; j++)
            for (size_t t = 0; t < x->rows; t++)
                h->at[i * h->rows + j] = fmaf(x->at[t * x->ld + i], x->at[t * x->ld + j], h->at[i * h->rows + j]);
}

/* Number of the pivot that is not positive, from 1; 0: none. */
static size_t expect_cholesky(grid *a)
{
    for (size_t i = 0; i < a->rows; i++) {
        for (size_t j = i; j < a->rows; j++)
            for (size_t k = 0; k < i; k++)
                a->at[i * a->ld + j] = fmaf(-a->at[k * a->ld + i], a->at[k * a->ld + j], a->at[i * a->ld + j]);
        if (!(a->at[i * a->ld + i] > 0.0f))
            return i + 1;
        a->at[i * a->ld + i] = sqrtf(a->at[i * a->ld + i]);
        for (size_t j = i + 1; j < a->rows; j++)
            a->at[i * a->ld + j] /= a->at[i * a->ld + i];
    }
    return 0;
}

/* ---- one size, all backends ---- */

typedef struct suite {
    backend_tables backend[4];
    size_t n;
    test_host host;
    qc_job *job;
} suite;

static void check_gemm(suite *s, size_t m, size_t n, size_t k, int transposed)
{
    uint32_t random = (uint32_t)(m * 31 + n * 7 + k);
    grid a = grid_new(m, k), b = transposed ? grid_new(n, k) : grid_new(k, n), want = grid_new(m, n);
    grid_fill(&a, &random);
    grid_fill(&b, &random);
    expect_gemm(&a, &b, transposed, &want);
    for (size_t i = 0; i < s->n; i++) {
        grid a_copy = grid_copy(&a), b_copy = grid_copy(&b), got = grid_new(m, n);
        grid_fill(&got, &random); /* sums start at 0, not at what is there */
        assert_int_equal(s->backend[i].matrix.gemm(s->job, m, n, k, a.at, a.ld, b.at, b.ld, transposed, got.at, got.ld),
                         QC_OK);
        assert_same(&got, &want, transposed ? "gemm (b transposed)" : "gemm", s->backend[i].name);
        assert_same(&a_copy, &a, "a after gemm", s->backend[i].name);
        assert_same(&b_copy, &b, "b after gemm", s->backend[i].name);
        free(a_copy.all);
        free(b_copy.all);
        free(got.all);
        test_host_reset(&s->host);
    }
    free(a.all);
    free(b.all);
    free(want.all);
}

static void test_gemm(void **state)
{
    static const size_t sizes[][3] = {{1, 1, 1},     {1, 1, 0},       {3, 5, 0},     {0, 4, 3},     {4, 0, 3},
                                      {1, 37, 19},   {2, 16, 4},      {5, 31, 7},    {6, 32, 33},   {7, 33, 64},
                                      {13, 64, 5},   {14, 32, 16},    {15, 65, 17},  {28, 48, 40},  {29, 100, 31},
                                      {64, 64, 64},  {3, 1, 300},     {1, 3, 513},   {17, 47, 257}, {31, 515, 20},
                                      {225, 33, 21}, {100, 300, 260}, {240, 530, 9}, {530, 790, 13}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int transposed = 0; transposed < 2; transposed++)
            check_gemm(*state, sizes[i][0], sizes[i][1], sizes[i][2], transposed);
}

static void test_gemm_every_small_size(void **state)
{
    for (size_t m = 1; m <= 16; m++)
        for (size_t n = 1; n <= 40; n += m % 2 ? 3 : 1)
            check_gemm(*state, m, n, (m * n) % 11, (int)(n & 1));
}

/* Through one ld for all: h is n x n without gaps, as its op has it. */
static void check_gram(suite *s, size_t n, size_t tokens)
{
    uint32_t random = (uint32_t)(n * 13 + tokens);
    grid x = grid_new(tokens, n), start = grid_new(n + 1, n);
    grid_fill(&x, &random);
    grid_fill(&start, &random);
    grid want = grid_copy(&start);
    want.rows = n;
    expect_gram(&x, &want);
    for (size_t i = 0; i < s->n; i++) {
        grid got = grid_copy(&start);
        size_t half = tokens / 2; /* in two steps: sums go on */
        assert_int_equal(s->backend[i].matrix.gram(s->job, n, half, x.at, x.ld, got.at), QC_OK);
        assert_int_equal(s->backend[i].matrix.gram(s->job, n, tokens - half, x.at + half * x.ld, x.ld, got.at), QC_OK);
        assert_same(&got, &want, "gram", s->backend[i].name);
        free(got.all);
        test_host_reset(&s->host);
    }
    free(x.all);
    free(start.all);
    free(want.all);
}

static void test_gram(void **state)
{
    static const size_t sizes[][2] = {{1, 1},    {1, 9},    {5, 0},     {13, 3},  {14, 20},  {16, 2},
                                      {31, 10},  {33, 17},  {64, 40},   {97, 30}, {230, 50}, {300, 9},
                                      {520, 12}, {64, 600}, {47, 1030}, {800, 7}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_gram(*state, sizes[i][0], sizes[i][1]);
}

/* x'x + n: symmetric, positive definite; the lower triangle is left as it was. */
static grid positive_definite(size_t n, uint32_t seed)
{
    grid a = grid_new(n, n), x = grid_new(n + 3, n);
    grid_fill(&x, &seed);
    grid_fill(&a, &seed);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++) {
            float sum = i == j ? 0.25f : 0.0f;
            for (size_t t = 0; t < x.rows; t++)
                sum = fmaf(x.at[t * x.ld + i], x.at[t * x.ld + j], sum);
            a.at[i * a.ld + j] = sum;
        }
    free(x.all);
    return a;
}

/* |u'u - a| beside the diagonal's size. */
static void assert_factors(const grid *u, const grid *a)
{
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = i; j < a->rows; j++) {
            long double sum = 0.0L;
            for (size_t k = 0; k <= i; k++)
                sum += (long double)u->at[k * u->ld + i] * u->at[k * u->ld + j];
            long double size = sqrtl((long double)a->at[i * a->ld + i] * a->at[j * a->ld + j]);
            assert_true(fabsl(sum - a->at[i * a->ld + j]) <= size * (long double)(a->rows + 2) * 0x1p-23L);
        }
}

static void check_cholesky(suite *s, size_t n, size_t bad_pivot)
{
    grid a = positive_definite(n, (uint32_t)n);
    if (bad_pivot)
        a.at[(bad_pivot - 1) * (a.ld + 1)] = -1.0f;
    grid want = grid_copy(&a);
    assert_int_equal(expect_cholesky(&want), bad_pivot);
    if (!bad_pivot)
        assert_factors(&want, &a);
    for (size_t i = 0; i < s->n; i++) {
        grid got = grid_copy(&a);
        char expected[64];
        snprintf(expected, sizeof expected, "pivot %zu of %zu", bad_pivot, n);
        qc_status status = s->backend[i].matrix.cholesky(s->job, n, got.at, got.ld);
        assert_int_equal(status, bad_pivot ? QC_E_NUMERIC : QC_OK);
        if (bad_pivot)
            assert_non_null(strstr(s->host.message, expected));
        else
            assert_same(&got, &want, "cholesky", s->backend[i].name);
        free(got.all);
        test_host_reset(&s->host);
    }
    free(a.all);
    free(want.all);
}

static void test_cholesky(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 7, 15, 16, 33, 64, 127, 128, 129, 200, 257, 300, 560};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_cholesky(*state, sizes[i], 0);
    check_cholesky(*state, 1, 1);
    check_cholesky(*state, 20, 5);
    check_cholesky(*state, 200, 128);
    check_cholesky(*state, 200, 129);
    check_cholesky(*state, 200, 200);
}

/* Several tiles either way, shared by 1, 2 and 7 threads: the portable backend's bits each time. */
static void check_threads(suite *s, const backend_tables *t, unsigned n_threads)
{
    enum { M = 560, N = 800, K = 300 };
    uint32_t random = 3;
    pool *p = pool_new(&s->host.host, n_threads);
    grid a = grid_new(M, K), b = grid_new(N, K), h = grid_new(K + 1, K), u = positive_definite(K, 5);
    assert_non_null(p);
    grid_fill(&a, &random);
    grid_fill(&b, &random);
    grid_fill(&h, &random);
    grid want[3] = {grid_new(M, N), grid_copy(&h), grid_copy(&u)},
         got[3] = {grid_new(M, N), grid_copy(&h), grid_copy(&u)};
    for (int i = 0; i < 2; i++) {
        const qc_ops_matrix *ops = i ? &t->matrix : &s->backend[0].matrix;
        qc_job *job = i ? pool_job(p) : s->job;
        grid *to = i ? got : want;
        assert_int_equal(ops->gemm(job, M, N, K, a.at, a.ld, b.at, b.ld, 1, to[0].at, to[0].ld), QC_OK);
        assert_int_equal(ops->gram(job, K, M, a.at, a.ld, to[1].at), QC_OK);
        assert_int_equal(ops->cholesky(job, K, to[2].at, to[2].ld), QC_OK);
    }
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"gemm by threads", "gram by threads", "cholesky by threads"};
        assert_same(&got[i], &want[i], names[i], t->name);
        free(got[i].all);
        free(want[i].all);
    }
    grid *rest[] = {&a, &b, &h, &u};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        free(rest[i]->all);
    pool_free(p);
    test_host_reset(&s->host);
}

static void test_threads(void **state)
{
    suite *s = *state;
    for (size_t i = 0; i < s->n; i++) {
        check_threads(s, &s->backend[i], 1);
        check_threads(s, &s->backend[i], 2);
        check_threads(s, &s->backend[i], 7);
    }
}

/* OpenBLAS, where it was there to build with: near, not equal; and what it does not do is left alone. */
static void test_blas_is_near(void **state)
{
    suite *s = *state;
    backend_tables blas;
    FILE *library = fopen(QC_PLUGIN_DIR "/blas/libqc_blas.so", "rb");
    if (!library)
        skip();
    fclose(library);
    assert_true(backend_open(&blas, "blas"));
    assert_true(test_plugin_open("blas")->descs[0]->flags & QC_DESC_INEXACT);
    assert_null(blas.matrix.cholesky);
    uint32_t random = 1;
    grid a = grid_new(300, 70), b = grid_new(50, 70), c = grid_new(300, 50), want = grid_new(300, 50);
    grid h = grid_new(71, 70), want_h = grid_new(71, 70);
    grid_fill(&a, &random);
    grid_fill(&b, &random);
    grid_fill(&h, &random);
    memcpy(want_h.all, h.all, h.n * sizeof *h.all);
    want_h.rows = 70;
    expect_gemm(&a, &b, 1, &want);
    expect_gram(&a, &want_h);
    assert_int_equal(blas.matrix.gemm(s->job, 300, 50, 70, a.at, a.ld, b.at, b.ld, 1, c.at, c.ld), QC_OK);
    assert_int_equal(blas.matrix.gram(s->job, 70, 300, a.at, a.ld, h.at), QC_OK);
    for (size_t i = 0; i < c.n; i++)
        assert_true(fabsf(c.all[i] - want.all[i]) <= 1e-4f);
    for (size_t i = 0; i < h.n; i++)
        assert_true(fabsf(h.all[i] - want_h.all[i]) <= 1e-6f * (100.0f + fabsf(want_h.all[i])));
    grid *all[] = {&a, &b, &c, &want, &h, &want_h};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->all);
    test_host_reset(&s->host);
}

/* The k-th allocation fails: out of memory, said so, for whatever k there is. */
static void test_out_of_memory(void **state)
{
    suite *s = *state;
    grid a = grid_new(20, 300), c = grid_new(20, 20);
    uint32_t random = 1;
    grid_fill(&a, &random);
    for (size_t i = 0; i < s->n; i++)
        for (size_t fail_at = 1;; fail_at++) {
            s->host.fail_at = fail_at;
            qc_status status = s->backend[i].matrix.gemm(s->job, 20, 20, 300, a.at, a.ld, a.at, a.ld, 1, c.at, c.ld);
            assert_true(status == QC_OK || (status == QC_E_NOMEM && strstr(s->host.message, "out of memory")));
            size_t asked = s->host.n_allocs;
            test_host_reset(&s->host);
            if (asked < fail_at)
                break;
        }
    s->host.fail_at = 0;
    free(a.all);
    free(c.all);
}

static int open_all(void **state)
{
    static suite s;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        s.n += (size_t)backend_open(&s.backend[s.n], backends[i]);
    s.job = test_host_begin(&s.host);
    *state = &s;
    return 0;
}

static int close_all(void **state)
{
    suite *s = *state;
    test_host_end(&s->host);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),          cmocka_unit_test(test_gemm_every_small_size),
        cmocka_unit_test(test_gram),          cmocka_unit_test(test_cholesky),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_blas_is_near),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
