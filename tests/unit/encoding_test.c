/* What every encoding owes its callers, on ordinary and on extreme weights (tests/support/test_rows.h). */
#include "qcore/number.h"
#include "test_host.h"
#include "test_plugin.h"
#include "test_rows.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COLS = 512, BLOCKS_MAX = COLS };

typedef struct known {
    const char *plugin, *id;
    uint32_t block_cols, block_bytes, sub_cols;
} known;

enum { FIRST_BLOCKED = 10, N_NAMED = 21, N_ALL = N_NAMED + 56 };

/* The named ones, then those of `ints`, which main() adds. */
static known all[N_ALL] = {
    {"floats", "f64", 1, 8, 1},        {"floats", "f32", 1, 4, 1},        {"floats", "f16", 1, 2, 1},
    {"floats", "bf16", 1, 2, 1},       {"floats", "f8_e4m3", 1, 1, 1},    {"floats", "f8_e5m2", 1, 1, 1},
    {"floats", "i8", 1, 1, 1},         {"floats", "i16", 1, 2, 1},        {"floats", "i32", 1, 4, 1},
    {"floats", "i64", 1, 8, 1},        {"legacy", "q4_0", 32, 18, 32},    {"legacy", "q4_1", 32, 20, 32},
    {"legacy", "q5_0", 32, 22, 32},    {"legacy", "q5_1", 32, 24, 32},    {"legacy", "q8_0", 32, 34, 32},
    {"kquants", "q2_k", 256, 84, 16},  {"kquants", "q3_k", 256, 110, 16}, {"kquants", "q4_k", 256, 144, 32},
    {"kquants", "q5_k", 256, 176, 32}, {"kquants", "q6_k", 256, 210, 16}, {"legacy", "iq4_nl", 32, 18, 32},
};

/* int2_g32 … int8_channel_asym, with the sizes that their names tell. */
static void add_ints(void)
{
    static char ids[N_ALL - N_NAMED][32];
    static const uint32_t cols[] = {32, 64, 128, 0};
    for (uint32_t i = 0; i < N_ALL - N_NAMED; i++) {
        uint32_t bits = 2 + i / 8, group = cols[i / 2 % 4], asym = i % 2;
        char width[16];
        snprintf(width, sizeof width, group ? "g%u" : "channel", group);
        snprintf(ids[i], sizeof ids[i], "int%u_%s%s", bits, width, asym ? "_asym" : "");
        all[N_NAMED + i] = (known){"ints", ids[i], group, 2 + asym + group * bits / 8, group};
    }
}

/* One encoding under test, its reference ops, a host, and buffers for one tile. */
typedef struct bench {
    test_host host;
    qc_job *job;
    qc_coder coder;
    qc_ops_encoding ops;
    qc_grid *grid;
    float tile[BLOCKS_MAX * QC_LANES], value[BLOCKS_MAX * QC_LANES], back[BLOCKS_MAX * QC_LANES];
    int32_t code[BLOCKS_MAX * QC_LANES];
    unsigned char bytes[QC_LANES * COLS * 8];
} bench;

static const qc_encoding_desc *desc_of(const known *k)
{
    const qc_encoding_desc *desc = test_find_encoding(test_plugin_open(k->plugin), k->id);
    assert_non_null(desc);
    return desc;
}

static void begin(bench *b, const known *k)
{
    b->job = test_host_begin(&b->host);
    assert_true(test_coder(&b->coder, &b->ops, desc_of(k), "reference", COLS));
    b->grid = k->block_cols != 1 ? qc_grid_new(b->job, &b->coder) : NULL;
}

static size_t block_bytes(const qc_coder *e)
{
    return e->desc->block_cols ? e->desc->block_bytes : e->row_bytes;
}

static void end(bench *b)
{
    assert_int_equal(b->host.status, QC_OK);
    test_host_end(&b->host);
}

static void assert_same_floats(const float *a, const float *b, size_t n, const char *what, const char *kind)
{
    for (size_t i = 0; i < n; i++)
        if (qc_float_bits(a[i]) != qc_float_bits(b[i]))
            fail_msg("%s on %s rows: element %zu is %a, not %a", what, kind, i, (double)a[i], (double)b[i]);
}

