/* What gptq makes of a block of an 8B model's shape, phase by phase, beside the matrix work that no GPTQ can do without:
 *
 *     gptq_bench [ENCODING=q4_k] [THREADS=1] [SCALE=1] [CHUNKS=1]       SCALE: 2 halves every width
 *
 * Seconds are CPU seconds of the whole linears, GFLOP/s are of one core. A few chunks of rows are rounded and scaled up.
 *
 *     gram       X'X of 30 tokens a column          what calibration does, for comparison
 *     cholesky   of the Gram matrix                 bare: the op alone
 *     inverse    of the factor, as prepare does it  bare: n^3 / 3 at the speed of products
 *     update     what earlier panels changed        bare: the same products alone
 *     slope      E A' before coordinate descent     bare: the same products alone
 */
#include "../kernels/backend_tables.h"
#include "core/job.h"
#include "qcore/method.h"
#include <stdlib.h>
#include <time.h>

enum { CHUNK = 256, PANEL = 256, GRAM_TOKENS = 512, TOKENS_A_COLUMN = 30 };

typedef struct input_shape {
    const char *readers;
    size_t cols, rows;
} input_shape;

static const input_shape block[] = {
    {"attn_q attn_k attn_v", 4096, 4096 + 1024 + 1024},
    {"attn_output", 4096, 4096},
    {"ffn_gate ffn_up", 4096, 2 * 14336},
    {"ffn_down", 14336, 4096},
};

typedef struct seconds {
    double gram, prepare, cholesky, inverse; /* inverse: bare */
    double fit, feedback, search, refine; /* feedback: with fit and update */
    double update, slope; /* bare */
} seconds;

typedef struct bench {
    test_host host;
    pool *pool;
    qc_job *job;
    backend_tables backend;
    test_table tables[3];
    const qc_method_desc *method;
    qc_coder coder;
    qc_ops_encoding ops;
    const qc_encoding_desc *encoding;
    size_t n_chunks, cols;
    float *x, *gram, *w, *errors, *product;
    unsigned char *bytes;
    qc_input input;
    qc_linear linear;
    void *state, *prepared;
} bench;

static double now(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void die(const char *what)
{
    fprintf(stderr, "gptq_bench: %s\n", what);
    exit(1);
}

static void check(bench *b, qc_status status)
{
    if (status != QC_OK)
        die(job_message(b->job));
    job_clear(b->job);
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes / 64 + 1) * 64);
    return p ? p : (die("out of memory"), NULL);
}

static float random_float(uint32_t *seed)
{
    float sum = 0.0f;
    for (int i = 0; i < 4; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        sum += (float)(int32_t)(*seed >> 8) * 0x1p-23f - 1.0f;
    }
    return sum;
}

/* Tokens that share a few strong directions. */
static void fill_tokens(float *x, size_t n, size_t cols)
{
    uint32_t seed = 7;
    for (size_t t = 0; t < n; t++) {
        float shared[4];
        for (size_t i = 0; i < 4; i++)
            shared[i] = random_float(&seed);
        for (size_t c = 0; c < cols; c++)
            x[t * cols + c] = random_float(&seed) + 0.5f * shared[c % 4] * (float)(1 + c % 7);
    }
}

/* ---- the method, as the host calls it ---- */

static qc_status round_chunk(void *arg, qc_job *job, size_t begin, size_t end)
{
    bench *b = arg;
    return b->method->round(job, b->state, b->prepared, &b->linear, b->w + begin * b->cols, end - begin,
                            b->bytes + begin * b->coder.row_bytes);
}

static double time_rounding(bench *b, double search, double refine)
{
    const test_setting settings[] = {{.name = "damp", .number = 0.01},       {.name = "shrink", .number = 0.1},
                                     {.name = "by_importance", .number = 1}, {.name = "search", .number = search},
                                     {.name = "refine", .number = refine},   {.name = "rescale", .number = 1},
                                     {.name = "passes", .number = 3},        {.name = NULL}};
    uint32_t seed = 3;
    void *state;
    check(b, b->method->create(b->job, test_settings(settings), &state));
    for (size_t i = 0; i < b->n_chunks * CHUNK * b->cols; i++)
        b->w[i] = 0.02f * random_float(&seed);
    b->state = state;
    double start = now();
    check(b, b->job->parallel_for(b->job, b->n_chunks * CHUNK, CHUNK, round_chunk, b));
    double taken = now() - start;
    b->method->destroy(&b->host.host, state);
    return taken;
}

static double time_prepare(bench *b)
{
    const test_setting settings[] = {{.name = "damp", .number = 0.01},
                                     {.name = "shrink", .number = 0.1},
                                     {.name = "by_importance", .number = 1},
                                     {.name = "refine", .number = 1},
                                     {.name = NULL}};
    void *state;
    check(b, b->method->create(b->job, test_settings(settings), &state));
    double start = now();
    check(b, b->method->prepare(b->job, state, &b->input, b->encoding, NULL, &b->prepared));
    double taken = now() - start;
    b->method->destroy(&b->host.host, state);
    return taken;
}

