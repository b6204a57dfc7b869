/* One source, built once per CPU level: every build must give the bytes of the reference, whatever the weights. */
#include "qcore/number.h"
#include "test_host.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 256, ROWS = QC_LANES, TRIES = 4 };

/* One encoding, built for one CPU level, beside its reference; buffers of both in pairs. */
typedef struct pair {
    test_host host;
    qc_coder coder[2];
    qc_ops_encoding ops[2];
    qc_grid *grid[2];
    float tile[COLS * QC_LANES], importance[COLS];
    float value[2][COLS * QC_LANES];
    int32_t code[2][COLS * QC_LANES];
    unsigned char bytes[2][ROWS * COLS * 8 + 1];
} pair;

static void same(const void *a, const void *b, size_t n, const pair *p, const char *what, const char *rows)
{
    if (memcmp(a, b, n) != 0)
        fail_msg("%s: %s differs from the reference on %s rows", p->coder[1].desc->base.id, what, rows);
}

static void compare_encode(pair *p, size_t n_rows, const float *importance, const char *rows)
{
    const size_t cols = p->coder[0].block_cols == 1 ? COLS : p->coder[0].block_cols;
    for (int i = 0; i < 2; i++) {
        memset(p->bytes[i], 0xCD, sizeof p->bytes[i]);
        p->ops[i].encode(&p->coder[i], p->bytes[i] + 1, p->tile, importance, n_rows, cols); /* + 1: misaligned */
    }
    same(p->bytes[0], p->bytes[1], sizeof p->bytes[0], p, "encode", rows);
    for (int i = 0; i < 2; i++)
        p->ops[i].decode(&p->coder[i], p->value[i], p->bytes[i] + 1, n_rows, cols);
    same(p->value[0], p->value[1], cols * QC_LANES * sizeof(float), p, "decode", rows);
}

/* A neighbour, storable or not, and what pack then makes of it. */
static void compare_adopt(pair *p, uint32_t sub, const float *step, const float *offset, const char *rows)
{
    int kept[2];
    for (int i = 0; i < 2; i++) {
        memcpy(p->grid[i]->step + sub * QC_LANES, step, QC_LANES * sizeof *step);
        memcpy(p->grid[i]->offset + sub * QC_LANES, offset, QC_LANES * sizeof *offset);
        kept[i] = p->ops[i].adopt(&p->coder[i], p->grid[i]);
        p->ops[i].pack(&p->coder[i], p->bytes[i], p->grid[i], p->code[i], ROWS);
    }
    assert_int_equal(kept[0], kept[1]);
    same(p->bytes[0], p->bytes[1], sizeof p->bytes[0], p, "pack of a neighbour", rows);
}

static void compare_steps(pair *p, const float *importance, const char *rows)
{
    const qc_encoding_desc *d = p->coder[0].desc;
    const uint32_t n_subs = qc_n_subs(&p->coder[0]), cols = p->coder[0].block_cols;
    const size_t scales = n_subs * QC_LANES * sizeof(float);
    for (int i = 0; i < 2; i++) {
        memset(p->grid[i]->state, 0, d->state_bytes);
        p->ops[i].fit(&p->coder[i], p->grid[i], p->tile, importance, 0, n_subs);
        p->ops[i].fit(&p->coder[i], p->grid[i], p->tile, NULL, n_subs - 1, 1);
        for (uint32_t c = 0; c < cols; c++)
            p->ops[i].snap(&p->coder[i], p->grid[i], p->value[i] + c * QC_LANES, p->code[i] + c * QC_LANES,
                           p->tile + c * QC_LANES, importance, c);
        p->ops[i].pack(&p->coder[i], p->bytes[i], p->grid[i], p->code[i], ROWS);
    }
    same(p->grid[0]->step, p->grid[1]->step, scales, p, "step of fit", rows);
    same(p->grid[0]->offset, p->grid[1]->offset, scales, p, "offset of fit", rows);
    same(p->value[0], p->value[1], cols * QC_LANES * sizeof(float), p, "value of snap", rows);
    same(p->code[0], p->code[1], cols * QC_LANES * sizeof(int32_t), p, "code of snap", rows);
    same(p->bytes[0], p->bytes[1], sizeof p->bytes[0], p, "pack", rows);
    for (int32_t a = -2; a <= 2; a++) {
        float step[2][QC_LANES], offset[2][QC_LANES];
        for (int i = 0; i < 2; i++)
            p->ops[i].neighbour(&p->coder[i], p->grid[i], n_subs - 1, a, -a, step[i], offset[i]);
        same(step[0], step[1], sizeof step[0], p, "step of neighbour", rows);
        same(offset[0], offset[1], sizeof offset[0], p, "offset of neighbour", rows);
        compare_adopt(p, n_subs - 1, step[0], offset[0], rows);
    }
}