static double squared_error(const float *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static void test_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ALL; i++) {
        const qc_encoding_desc *d = desc_of(&all[i]);
        assert_int_equal(d->block_cols, all[i].block_cols);
        assert_int_equal(d->block_bytes, all[i].block_bytes);
        assert_int_equal(d->sub_cols, all[i].sub_cols);
        assert_int_equal(d->base.size, sizeof *d);
        assert_int_equal(d->reference->size, sizeof(qc_ops_encoding));
    }
}

static void fit_and_snap(bench *b, const float *importance)
{
    const uint32_t cols = b->coder.block_cols;
    b->ops.fit(&b->coder, b->grid, b->tile, importance, 0, qc_n_subs(&b->coder));
    for (uint32_t c = 0; c < cols; c++)
        qc_snap(&b->coder, b->grid, b->value + c * QC_LANES, b->code + c * QC_LANES, b->tile + c * QC_LANES, importance,
                c);
}

/* Any codes, packed with the grid as it is, must decode to step * level + offset. */
static void check_random_codes(bench *b, uint32_t *random, const char *kind)
{
    const qc_encoding_desc *d = b->coder.desc;
    const size_t n = (size_t)b->coder.block_cols * QC_LANES, sub = (size_t)qc_sub_cols(&b->coder) * QC_LANES;
    for (size_t i = 0; i < n; i++) {
        size_t at = i / sub * QC_LANES + i % QC_LANES;
        b->code[i] = d->lowest + (int32_t)(rows_random(random) % (uint32_t)(d->highest - d->lowest + 1));
        float scaled = b->grid->step[at] * (d->levels ? d->levels[b->code[i]] : (float)b->code[i]);
        b->value[i] = scaled + b->grid->offset[at];
    }
    b->ops.pack(&b->coder, b->bytes, b->grid, b->code, QC_LANES);
    b->ops.decode(&b->coder, b->back, b->bytes, QC_LANES, b->coder.block_cols);
    assert_same_floats(b->back, b->value, n, d->base.id, kind);
}

/* value = step * code + offset must be what decode makes of the packed block, for snapped and for any codes. */
static void test_pack_decodes_to_grid(void **state)
{
    (void)state;
    static bench b;
    float rows[QC_LANES * BLOCKS_MAX], importance[BLOCKS_MAX];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        const uint32_t cols = b.coder.block_cols;
        uint32_t random = 7;
        for (int kind = 0; kind < ROWS_KINDS; kind++)
            for (int weighted = 0; weighted < 2; weighted++) {
                rows_fill(rows, QC_LANES, cols, kind, 1);
                rows_importance(importance, cols, (uint32_t)kind);
                qc_tile_from_rows(b.tile, rows, cols, QC_LANES, cols);
                fit_and_snap(&b, weighted ? importance : NULL);
                b.ops.pack(&b.coder, b.bytes, b.grid, b.code, QC_LANES);
                b.ops.decode(&b.coder, b.back, b.bytes, QC_LANES, cols);
                assert_same_floats(b.back, b.value, cols * QC_LANES, all[i].id, rows_name(kind));
                check_random_codes(&b, &random, rows_name(kind));
            }
        end(&b);
    }
}

/* Any bytes, unpacked and packed again, are the same bytes: nothing of a file is lost. */
static void test_unpack_pack_round_trip(void **state)
{
    (void)state;
    static bench b;
    static unsigned char again[sizeof b.bytes];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        assert_true(test_coder(&b.coder, &b.ops, desc_of(&all[i]), "reference", b.coder.block_cols));
        uint32_t random = 99, n_valid = 0;
        for (int round = 0; round < 50; round++) {
            for (size_t j = 0; j < sizeof b.bytes; j++)
                b.bytes[j] = (unsigned char)rows_random(&random);
            for (size_t r = 0; strstr(all[i].id, "_asym") && r < QC_LANES; r++)
                b.bytes[r * b.coder.row_bytes + 2] &= (unsigned char)b.coder.desc->highest; /* a zero point */
            int valid = b.coder.desc->validate(b.job, &b.coder, b.bytes, QC_LANES) == QC_OK;
            test_host_reset(&b.host);
            if (!valid)
                continue; /* NaN scales need not survive */
            n_valid++;
            b.grid = qc_grid_new(b.job, &b.coder);
            memset(again, 0, QC_LANES * b.coder.row_bytes);
            b.ops.unpack(&b.coder, b.grid, b.code, b.bytes, QC_LANES);
            b.ops.pack(&b.coder, again, b.grid, b.code, QC_LANES);
            assert_memory_equal(again, b.bytes, QC_LANES * b.coder.row_bytes);
        }
        assert_true(n_valid > 5);
        end(&b);
    }
}

