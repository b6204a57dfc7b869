/* Rounds a matrix with a method, as a host would, for tests that compare with methods of their own:
 *
 *     round_tool METHOD PLUGIN ENCODING ROWS COLS IN OUT [chunk=N] [threads=N] [cpu=LEVEL] [order=1] [SETTING=NUMBER ...]
 *
 * IN: weights [ROWS][COLS] and the Gram matrix [COLS][COLS], float32. OUT: values [ROWS][COLS] float32, codes [ROWS][COLS]
 * int32, steps and offsets [ROWS][COLS] float32, column order [COLS] uint32; the method's figures go to stdout.
 */
#include "core/job.h"
#include "qcore/method.h"
#include "qcore/ops.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

enum { MOST_SETTINGS = 16 };

typedef struct tool {
    test_host host;
    pool *pool;
    qc_job *job;
    qc_ops_matrix matrix;
    test_table tables[3];
    test_setting settings[MOST_SETTINGS + 1];
    size_t n_settings, chunk;
    int order;
    const char *cpu;
    const qc_method_desc *method;
    qc_coder coder;
    qc_ops_encoding ops;
    size_t rows, cols;
    float *w, *gram;
    uint32_t *stored;
    unsigned char *bytes;
    void *state, *prepared;
    qc_linear linear;
} tool;

static void die(const char *what)
{
    fprintf(stderr, "round_tool: %s\n", what);
    exit(1);
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes / 64 + 1) * 64);
    if (!p)
        die("out of memory");
    return p;
}

static void check(tool *t, qc_status status)
{
    if (status != QC_OK)
        die(job_message(t->job));
}

static const char *backend_of(const char *cpu)
{
    return !strcmp(cpu, "x86-v4") ? "avx512" : !strcmp(cpu, "x86-v3") ? "avx2" : "scalar";
}

static void open_host(tool *t, unsigned threads)
{
    const qc_backend_desc *backend =
        (const qc_backend_desc *)(const void *)test_plugin_open(backend_of(t->cpu))->descs[0];
    test_host_begin(&t->host);
    t->matrix.size = sizeof t->matrix;
    backend->overlay(t->cpu, QC_OPS_MATRIX, &t->matrix, sizeof t->matrix);
    t->tables[0] = (test_table){QC_OPS_MATRIX, &t->matrix};
    t->tables[1] = (test_table){QC_CPU_LEVEL, t->cpu};
    t->host.tables = t->tables;
    t->pool = pool_new(&t->host.host, threads);
    if (!t->pool)
        die("no threads");
    t->job = pool_job(t->pool);
}

static void open_plugins(tool *t, const char *method, const char *plugin, const char *encoding)
{
    const qc_encoding_desc *desc = test_find_encoding(test_plugin_open(plugin), encoding);
    t->method = (const qc_method_desc *)(const void *)test_plugin_open(method)->descs[0];
    if (!desc)
        die("no such encoding");
    if (!test_coder(&t->coder, &t->ops, desc, t->cpu, t->cols))
        test_coder(&t->coder, &t->ops, desc, "reference", t->cols);
}

static void read_input(tool *t, const char *path)
{
    FILE *f = fopen(path, "rb");
    t->w = room(t->rows * t->cols * sizeof *t->w);
    t->gram = room(t->cols * t->cols * sizeof *t->gram);
    if (!f || fread(t->w, t->cols * sizeof *t->w, t->rows, f) != t->rows ||
        fread(t->gram, t->cols * sizeof *t->gram, t->cols, f) != t->cols)
        die("cannot read the input");
    fclose(f);
}

static qc_status round_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    tool *t = arg;
    return t->method->round(job, t->state, t->prepared, &t->linear, t->w + begin * t->cols, end - begin,
                            t->bytes + begin * t->coder.row_bytes);
}

/* The columns of w in the order that prepare chose. */
static void store_in_order(tool *t)
{
    float *row = room(t->cols * sizeof *row);
    for (size_t r = 0; r < t->rows; r++) {
        memcpy(row, t->w + r * t->cols, t->cols * sizeof *row);
        for (size_t c = 0; c < t->cols; c++)
            t->w[r * t->cols + c] = row[t->stored[c]];
    }
    free(row);
}

static void round_all(tool *t)
{
    float *mean_square = room(t->cols * sizeof *mean_square);
    for (size_t c = 0; c < t->cols; c++)
        mean_square[c] = t->gram[c * (t->cols + 1)];
    const qc_input input = {
        .size = sizeof input, .cols = t->cols, .n_tokens = 1000, .gram = t->gram, .mean_square = mean_square};
    t->linear = (qc_linear){.size = sizeof t->linear,
                            .name = "blk.0.attn_q.weight",
                            .role = "attn_q",
                            .rows = t->rows,
                            .cols = t->cols,
                            .input = &input,
                            .coder = &t->coder};
    t->bytes = room(t->rows * t->coder.row_bytes);
    t->stored = room(t->cols * sizeof *t->stored);
    for (size_t c = 0; c < t->cols; c++)
        t->stored[c] = (uint32_t)c;
    if (t->method->create)
        check(t, t->method->create(t->job, test_settings(t->settings), &t->state));
    if (t->method->prepare)
        check(t,
              t->method->prepare(t->job, t->state, &input, t->coder.desc, t->order ? t->stored : NULL, &t->prepared));
    if (t->order)
        store_in_order(t);
    check(t, t->job->parallel_for(t->job, t->rows, t->chunk, round_rows, t));
    free(mean_square);
}

