/* How fast every encoding is on one core, per CPU level, and how close:
 *
 *     encode_bench [--only PREFIX] [--csv FILE] [--reference encode_error.csv] [--fail-slower]
 *
 * encode: millions of weights a second, moving rows into tiles and packing included; decode: GB/s of float32; dot:
 * thousands of millions of multiply-adds a second, rows against 64 tokens in 8 bits. Rows stay in the second-level cache.
 * error: squared, relative, on heavy-tailed weights. With reference figures, how many times faster than those the best
 * level is; --fail-slower then ends with 1 where it is slower although both search. */
#include "test_host.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <stdlib.h>
#include <time.h>

enum { ROWS = 64, COLS = 4096, TOKENS = 64, RUNS = 7, LEVELS = 3 };
static const char *const plugins[] = {"floats", "legacy", "kquants", "ints"};
static const char *const levels[LEVELS] = {"reference", "x86-v3", "x86-v4"};

typedef struct arguments {
    const char *only, *csv, *reference;
    int fail_slower;
} arguments;

/* One encoding, with or without importance; rates of 0: there is no such build, or no such op. */
typedef struct figures {
    double encode[LEVELS], decode[LEVELS], dot[LEVELS], error, bits, theirs;
} figures;

typedef struct bench {
    float rows[ROWS * COLS], back[ROWS * COLS], importance[COLS];
    unsigned char bytes[ROWS * COLS * 8];
    int8_t code[TOKENS * COLS];
    float scale[TOKENS * COLS / QC_ACTIVATION_COLS];
    int16_t sum[TOKENS * COLS / 16];
    float y[TOKENS * QC_LANES];
} bench;

/* What is timed, on everything that it needs. */
typedef struct timed {
    bench *b;
    const qc_coder *coder;
    qc_job *job;
    const float *importance;
} timed;

static void encode(const timed *t)
{
    qc_encode_rows(t->job, t->coder, t->b->bytes, t->b->rows, t->importance, ROWS);
}

static void decode(const timed *t)
{
    qc_decode_rows(t->job, t->coder, t->b->back, t->b->bytes, ROWS);
}

static void dot(const timed *t)
{
    const qc_activations a = {
        .size = sizeof a, .cols = COLS, .tokens = TOKENS, .code = t->b->code, .scale = t->b->scale, .sum = t->b->sum};
    for (size_t row = 0; row < ROWS; row += QC_LANES)
        t->coder->ops->dot(t->coder, t->b->y, QC_LANES, t->b->bytes + row * t->coder->row_bytes, QC_LANES, &a, 0,
                           TOKENS);
}

/* CPU seconds of the fastest of a few runs: the others were disturbed. */
static double seconds(const timed *t, test_host *host, void (*body)(const timed *t))
{
    double best = 1e30;
    for (int run = 0; run < RUNS; run++) {
        clock_t start = clock();
        int times = 0;
        do {
            body(t);
            test_host_reset(host);
            times++;
        } while (clock() - start < CLOCKS_PER_SEC / 200);
        double each = (double)(clock() - start) / CLOCKS_PER_SEC / times;
        best = each < best ? each : best;
    }
    return best;
}

static double relative_error(const bench *b)
{
    double error = 0.0, energy = 0.0;
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        double x = (double)b->rows[i], off = x - (double)b->back[i];
        error += off * off;
        energy += x * x;
    }
    return error / energy;
}

static void measure(bench *b, const qc_encoding_desc *desc, int level, const float *importance, figures *f)
{
    const double weights = (double)ROWS * COLS;
    test_host host;
    qc_coder coder;
    qc_ops_encoding ops;
    qc_job *job = test_host_begin(&host);
    if (test_cpu_runs(levels[level]) && test_coder(&coder, &ops, desc, levels[level], COLS)) {
        const timed t = {b, &coder, job, importance};
        f->encode[level] = weights / seconds(&t, &host, encode) / 1e6;
        f->decode[level] = weights * sizeof(float) / seconds(&t, &host, decode) / 1e9;
        f->dot[level] = ops.dot ? weights * TOKENS / seconds(&t, &host, dot) / 1e9 : 0.0;
        f->error = relative_error(b);
        f->bits = 8.0 * (double)coder.row_bytes / COLS;
    }
    test_host_end(&host);
}

/* CPU seconds per million weights of the reference, 0 where it has none. */
static double reference_seconds(const char *csv, const char *id, int weighted)
{
    char line[256], name[32], importance[8];
    double read = 0.0, found = 0.0;
    FILE *file = csv ? fopen(csv, "r") : NULL;
    while (file && found == 0.0 && fgets(line, sizeof line, file))
        if (sscanf(line, "%31[^,],%*[^,],%7[^,],%*[^,],%*[^,],%*[^,],%*[^,],%*[^,],%lf", name, importance, &read) ==
                3 &&
            !strcmp(name, id) && !strcmp(importance, weighted ? "yes" : "no"))
            found = read;
    if (file)
        fclose(file);
    return found;
}

static double best_of(const double *rate)
{
    double best = 0.0;
    for (int i = 0; i < LEVELS; i++)
        best = rate[i] > best ? rate[i] : best;
    return best;
}