/* encode is fit, snap, pack: a method that takes these steps one by one gets the same bytes. */
static void test_encode_is_fit_snap_pack(void **state)
{
    (void)state;
    static bench b;
    static unsigned char whole[sizeof b.bytes];
    float rows[QC_LANES * BLOCKS_MAX], importance[BLOCKS_MAX];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        const uint32_t cols = b.coder.block_cols;
        for (int kind = 0; kind < ROWS_KINDS; kind++) {
            rows_fill(rows, QC_LANES, cols, kind, 2);
            rows_importance(importance, cols, 3);
            qc_tile_from_rows(b.tile, rows, cols, QC_LANES, cols);
            b.ops.encode(&b.coder, whole, b.tile, importance, QC_LANES, cols);
            b.ops.fit(&b.coder, b.grid, b.tile, importance, 0, qc_n_subs(&b.coder));
            for (uint32_t c = 0; c < cols; c++)
                qc_snap_nearest(&b.coder, b.grid, b.value + c * QC_LANES, b.code + c * QC_LANES, b.tile + c * QC_LANES,
                                c);
            b.ops.pack(&b.coder, b.bytes, b.grid, b.code, QC_LANES);
            for (size_t r = 0; r < QC_LANES; r++)
                assert_memory_equal(b.bytes + r * b.coder.row_bytes, whole + r * b.coder.row_bytes,
                                    block_bytes(&b.coder));
        }
        end(&b);
    }
}

/* 16 rows at once, one at a time, or an odd few: the same bytes, and none written past the last row. */
static void test_rows_are_independent(void **state)
{
    (void)state;
    static bench b;
    static float rows[QC_LANES * COLS], importance[COLS];
    static unsigned char part[sizeof b.bytes];
    for (size_t i = 0; i < N_ALL; i++) {
        begin(&b, &all[i]);
        const size_t row_bytes = b.coder.row_bytes;
        for (int kind = 0; kind < ROWS_KINDS; kind++) {
            rows_fill(rows, QC_LANES, COLS, kind, 5);
            rows_importance(importance, COLS, 6);
            assert_int_equal(qc_encode_rows(b.job, &b.coder, b.bytes, rows, importance, QC_LANES), QC_OK);
            for (size_t first = 0, n = 1; first + n <= QC_LANES; first += n, n = n % 4 + 1) {
                memset(part, 0xCD, sizeof part);
                assert_int_equal(qc_encode_rows(b.job, &b.coder, part, rows + first * COLS, importance, n), QC_OK);
                assert_memory_equal(part, b.bytes + first * row_bytes, n * row_bytes);
                for (size_t j = n * row_bytes; j < (n + 1) * row_bytes && j < sizeof part; j++)
                    assert_int_equal(part[j], 0xCD);
            }
            test_host_reset(&b.host);
        }
        end(&b);
    }
}

