/* Every input is a shape and bytes, taken as a file's blocks and as weights; the sum of all bytes picks the encoding, so
 * that every mutation meets another one. What validate passes must decode
 * to finite numbers and be kept by unpack, adopt and pack; any finite weights must encode to what validate passes. Blocks
 * lie in memory of exactly their size, so that reading past their end is seen. */
#include "fuzz.h"
#include "qcore/number.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

/* Sizes of all buffers: rows, columns, and the widest code. */
enum { MAX_BLOCKS = 3, MAX_COLS = 256 * MAX_BLOCKS };

typedef struct shape {
    const qc_encoding_desc *desc;
    size_t n_rows, cols;
    int weighted;
    const char *cpu;
} shape;

static void expect(int holds, const qc_encoding_desc *d, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s: does not hold: %s\n", d->base.id, what);
        abort();
    }
}

static const qc_encoding_desc *desc_of(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"legacy", "kquants", "ints", "floats"};
    enum { N_PLUGINS = sizeof names / sizeof *names };
    const qc_plugin *plugins[N_PLUGINS];
    size_t which = 0, n = 0;
    for (size_t i = 0; i < N_PLUGINS; i++) {
        plugins[i] = test_plugin_open(names[i]);
        n += plugins[i]->n_descs;
    }
    for (size_t i = 0; i < size; i++)
        which += data[i];
    which %= n;
    size_t i = 0;
    for (; which >= plugins[i]->n_descs; i++)
        which -= plugins[i]->n_descs;
    return (const qc_encoding_desc *)(const void *)plugins[i]->descs[which];
}

/* The first three bytes: rows, columns, flags. */
static shape shape_of(const uint8_t *data, size_t size)
{
    static const char *const cpus[] = {"x86-v4", "x86-v3", "reference"};
    shape s = {desc_of(data, size), 1 + data[0] % QC_LANES, 0, data[2] & 1, "reference"};
    size_t blocks = s.desc->block_cols > 1 ? 1 + data[1] % MAX_BLOCKS : 1 + data[1] * (MAX_COLS - 1) / 255;
    s.cols = blocks * (s.desc->block_cols ? s.desc->block_cols : 1);
    for (size_t i = data[2] >> 1 & 1; i < 3; i++)
        if (test_cpu_runs(cpus[i])) {
            s.cpu = cpus[i];
            break;
        }
    return s;
}

/* `size` bytes, over and over. */
static void *filled(size_t n, const uint8_t *data, size_t size)
{
    uint8_t *p = malloc(n);
    for (size_t i = 0; p && i < n; i++)
        p[i] = size ? data[i % size] : 0;
    if (!p)
        abort();
    return p;
}

static float *finite_floats(size_t n, const uint8_t *data, size_t size, uint32_t keep)
{
    float *v = filled(n * sizeof *v, data, size);
    for (size_t i = 0; i < n; i++)
        v[i] = qc_is_finite(v[i]) ? qc_float_from_bits(qc_float_bits(v[i]) & keep) : 1.0f;
    return v;
}

static void decode_finite(qc_job *job, const qc_coder *e, const shape *s, const void *bytes, float *rows, int must)
{
    expect(qc_decode_rows(job, e, rows, bytes, s->n_rows) == QC_OK, s->desc, "any bytes decode to something");
    for (size_t i = 0; must && i < s->n_rows * s->cols; i++)
        expect(qc_is_finite(rows[i]), s->desc, "what validate passes is finite");
}

/* Valid blocks, through the grid and back: the same numbers. */
static void keep_blocks(qc_job *job, const qc_coder *e, const shape *s, const uint8_t *bytes, const float *rows)
{
    uint8_t *again = filled(s->n_rows * e->row_bytes, NULL, 0);
    float *back = malloc(s->n_rows * s->cols * sizeof *back);
    int32_t *code = malloc((size_t)e->block_cols * QC_LANES * sizeof *code);
    qc_grid *g = qc_grid_new(job, e);
    if (!back || !code || !g)
        abort();
    for (size_t col = 0; col < s->cols; col += e->block_cols) {
        size_t at = qc_piece_at(e, col);
        e->ops->unpack(e, g, code, bytes + at, s->n_rows);
        expect(e->ops->adopt(e, g) == 1, s->desc, "what a file has can be kept");
        e->ops->pack(e, again + at, g, code, s->n_rows);
    }
    decode_finite(job, e, s, again, back, 1);
    expect(!memcmp(back, rows, s->n_rows * s->cols * sizeof *back), s->desc, "unpack, adopt, pack change nothing");
    free(code);
    free(back);
    free(again);
}

static void read_blocks(test_host *th, qc_job *job, const qc_coder *e, const shape *s, const uint8_t *data, size_t size)
{
    uint8_t *bytes = filled(s->n_rows * e->row_bytes, data, size);
    float *rows = filled(s->n_rows * s->cols * sizeof *rows, NULL, 0);
    int valid = !s->desc->validate || s->desc->validate(job, e, bytes, s->n_rows) == QC_OK;
    expect(valid == (th->status == QC_OK), s->desc, "a failure has a message, a success none");
    decode_finite(job, e, s, bytes, rows, valid);
    if (valid && e->block_cols > 1 && s->desc->block_cols != 1)
        keep_blocks(job, e, s, bytes, rows);
    free(rows);
    free(bytes);
}

static void write_weights(qc_job *job, const qc_coder *e, const shape *s, const uint8_t *data, size_t size)
{
    float *rows = finite_floats(s->n_rows * s->cols, data, size, UINT32_MAX);
    float *importance = s->weighted ? finite_floats(s->cols, data, size / 2, 0x7fffffffu) : NULL;
    uint8_t *bytes = filled(s->n_rows * e->row_bytes, NULL, 0);
    expect(qc_encode_rows(job, e, bytes, rows, importance, s->n_rows) == QC_OK, s->desc, "any weights encode");
    expect(!s->desc->validate || s->desc->validate(job, e, bytes, s->n_rows) == QC_OK || s->desc->block_cols == 1,
           s->desc, "blocks that we wrote are valid");
    decode_finite(job, e, s, bytes, rows, s->desc->block_cols != 1);
    free(bytes);
    free(importance);
    free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    test_host th;
    qc_coder e;
    qc_ops_encoding ops;
    if (size < 3)
        return 0;
    shape s = shape_of(data, size);
    for (int pass = 0; pass < 2; pass++) {
        qc_job *job = test_host_begin(&th);
        if (!test_coder(&e, &ops, s.desc, s.cpu, s.cols))
            abort();
        if (pass == 0)
            read_blocks(&th, job, &e, &s, data + 3, size - 3);
        else
            write_weights(job, &e, &s, data + 3, size - 3);
        test_host_end(&th);
    }
    return 0;
}