static void print_rates(const double *rate, int precision)
{
    for (int i = 0; i < LEVELS; i++)
        if (rate[i] > 0.0)
            printf(" %7.*f", precision, rate[i]);
        else
            printf(" %7s", "-");
}

static void print_table(const char *id, int weighted, const figures *f)
{
    printf("%-18s %6.3f %-3s", id, f->bits, weighted ? "yes" : "no");
    print_rates(f->encode, 0);
    print_rates(f->decode, 1);
    print_rates(f->dot, 0);
    printf("  %9.3e", f->error);
    if (f->theirs > 0.0)
        printf(" %6.1fx", best_of(f->encode) * f->theirs);
    printf("\n");
    fflush(stdout);
}

static void print_csv(FILE *csv, const char *id, int weighted, const figures *f)
{
    for (int i = 0; csv && i < LEVELS; i++)
        if (f->encode[i] > 0.0)
            fprintf(csv, "%s,%.4f,%s,%s,%.2f,%.3f,%.3f,%.6e,%.3f\n", id, f->bits, weighted ? "yes" : "no", levels[i],
                    f->encode[i], f->decode[i], f->dot[i], f->error, f->encode[i] * f->theirs);
}

/* 1 where it is slower than the reference. */
static int run(bench *b, const arguments *a, const qc_encoding_desc *desc, int weighted, FILE *csv)
{
    figures f = {.theirs = reference_seconds(a->reference, desc->base.id, weighted)};
    for (int level = 0; level < LEVELS; level++)
        measure(b, desc, level, weighted ? b->importance : NULL, &f);
    print_table(desc->base.id, weighted, &f);
    print_csv(csv, desc->base.id, weighted, &f);
    return weighted && f.theirs > 0.002 && best_of(f.encode) * f.theirs < 1.0; /* below: no search, hardly a copy */
}

static int run_all(bench *b, const arguments *a, FILE *csv)
{
    int slower = 0;
    printf("%-18s %6s %-3s %23s %23s %23s\n", "", "", "", "encode, 1e6 weights/s", "decode, GB/s", "dot, 1e9 terms/s");
    printf("%-18s %6s %-3s", "encoding", "bits", "imp");
    for (int i = 0; i < 3 * LEVELS; i++)
        printf(" %7s", i % LEVELS ? levels[i % LEVELS] : "plain");
    printf("  %9s%s\n", "error", a->reference ? " faster" : "");
    for (size_t p = 0; p < sizeof plugins / sizeof *plugins; p++) {
        const qc_plugin *plugin = test_plugin_open(plugins[p]);
        for (uint32_t i = 0; i < plugin->n_descs; i++) {
            const qc_encoding_desc *desc = (const qc_encoding_desc *)(const void *)plugin->descs[i];
            int plain = desc->block_cols == 1; /* what importance is nothing to */
            if (a->only && strncmp(desc->base.id, a->only, strlen(a->only)) != 0)
                continue;
            for (int weighted = 0; weighted < 2 - plain; weighted++)
                slower += run(b, a, desc, weighted, csv);
        }
    }
    return slower;
}

static void fill(bench *b)
{
    uint32_t random = 1;
    rows_fill(b->rows, ROWS, COLS, ROWS_HEAVY, 1);
    rows_importance(b->importance, COLS, 1);
    for (size_t i = 0; i < sizeof b->code; i++)
        b->code[i] = (int8_t)((int)(rows_random(&random) % 255) - 127);
    for (size_t i = 0; i < sizeof b->scale / sizeof *b->scale; i++)
        b->scale[i] = 0.01f;
    for (size_t i = 0; i < sizeof b->sum / sizeof *b->sum; i++)
        for (size_t k = 0; k < 16; k++)
            b->sum[i] = (int16_t)(b->sum[i] + b->code[16 * i + k]);
}

static int read_arguments(int argc, char **argv, arguments *a)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        const char **to = !strcmp(argv[i], "--only")        ? &a->only
                          : !strcmp(argv[i], "--csv")       ? &a->csv
                          : !strcmp(argv[i], "--reference") ? &a->reference
                                                            : NULL;
        if (!strcmp(argv[i], "--fail-slower"))
            a->fail_slower = 1;
        else if (to && value)
            *to = argv[++i];
        else
            return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static bench b;
    arguments a = {0};
    if (!read_arguments(argc, argv, &a)) {
        fputs("usage: encode_bench [--only PREFIX] [--csv FILE] [--reference encode_error.csv] [--fail-slower]\n",
              stderr);
        return 2;
    }
    FILE *csv = a.csv ? fopen(a.csv, "w") : NULL;
    if (a.csv && !csv) {
        perror(a.csv);
        return 5;
    }
    if (csv)
        fputs("encoding,bits,importance,level,encode_1e6_weights_per_s,decode_gb_per_s,dot_1e9_terms_per_s,"
              "relative_squared_error,times_reference\n",
              csv);
    fill(&b);
    int slower = run_all(&b, &a, csv);
    if (csv && fclose(csv) != 0) {
        perror(a.csv);
        return 5;
    }
    return a.fail_slower && slower > 0;
}