/* ---- bare work ---- */

static double time_gram(bench *b)
{
    const size_t n = b->cols;
    double start = now();
    check(b, b->backend.matrix.gram(b->job, n, GRAM_TOKENS, b->x, n, b->gram));
    start = now() - start;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            b->gram[i * n + k] = b->gram[k * n + i];
    return start;
}

/* The Gram matrix with its diagonal raised, so that it can be factored as it is. */
static double time_cholesky(bench *b)
{
    const size_t n = b->cols;
    float *a = room(n * n * sizeof *a);
    memcpy(a, b->gram, n * n * sizeof *a);
    for (size_t i = 0; i < n; i++)
        a[i * (n + 1)] *= 1.2f;
    double start = now();
    check(b, b->backend.matrix.cholesky(b->job, n, a, n));
    start = now() - start;
    free(a);
    return start;
}

/* Products of all chunks, one after another in each: of a panel with those before it (update) or after it (slope). */
static qc_status bare_products(void *arg, qc_job *job, size_t begin, size_t end)
{
    const bench *b = arg;
    const size_t n = b->cols;
    qc_status status = QC_OK;
    for (size_t first = 0; status == QC_OK && first < n; first += PANEL)
        status = b->backend.matrix.gemm(job, end - begin, PANEL, first, b->errors + begin * n, n, b->gram + first, n, 0,
                                        b->product + begin * PANEL, PANEL);
    return status;
}

static double time_products(bench *b)
{
    double start = now();
    check(b, b->job->parallel_for(b->job, b->n_chunks * CHUNK, CHUNK, bare_products, b));
    return now() - start;
}

static qc_status bare_fit(void *arg, qc_job *job, size_t begin, size_t end)
{
    const bench *b = arg;
    const size_t n = b->coder.block_cols;
    qc_grid *grid = qc_grid_new(job, &b->coder);
    float *tile = job->scratch(job, n * QC_LANES * sizeof *tile);
    if (!grid || !tile)
        return job->fail(job, QC_E_NOMEM, "out of memory");
    for (size_t row = begin; row < end; row += QC_LANES)
        for (size_t col = 0; col < b->cols; col += n) {
            qc_tile_from_rows(tile, b->w + row * b->cols + col, b->cols, QC_LANES, n);
            b->coder.ops->fit(&b->coder, grid, tile, b->input.mean_square + col, 0, qc_n_subs(&b->coder));
        }
    return QC_OK;
}

static double time_fit(bench *b)
{
    double start = now();
    check(b, b->job->parallel_for(b->job, b->n_chunks * CHUNK, CHUNK, bare_fit, b));
    return now() - start;
}

/* ---- one input ---- */

static void open_input(bench *b, size_t cols)
{
    const size_t rows = b->n_chunks * CHUNK;
    float *mean_square = room(cols * sizeof *mean_square);
    b->cols = cols;
    if (!test_coder(&b->coder, &b->ops, b->encoding, b->tables[1].table, cols))
        test_coder(&b->coder, &b->ops, b->encoding, "reference", cols);
    b->x = room(GRAM_TOKENS * cols * sizeof *b->x);
    b->gram = memset(room(cols * cols * sizeof *b->gram), 0, cols * cols * sizeof *b->gram);
    b->w = room(rows * cols * sizeof *b->w);
    b->errors = room(rows * cols * sizeof *b->errors);
    b->product = room(rows * PANEL * sizeof *b->product);
    b->bytes = room(rows * b->coder.row_bytes);
    fill_tokens(b->x, GRAM_TOKENS, cols);
    memset(b->errors, 0, rows * cols * sizeof *b->errors);
    for (size_t i = 0; i < cols; i++)
        mean_square[i] = 1.0f;
    b->input = (qc_input){.size = sizeof b->input, .cols = cols, .gram = b->gram, .mean_square = mean_square};
    b->linear = (qc_linear){.size = sizeof b->linear,
                            .name = "linear",
                            .role = "other",
                            .rows = rows,
                            .cols = cols,
                            .input = &b->input,
                            .coder = &b->coder};
}

static void close_input(bench *b)
{
    b->method->release(&b->host.host, b->prepared);
    free((void *)(uintptr_t)b->input.mean_square);
    free(b->x);
    free(b->gram);
    free(b->w);
    free(b->errors);
    free(b->product);
    free(b->bytes);
}

static double gflops(double flops, double taken)
{
    return taken > 0 ? flops / taken * 1e-9 : 0.0;
}

