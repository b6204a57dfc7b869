/* CPU seconds per million weights of every encoder, per CPU level, without and with importance:
 *
 *     encode_bench [encode_error.csv]
 *
 * With the reference figures, prints how many times faster we are, and fails where the best level is slower than they
 * are although both search (importance given). */
#include "test_host.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <stdlib.h>
#include <time.h>

enum { ROWS = 64, COLS = 4096 };
static const char *const plugins[] = {"floats", "legacy", "kquants", "ints"};
static const char *const cpus[] = {"reference", "x86-v3", "x86-v4"};

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* llama.cpp's figure, 0 when it has none. */
static double reference_seconds(const char *csv, const char *id, int weighted)
{
    char line[256], name[32], importance[8];
    double seconds = 0.0, found = 0.0;
    FILE *file = csv ? fopen(csv, "r") : NULL;
    while (file && found == 0.0 && fgets(line, sizeof line, file))
        if (sscanf(line, "%31[^,],%*[^,],%7[^,],%*[^,],%*[^,],%*[^,],%*[^,],%*[^,],%lf", name, importance, &seconds) ==
                3 &&
            !strcmp(name, id) && !strcmp(importance, weighted ? "yes" : "no"))
            found = seconds;
    if (file)
        fclose(file);
    return found;
}

/* The fastest of a few runs: the others were disturbed. */
static double measure(const qc_encoding_desc *desc, const char *cpu, const float *rows, const float *importance)
{
    static unsigned char bytes[ROWS * COLS * 8];
    test_host host;
    qc_coder coder;
    qc_ops_encoding ops;
    double best = 1e30;
    qc_job *job = test_host_begin(&host);
    if (!test_coder(&coder, &ops, desc, cpu, COLS))
        return 0.0;
    for (int run = 0; run < 7; run++) {
        double start = cpu_seconds();
        qc_encode_rows(job, &coder, bytes, rows, importance, ROWS);
        double seconds = (cpu_seconds() - start) * 1e6 / (ROWS * COLS);
        best = seconds < best ? seconds : best;
        test_host_reset(&host);
    }
    test_host_end(&host);
    return best;
}

static int bench(const qc_encoding_desc *desc, int weighted, const char *csv, const float *rows,
                 const float *importance)
{
    double seconds = 0.0, theirs = reference_seconds(csv, desc->base.id, weighted);
    printf("%-17s %-3s", desc->base.id, weighted ? "yes" : "no");
    for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++) {
        double measured = test_cpu_runs(cpus[c]) ? measure(desc, cpus[c], rows, weighted ? importance : NULL) : 0.0;
        seconds = measured > 0.0 ? measured : seconds;
        printf(" %9.5f", measured);
    }
    if (theirs > 0.0)
        printf(" %9.4f %6.1fx", theirs, theirs / seconds);
    printf("\n");
    return weighted && seconds > theirs && theirs > 0.002; /* below: no search, hardly more than a copy */
}

int main(int argc, char **argv)
{
    static float rows[ROWS * COLS], importance[COLS];
    int slower = 0;
    rows_fill(rows, ROWS, COLS, ROWS_HEAVY, 1);
    rows_importance(importance, COLS, 1);
    printf("CPU seconds per 1e6 weights\n%-17s %-3s %9s %9s %9s %9s\n", "", "imp", cpus[0], cpus[1], cpus[2],
           "llama.cpp");
    for (size_t p = 0; p < sizeof plugins / sizeof *plugins; p++) {
        const qc_plugin *plugin = test_plugin_open(plugins[p]);
        for (uint32_t i = 0; i < plugin->n_descs; i++)
            for (int weighted = 0; weighted < 2; weighted++)
                slower += bench((const qc_encoding_desc *)(const void *)plugin->descs[i], weighted,
                                argc > 1 ? argv[1] : NULL, rows, importance);
    }
    return slower > 0;
}