static void test_extreme_rows(void **state)
{
    (void)state;
    static bench b;
    static float rows[QC_LANES * COLS], back[QC_LANES * COLS];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        for (int kind = 0; kind < ROWS_KINDS; kind++) {
            rows_fill(rows, QC_LANES, COLS, kind, 8);
            float largest = 0.0f;
            assert_int_equal(qc_encode_rows(b.job, &b.coder, b.bytes, rows, NULL, QC_LANES), QC_OK);
            assert_int_equal(b.coder.desc->validate(b.job, &b.coder, b.bytes, QC_LANES), QC_OK);
            assert_int_equal(qc_decode_rows(b.job, &b.coder, back, b.bytes, QC_LANES), QC_OK);
            for (size_t j = 0; j < QC_LANES * COLS; j++) {
                assert_true(qc_is_finite(back[j]));
                if (kind == ROWS_ZERO || kind == ROWS_DENORMAL)
                    assert_true(back[j] == 0.0f);
                if (kind == ROWS_CONSTANT)
                    assert_true(fabsf(back[j] - rows[j]) <= 0.02f * fabsf(rows[j]));
                largest = fabsf(back[j]) > largest ? fabsf(back[j]) : largest;
            }
            if (kind == ROWS_HUGE)
                assert_true(largest > 6e4f); /* saturated, not lost */
            test_host_reset(&b.host);
        }
        end(&b);
    }
}

/* What was decoded is nearly a grid already: encoding it again adds little. */
static void test_encoding_again_adds_little(void **state)
{
    (void)state;
    static bench b;
    static float rows[QC_LANES * COLS], once[QC_LANES * COLS], twice[QC_LANES * COLS];
    for (size_t i = 0; i < N_ALL; i++) {
        begin(&b, &all[i]);
        for (int kind = ROWS_GAUSS; kind <= ROWS_UNIFORM; kind++) {
            rows_fill(rows, QC_LANES, COLS, kind, 9);
            qc_encode_rows(b.job, &b.coder, b.bytes, rows, NULL, QC_LANES);
            qc_decode_rows(b.job, &b.coder, once, b.bytes, QC_LANES);
            qc_encode_rows(b.job, &b.coder, b.bytes, once, NULL, QC_LANES);
            qc_decode_rows(b.job, &b.coder, twice, b.bytes, QC_LANES);
            double first = squared_error(rows, once, QC_LANES * COLS);
            double second = squared_error(rows, twice, QC_LANES * COLS);
            /* 8 bits: which of many steps happens to fit 32 weights best is mostly luck, and lost the second time */
            int lucky = kind == ROWS_HEAVY || !strncmp(all[i].id, "int8", 4);
            if (second > (lucky ? 1.1 : 1.05) * first)
                fail_msg("%s on %s rows: error %g, encoded again %g", all[i].id, rows_name(kind), first, second);
            test_host_reset(&b.host);
        }
        end(&b);
    }
}

static void test_importance_of_zero_is_none(void **state)
{
    (void)state;
    static bench b;
    static float rows[QC_LANES * COLS], zero[COLS];
    static unsigned char plain[sizeof b.bytes];
    rows_fill(rows, QC_LANES, COLS, ROWS_GAUSS, 10);
    for (size_t i = 0; i < N_ALL; i++) {
        begin(&b, &all[i]);
        qc_encode_rows(b.job, &b.coder, plain, rows, NULL, QC_LANES);
        qc_encode_rows(b.job, &b.coder, b.bytes, rows, zero, QC_LANES);
        assert_memory_equal(plain, b.bytes, QC_LANES * b.coder.row_bytes);
        end(&b);
    }
}

