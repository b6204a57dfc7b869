/* Rows times 8-bit activations, out of the second cache: how many bytes of weights a second, against a plain copy of the
 * same bytes, and how many products a second.
 *
 *     dot_bench [level …]
 *
 * One tile row after the other, for 1, 8, 64 and 512 tokens. */
#include "test_host.h"
#include "test_ops.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <stdlib.h>
#include <time.h>

enum { ROWS = 128, COLS = 4096, TOKENS = 512 };
static const char *const plugins[] = {"legacy", "kquants", "ints"};
static const size_t counts[] = {1, 8, 64, 512};
enum { N_COUNTS = sizeof counts / sizeof *counts };

static unsigned char bytes[ROWS * COLS * 2], copied[ROWS * COLS * 2];
static float y[TOKENS * ROWS];

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What is timed. */
typedef struct work {
    const qc_coder *coder;
    const qc_activations *activations; /* NULL: a copy */
    size_t n_tokens;
} work;

static void do_once(const work *w)
{
    const size_t tile = QC_LANES * w->coder->row_bytes;
    for (size_t row = 0; row < ROWS; row += QC_LANES) {
        const unsigned char *at = bytes + row / QC_LANES * tile;
        if (w->activations)
            w->coder->ops->dot(w->coder, y + row, ROWS, at, QC_LANES, w->activations, 0, w->n_tokens);
        else
            memcpy(copied + row / QC_LANES * tile, at, tile);
    }
}

/* Seconds of one time, the fastest of a few runs: the others were disturbed. */
static double measure(const work *w)
{
    double best = 1e30;
    for (int run = 0; run < 7; run++) {
        size_t times = 0;
        double start = cpu_seconds(), seconds = 0.0;
        for (; seconds < 0.02; seconds = cpu_seconds() - start, times++)
            do_once(w);
        best = seconds / (double)times < best ? seconds / (double)times : best;
    }
    return best;
}

static void bench(const qc_encoding_desc *desc, const char *level, const qc_activations *a, const float *rows)
{
    test_host host;
    qc_coder coder;
    qc_ops_encoding ops;
    qc_job *job = test_host_begin(&host);
    if (!test_cpu_runs(level) || !test_coder(&coder, &ops, desc, level, COLS) || !ops.dot)
        return;
    qc_encode_rows(job, &coder, bytes, rows, NULL, ROWS);
    const double size = (double)(ROWS * coder.row_bytes), copy = size / measure(&(work){&coder, NULL, 0});
    printf("%-18s %-9s %7.1f", desc->base.id, level, copy * 1e-9);
    for (size_t i = 0; i < N_COUNTS; i++) {
        const double seconds = measure(&(work){&coder, a, counts[i]});
        const double products = (double)ROWS * COLS * (double)counts[i] / seconds;
        if (counts[i] == 1)
            printf(" %7.2f %5.0f%%", size / seconds * 1e-9, 100.0 * size / seconds / copy);
        printf(" %8.1f", products * 1e-9);
    }
    printf("\n");
    fflush(stdout);
    test_host_end(&host);
}

static const qc_ops_row *row_ops(void)
{
    for (const test_table *t = test_ops("scalar"); t->id; t++)
        if (!strcmp(t->id, QC_OPS_ROW))
            return t->table;
    return NULL;
}

int main(int argc, char **argv)
{
    static const char *const all_levels[] = {"reference", "x86-v3", "x86-v4"};
    static float rows[ROWS * COLS], x[TOKENS * COLS];
    static int8_t code[TOKENS * COLS];
    static float scale[TOKENS * COLS / QC_ACTIVATION_COLS];
    static int16_t sum[TOKENS * COLS / 16];
    const qc_activations a = {sizeof a, COLS, TOKENS, code, scale, sum};
    const char *const *levels = argc > 1 ? (const char *const *)argv + 1 : all_levels;
    size_t n_levels = argc > 1 ? (size_t)argc - 1 : sizeof all_levels / sizeof *all_levels;
    rows_fill(rows, ROWS, COLS, ROWS_HEAVY, 1);
    rows_fill(x, TOKENS, COLS, ROWS_HEAVY, 2);
    row_ops()->round_activations(code, scale, sum, x, TOKENS * COLS); /* sums are not where they belong: no matter */
    printf("%-18s %-9s %7s %15s %8s %8s %8s %8s\n%-18s %-9s %7s %15s %26s\n", "", "", "copy", "1 token", "1", "8", "64",
           "512", "", "", "GB/s", "GB/s of copy", "1e9 products/s");
    for (size_t p = 0; p < sizeof plugins / sizeof *plugins; p++) {
        const qc_plugin *plugin = test_plugin_open(plugins[p]);
        for (uint32_t i = 0; i < plugin->n_descs; i++)
            for (size_t l = 0; l < n_levels; l++)
                bench((const qc_encoding_desc *)(const void *)plugin->descs[i], levels[l], &a, rows);
    }
    return 0;
}