static void print_input(const input_shape *in, const seconds *s)
{
    const double n = (double)in->cols, third = n * n * n / 3, update = (double)in->rows * n * n;
    const double with_gram = s->gram + s->prepare + s->feedback + s->search + s->refine, all = with_gram - s->gram;
    const double bare = s->cholesky + s->inverse + s->update;
    printf("%-21s%6zu ->%6zu  gram%8.2f s %5.0f  cholesky%7.2f s %5.0f  inverse%7.2f s %5.0f\n", in->readers, in->cols,
           in->rows, s->gram, gflops(n * n * n * TOKENS_A_COLUMN, s->gram), s->cholesky, gflops(third, s->cholesky),
           s->prepare - s->cholesky, gflops(third, s->prepare - s->cholesky));
    printf("%37s  fit %8.2f s  columns %7.2f s  update%7.2f s %5.0f\n", "", s->fit, s->feedback - s->fit - s->update,
           s->update, gflops(update, s->update));
    printf("%37s  search%6.2f s  slope %8.2f s %5.0f  descent%7.2f s\n", "", s->search, s->slope,
           gflops(update, s->slope), s->refine - s->slope);
    printf("%37s  all %8.2f s = %.2f x (cholesky, inverse, update), %.2f x with slope, %.2f x with gram too\n", "", all,
           all / bare, all / (bare + s->slope), with_gram / (bare + s->slope + s->gram));
}

static seconds measure(bench *b, const input_shape *in)
{
    seconds s = {0};
    open_input(b, in->cols);
    const double times = (double)in->rows / (double)(b->n_chunks * CHUNK), n = (double)in->cols;
    s.gram = time_gram(b) * n * TOKENS_A_COLUMN / GRAM_TOKENS;
    s.cholesky = time_cholesky(b);
    s.prepare = time_prepare(b);
    s.update = s.slope = time_products(b) * times;
    s.inverse = n * n * n / 3 / ((double)in->rows * n * n / s.update);
    time_rounding(b, 2, 1); /* scratch is there from now on, as in a run after its first chunk */
    s.feedback = time_rounding(b, 0, 0) * times;
    s.search = time_rounding(b, 2, 0) * times - s.feedback;
    s.refine = time_rounding(b, 2, 1) * times - s.feedback - s.search;
    for (size_t i = 0; i < b->n_chunks * CHUNK * b->cols; i++)
        b->w[i] = 0.02f * (float)((int)(i * 7919 % 2001) - 1000) * 1e-3f;
    s.fit = time_fit(b) * times;
    close_input(b);
    print_input(in, &s);
    fflush(stdout);
    return s;
}

static void add(seconds *to, const seconds *s)
{
    to->gram += s->gram;
    to->prepare += s->prepare;
    to->cholesky += s->cholesky;
    to->inverse += s->inverse;
    to->fit += s->fit;
    to->feedback += s->feedback;
    to->search += s->search;
    to->refine += s->refine;
    to->update += s->update;
    to->slope += s->slope;
}

static const char *plugin_of(const char *encoding)
{
    return strstr(encoding, "_k") ? "kquants" : !strncmp(encoding, "int", 3) ? "ints" : "legacy";
}

int main(int argc, char **argv)
{
    static bench b;
    const char *id = argc > 1 ? argv[1] : "q4_k", *backend = test_cpu_level() >= 4 ? "avx512" : "avx2";
    const unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    const size_t scale = argc > 3 ? (size_t)atoi(argv[3]) : 1;
    seconds all = {0};
    b.n_chunks = argc > 4 ? (size_t)atoi(argv[4]) : 1;
    if (!backend_open(&b.backend, backend))
        backend_open(&b.backend, "scalar");
    test_host_begin(&b.host);
    b.tables[0] = (test_table){QC_OPS_MATRIX, &b.backend.matrix};
    b.tables[1] = (test_table){QC_CPU_LEVEL, backend_cpu(b.backend.name)};
    b.host.tables = b.tables;
    b.encoding = test_find_encoding(test_plugin_open(plugin_of(id)), id);
    b.method = (const qc_method_desc *)(const void *)test_plugin_open("gptq")->descs[0];
    b.pool = pool_new(&b.host.host, threads);
    if (!b.encoding || !b.pool || scale == 0 || b.n_chunks == 0)
        die("no such encoding, or a number that is 0");
    b.job = pool_job(b.pool);
    printf("%s, %u threads, backend %s\n", id, threads, b.backend.name);
    for (size_t i = 0; i < sizeof block / sizeof *block; i++) {
        const input_shape in = {block[i].readers, block[i].cols / scale, block[i].rows / scale};
        const seconds s = measure(&b, &in);
        add(&all, &s);
    }
    printf("\n");
    const double bare = all.cholesky + all.inverse + all.update;
    const double taken = all.prepare + all.feedback + all.search + all.refine;
    printf("block: %.2f s, %.2f x (cholesky, inverse, update), %.2f x with slope, %.2f x with gram too\n", taken,
           taken / bare, taken / (bare + all.slope), (taken + all.gram) / (bare + all.slope + all.gram));
    pool_free(b.pool);
    test_host_end(&b.host);
    return 0;
}