/* A fit of one sub-block keeps the block's scales and the other sub-blocks, and stays storable. */
static void test_partial_fit(void **state)
{
    (void)state;
    static bench b;
    float rows[QC_LANES * BLOCKS_MAX], step[BLOCKS_MAX], offset[BLOCKS_MAX];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        const uint32_t cols = b.coder.block_cols, n_subs = qc_n_subs(&b.coder);
        if (n_subs > 1) {
            rows_fill(rows, QC_LANES, cols, ROWS_GAUSS, 11);
            qc_tile_from_rows(b.tile, rows, cols, QC_LANES, cols);
            fit_and_snap(&b, NULL);
            memcpy(step, b.grid->step, n_subs * QC_LANES * sizeof *step);
            memcpy(offset, b.grid->offset, n_subs * QC_LANES * sizeof *offset);
            for (uint32_t c = 0; c < cols * QC_LANES; c++)
                b.tile[c] *= 0.5f;
            b.ops.fit(&b.coder, b.grid, b.tile, NULL, 2, 1);
            for (uint32_t j = 0; j < n_subs * QC_LANES; j++)
                if (j / QC_LANES != 2) {
                    assert_true(qc_float_bits(step[j]) == qc_float_bits(b.grid->step[j]));
                    assert_true(qc_float_bits(offset[j]) == qc_float_bits(b.grid->offset[j]));
                }
            assert_memory_not_equal(step + 2 * QC_LANES, b.grid->step + 2 * QC_LANES, QC_LANES * sizeof *step);
            for (uint32_t c = 0; c < cols; c++)
                qc_snap(&b.coder, b.grid, b.value + c * QC_LANES, b.code + c * QC_LANES, b.tile + c * QC_LANES, NULL,
                        c);
            b.ops.pack(&b.coder, b.bytes, b.grid, b.code, QC_LANES);
            b.ops.decode(&b.coder, b.back, b.bytes, QC_LANES, cols);
            assert_same_floats(b.back, b.value, cols * QC_LANES, all[i].id, "gauss");
        }
        end(&b);
    }
}

static void test_neighbours(void **state)
{
    (void)state;
    static bench b;
    float rows[QC_LANES * BLOCKS_MAX], step[QC_LANES], offset[QC_LANES];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        const uint32_t cols = b.coder.block_cols;
        rows_fill(rows, QC_LANES, cols, ROWS_SIGNS, 12);
        qc_tile_from_rows(b.tile, rows, cols, QC_LANES, cols);
        fit_and_snap(&b, NULL);
        b.ops.neighbour(&b.coder, b.grid, 0, 0, 0, step, offset);
        assert_same_floats(step, b.grid->step, QC_LANES, all[i].id, "gauss");
        assert_same_floats(offset, b.grid->offset, QC_LANES, all[i].id, "gauss");
        b.ops.neighbour(&b.coder, b.grid, 0, 1, 0, step, offset);
        for (size_t l = 0; l < QC_LANES; l++)
            assert_true(step[l] != b.grid->step[l] && qc_is_finite(step[l]));
        b.ops.neighbour(&b.coder, b.grid, 0, INT32_MAX, 0, step, offset);
        for (size_t l = 0; l < QC_LANES; l++)
            assert_true(step[l] == 0.0f);
        end(&b);
    }
}

/* Puts the neighbour (a, b) of one sub-block into the grid where it can be stored; how many lanes took it. */
static size_t move_to_neighbour(bench *b, uint32_t sub, int32_t a, int32_t offset_by)
{
    float step[QC_LANES], offset[QC_LANES];
    size_t n_moved = 0;
    b->ops.neighbour(&b->coder, b->grid, sub, a, offset_by, step, offset);
    for (size_t l = 0; l < QC_LANES; l++)
        if (step[l] != 0.0f) {
            b->grid->step[sub * QC_LANES + l] = step[l];
            b->grid->offset[sub * QC_LANES + l] = offset[l];
            n_moved++;
        }
    return n_moved;
}

/* What neighbour gave can be kept, bit for bit; what cannot be stored is refused, and changes nothing. */
static void test_adopt(void **state)
{
    (void)state;
    static bench b;
    float rows[QC_LANES * BLOCKS_MAX], step[BLOCKS_MAX], offset[BLOCKS_MAX];
    for (size_t i = FIRST_BLOCKED; i < N_ALL; i++) {
        begin(&b, &all[i]);
        const uint32_t cols = b.coder.block_cols, n_subs = qc_n_subs(&b.coder), n = n_subs * QC_LANES;
        uint32_t random = 5, n_moved = 0;
        rows_fill(rows, QC_LANES, cols, ROWS_GAUSS, 13);
        qc_tile_from_rows(b.tile, rows, cols, QC_LANES, cols);
        for (int32_t a = -4; a <= 4; a++)
            for (int32_t by = -2; by <= 2; by++) {
                fit_and_snap(&b, NULL);
                for (uint32_t sub = 0; sub < n_subs; sub++)
                    n_moved += (uint32_t)move_to_neighbour(&b, sub, a, by);
                memcpy(step, b.grid->step, n * sizeof *step);
                memcpy(offset, b.grid->offset, n * sizeof *offset);
                assert_int_equal(b.ops.adopt(&b.coder, b.grid), 1);
                assert_same_floats(b.grid->step, step, n, all[i].id, "adopted");
                assert_same_floats(b.grid->offset, offset, n, all[i].id, "adopted");
                check_random_codes(&b, &random, "adopted");
                b.grid->step[n - 1] *= 1.0f + 0x1p-20f; /* no f16 number, no multiple of one */
                assert_int_equal(b.ops.adopt(&b.coder, b.grid), 0);
                memcpy(b.grid->step, step, n * sizeof *step);
                b.grid->offset[0] += 0.3f * b.grid->step[0] + 1e-7f;
                assert_int_equal(b.ops.adopt(&b.coder, b.grid), 0);
                memcpy(b.grid->offset, offset, n * sizeof *offset);
                check_random_codes(&b, &random, "refused");
            }
        assert_true(n_moved > 8 * n);
        end(&b);
    }
}