/* What the packed bytes hold of each weight. */
typedef struct unpacked {
    float *value, *step, *offset;
    int32_t *code;
} unpacked;

static void unpack_block(const tool *t, const unpacked *u, qc_grid *g, int32_t *tile, size_t row, size_t col)
{
    const size_t lanes = t->rows - row < QC_LANES ? t->rows - row : QC_LANES;
    t->ops.unpack(&t->coder, g, tile, t->bytes + row * t->coder.row_bytes + qc_piece_at(&t->coder, col), lanes);
    for (size_t l = 0; l < lanes; l++)
        for (size_t c = 0; c < t->coder.block_cols; c++) {
            const size_t at = (row + l) * t->cols + col + c, scale = c / qc_sub_cols(&t->coder) * QC_LANES + l;
            u->code[at] = tile[c * QC_LANES + l];
            u->step[at] = g->step[scale];
            u->offset[at] = g->offset[scale];
        }
}

static void write_output(tool *t, const char *path)
{
    FILE *f = fopen(path, "wb");
    const size_t cells = t->rows * t->cols;
    const unpacked u = {room(cells * sizeof(float)), room(cells * sizeof(float)), room(cells * sizeof(float)),
                        room(cells * sizeof(int32_t))};
    int32_t *tile = room(t->coder.block_cols * QC_LANES * sizeof *tile);
    qc_grid *g = qc_grid_new(t->job, &t->coder);
    check(t, qc_decode_rows(t->job, &t->coder, u.value, t->bytes, t->rows));
    for (size_t row = 0; row < t->rows; row += QC_LANES)
        for (size_t col = 0; col < t->cols; col += t->coder.block_cols)
            unpack_block(t, &u, g, tile, row, col);
    if (!f || fwrite(u.value, sizeof(float), cells, f) != cells || fwrite(u.code, sizeof(int32_t), cells, f) != cells ||
        fwrite(u.step, sizeof(float), cells, f) != cells || fwrite(u.offset, sizeof(float), cells, f) != cells ||
        fwrite(t->stored, sizeof *t->stored, t->cols, f) != t->cols || fclose(f))
        die("cannot write the output");
    free(u.value);
    free(u.step);
    free(u.offset);
    free(u.code);
    free(tile);
}

static void take_option(tool *t, const char *text, unsigned *threads)
{
    const char *equals = strchr(text, '=');
    if (!equals || t->n_settings == MOST_SETTINGS)
        die("options are NAME=VALUE, at most 16");
    const double number = strtod(equals + 1, NULL);
    if (!strncmp(text, "chunk=", 6))
        t->chunk = (size_t)number;
    else if (!strncmp(text, "threads=", 8))
        *threads = (unsigned)number;
    else if (!strncmp(text, "order=", 6))
        t->order = number != 0.0;
    else if (!strncmp(text, "cpu=", 4))
        t->cpu = equals + 1;
    else {
        char *name = room((size_t)(equals - text));
        memcpy(name, text, (size_t)(equals - text));
        name[equals - text] = '\0';
        t->settings[t->n_settings++] = (test_setting){.name = name, .number = number};
    }
}

static void print_figures(const tool *t)
{
    size_t n;
    const job_figure *f = job_figures(t->job, &n);
    for (size_t i = 0; i < n; i++)
        printf("%s = %g\n", f[i].name, f[i].value);
}

int main(int argc, char **argv)
{
    static tool t;
    unsigned threads = 1;
    if (argc < 8)
        die("METHOD PLUGIN ENCODING ROWS COLS IN OUT [NAME=VALUE ...]");
    t.rows = strtoul(argv[4], NULL, 10);
    t.cols = strtoul(argv[5], NULL, 10);
    t.chunk = 128;
    t.cpu = test_cpu_level() >= 4 ? "x86-v4" : test_cpu_level() >= 3 ? "x86-v3" : "reference";
    for (int i = 8; i < argc; i++)
        take_option(&t, argv[i], &threads);
    open_host(&t, threads);
    open_plugins(&t, argv[1], argv[2], argv[3]);
    read_input(&t, argv[6]);
    round_all(&t);
    write_output(&t, argv[7]);
    print_figures(&t);
    if (t.method->release)
        t.method->release(&t.host.host, t.prepared);
    if (t.method->destroy)
        t.method->destroy(&t.host.host, t.state);
    pool_free(t.pool);
    test_host_end(&t.host);
    for (size_t i = 0; i < t.n_settings; i++)
        free((void *)(uintptr_t)t.settings[i].name);
    free(t.w);
    free(t.gram);
    free(t.bytes);
    free(t.stored);
    return 0;
}