/* Bytes that no encoder made: every scale, code and NaN that a file can hold. */
static void compare_unpack(pair *p, uint32_t *random)
{
    const int blocked = p->coder[0].block_cols != 1;
    const size_t cols = blocked ? p->coder[0].block_cols : COLS;
    for (size_t j = 0; j < sizeof p->bytes[0]; j++)
        p->bytes[0][j] = (unsigned char)rows_random(random);
    for (int i = 0; i < 2; i++)
        p->ops[i].decode(&p->coder[i], p->value[i], p->bytes[0], ROWS, cols);
    for (size_t j = 0; j < cols * QC_LANES; j++) /* which NaN it is, is the CPU's choice */
        if (qc_float_bits(p->value[0][j]) != qc_float_bits(p->value[1][j]))
            assert_true(p->value[0][j] != p->value[0][j] && p->value[1][j] != p->value[1][j]);
    for (int i = 0; i < 2 && blocked; i++)
        p->ops[i].unpack(&p->coder[i], p->grid[i], p->code[i], p->bytes[0], ROWS);
    if (blocked)
        same(p->code[0], p->code[1], cols * QC_LANES * sizeof(int32_t), p, "unpack", "random");
}

static void compare(const qc_encoding_desc *desc, const char *cpu)
{
    static pair p;
    float rows[ROWS * COLS];
    uint32_t random = 1;
    qc_job *job = test_host_begin(&p.host);
    assert_true(test_coder(&p.coder[0], &p.ops[0], desc, "reference", COLS));
    assert_non_null(desc->variants); /* else nothing would be compared */
    if (test_coder(&p.coder[1], &p.ops[1], desc, cpu, COLS)) {
        for (int i = 0; i < 2; i++)
            p.grid[i] = desc->block_cols != 1 ? qc_grid_new(job, &p.coder[i]) : NULL;
        for (int kind = 0; kind < ROWS_KINDS; kind++)
            for (uint32_t seed = 0; seed < TRIES; seed++) {
                size_t n_rows = seed ? ROWS : 5;
                rows_fill(rows, ROWS, COLS, kind, seed + 20);
                rows_importance(p.importance, COLS, seed);
                qc_tile_from_rows(p.tile, rows, COLS, n_rows, COLS);
                compare_encode(&p, n_rows, seed & 1 ? p.importance : NULL, rows_name(kind));
                if (desc->block_cols != 1)
                    compare_steps(&p, seed & 1 ? p.importance : NULL, rows_name(kind));
                compare_unpack(&p, &random);
            }
    }
    test_host_end(&p.host);
}

static void test_variants(void **state)
{
    static const char *const cpus[] = {"x86-v3", "x86-v4"};
    const qc_plugin *plugin = test_plugin_open((const char *)*state);
    for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++)
        for (uint32_t i = 0; test_cpu_runs(cpus[c]) && i < plugin->n_descs; i++)
            compare((const qc_encoding_desc *)(const void *)plugin->descs[i], cpus[c]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_variants, (void *)(uintptr_t) "floats"),
        cmocka_unit_test_prestate(test_variants, (void *)(uintptr_t) "legacy"),
        cmocka_unit_test_prestate(test_variants, (void *)(uintptr_t) "kquants"),
        cmocka_unit_test_prestate(test_variants, (void *)(uintptr_t) "ints"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