/* The scale of a block, or the number itself, as NaN and as Inf. */
static void test_validate(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        size_t at, bytes;
        unsigned char nan[8];
    } bad[] = {
        {"f64", 0, 8, {0, 0, 0, 0, 0, 0, 0xf8, 0x7f}},
        {"f32", 0, 4, {0, 0, 0x80, 0x7f}},
        {"f16", 0, 2, {0, 0x7c}},
        {"bf16", 0, 2, {0xc0, 0x7f}},
        {"f8_e4m3", 0, 1, {0xff}},
        {"f8_e5m2", 0, 1, {0x7c}},
        {"q4_0", 0, 2, {0, 0x7c}},
        {"q4_1", 2, 2, {1, 0xfc}},
        {"q5_0", 0, 2, {0, 0xfc}},
        {"q5_1", 2, 2, {0, 0x7c}},
        {"q8_0", 0, 2, {0, 0x7e}},
        {"q2_k", 82, 2, {0, 0x7c}},
        {"q3_k", 108, 2, {0, 0x7c}},
        {"q4_k", 2, 2, {0, 0x7e}},
        {"q5_k", 0, 2, {0, 0x7c}},
        {"q6_k", 208, 2, {0, 0x7e}},
        {"iq4_nl", 0, 2, {0, 0xfc}},
        {"int4_g128", 0, 2, {0, 0x7c}},
        {"int3_g32_asym", 0, 2, {1, 0x7c}},
        {"int8_channel", 0, 2, {0, 0xfc}},
    };
    static bench b;
    for (size_t i = 0; i < N_ALL; i++)
        for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
            if (strcmp(all[i].id, bad[j].id) != 0)
                continue;
            begin(&b, &all[i]);
            memset(b.bytes, 0, sizeof b.bytes);
            assert_int_equal(b.coder.desc->validate(b.job, &b.coder, b.bytes, 3), QC_OK);
            size_t last = b.coder.row_bytes - block_bytes(&b.coder);
            memcpy(b.bytes + 2 * b.coder.row_bytes + last + bad[j].at, bad[j].nan, bad[j].bytes);
            assert_int_equal(b.coder.desc->validate(b.job, &b.coder, b.bytes, 2), QC_OK);
            assert_int_equal(b.coder.desc->validate(b.job, &b.coder, b.bytes, 3), QC_E_NUMERIC);
            assert_non_null(strstr(b.host.message, "row 2"));
            char column[32];
            snprintf(column, sizeof column, "column %u", COLS - b.coder.block_cols);
            assert_non_null(strstr(b.host.message, column));
            test_host_end(&b.host);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_pack_decodes_to_grid),
        cmocka_unit_test(test_unpack_pack_round_trip),
        cmocka_unit_test(test_encode_is_fit_snap_pack),
        cmocka_unit_test(test_rows_are_independent),
        cmocka_unit_test(test_extreme_rows),
        cmocka_unit_test(test_encoding_again_adds_little),
        cmocka_unit_test(test_importance_of_zero_is_none),
        cmocka_unit_test(test_partial_fit),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_validate),
    };
    add_ints();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
