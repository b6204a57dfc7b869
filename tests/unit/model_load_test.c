/* Canonical rows gathered from where a file keeps them: stacked, in pairs of a head's halves and back, transposed. */
#include "core/model.h"
#include "core/source.h"
#include "qcore/number.h"
#include "scratch_folder.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { COLS = 4, ROWS = 16, HEAD = 8 };

/* Two tensors of ROWS x COLS u8, element = its index, the second one's + 100; in one file after 3 bytes of header. */
typedef struct fixture {
    scratch_folder *scratch;
    qc_format_desc format;
    qc_encoding_desc desc;
    qc_tensor one, two, *sources[2];
    model model;
    row_run runs[2];
    model_tensor tensor;
    qc_coder coder;
    unsigned char got[2 * ROWS * COLS];
} fixture;

static void fixture_begin(fixture *f, void **state)
{
    unsigned char data[3 + 2 * ROWS * COLS] = "***";
    for (size_t i = 0; i < ROWS * COLS; i++) {
        data[3 + i] = (unsigned char)i;
        data[3 + ROWS * COLS + i] = (unsigned char)(100 + i);
    }
    memset(f, 0, sizeof *f);
    f->scratch = *state;
    scratch_write(f->scratch, "w", data, sizeof data);
    assert_int_equal(source_new(f->scratch->job, f->scratch->path, "w", &f->model.source), QC_OK);
    f->one = (qc_tensor){.size = sizeof f->one,
                         .name = "one",
                         .encoding = "u8",
                         .n_dims = 2,
                         .dims = {COLS, ROWS, 1, 1},
                         .at = 3,
                         .bytes = ROWS * COLS,
                         .row_bytes = COLS};
    f->two = f->one;
    f->two.at += ROWS * COLS;
    f->sources[0] = &f->one;
    f->sources[1] = &f->two;
    f->model.format = &f->format;
    f->model.sources = f->sources;
    f->model.n_sources = 2;
    f->runs[0] = (row_run){0, 0, ROWS};
    f->runs[1] = (row_run){1, 0, ROWS};
    f->tensor = (model_tensor){.name = (char *)(uintptr_t) "t",
                               .n_dims = 2,
                               .dims = {COLS, ROWS, 1, 1},
                               .n_rows = ROWS,
                               .runs = f->runs,
                               .n_runs = 1,
                               .source_name = (char *)(uintptr_t) "one",
                               .encoding = "u8"};
    f->desc.block_cols = 1;
    f->coder = (qc_coder){.size = sizeof f->coder, .block_cols = 1, .cols = COLS, .row_bytes = COLS, .desc = &f->desc};
}

static void load(fixture *f, uint64_t row, size_t n)
{
    memset(f->got, 0xee, sizeof f->got);
    assert_int_equal(model_load(&f->model, f->scratch->job, &f->tensor, &f->coder, row, n, f->got), QC_OK);
}

static void expect_rows(const fixture *f, size_t n, const unsigned char *first_of_row)
{
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < COLS; c++)
            assert_int_equal(f->got[i * COLS + c], first_of_row[i] + c);
    assert_int_equal(f->got[n * COLS], 0xee);
}

static void plain_rows(void **state)
{
    fixture f;
    fixture_begin(&f, state);
    load(&f, 5, 3);
    expect_rows(&f, 3, (const unsigned char[]){20, 24, 28});
    assert_int_not_equal(model_load(&f.model, f.scratch->job, &f.tensor, &f.coder, 15, 2, f.got), QC_OK);
    source_free(f.model.source);
}

static void stacked_rows_cross_from_one_tensor_to_the_next(void **state)
{
    fixture f;
    fixture_begin(&f, state);
    f.tensor.n_runs = 2;
    f.tensor.n_rows = 2 * ROWS;
    f.tensor.dims[2] = 2;
    load(&f, 14, 4);
    expect_rows(&f, 4, (const unsigned char[]){56, 60, 100, 104});
    source_free(f.model.source);
}

/* Head of 8 rows: halves 0..3 and 4..7 become pairs 0 4 1 5 2 6 3 7. */
static void halves_become_pairs(void **state)
{
    static const unsigned char pairs[] = {0, 4, 1, 5, 2, 6, 3, 7};
    unsigned char first[HEAD];
    fixture f;
    fixture_begin(&f, state);
    f.tensor.row_map = QC_ROWS_PAIR_QUERY_HEADS;
    f.tensor.head_rows = HEAD;
    for (size_t i = 0; i < HEAD; i++)
        first[i] = (unsigned char)((HEAD + pairs[i]) * COLS);
    load(&f, HEAD, HEAD);
    expect_rows(&f, HEAD, first);
    load(&f, HEAD + 3, 4);
    expect_rows(&f, 4, first + 3);
    source_free(f.model.source);
}

static void pairs_become_halves_again(void **state)
{
    unsigned char direct[ROWS * COLS], row[COLS];
    fixture f;
    fixture_begin(&f, state);
    f.tensor.row_map = QC_ROWS_PAIR_KEY_HEADS;
    f.tensor.head_rows = HEAD;
    load(&f, 0, ROWS);
    memcpy(direct, f.got, sizeof direct);
    f.tensor.row_map |= ROWS_INVERSE;
    for (size_t i = 0; i < ROWS; i++) { /* row i of the inverse, taken through the direct map, is row i */
        load(&f, i, 1);
        memcpy(row, direct + f.got[0] / COLS * COLS, COLS);
        assert_int_equal(row[0], i * COLS);
    }
    source_free(f.model.source);
}

static void elements_of_a_bias_go_with_the_rows(void **state)
{
    fixture f;
    fixture_begin(&f, state);
    f.tensor.n_dims = 1;
    f.tensor.n_rows = f.tensor.dims[1] = f.one.dims[1] = f.runs[0].n = 1;
    f.tensor.dims[0] = f.one.dims[0] = f.coder.cols = f.coder.row_bytes = HEAD;
    f.one.row_bytes = f.one.bytes = HEAD;
    f.tensor.row_map = QC_ROWS_PAIR_QUERY_HEADS;
    f.tensor.head_rows = HEAD;
    load(&f, 0, 1);
    assert_memory_equal(f.got, ((const unsigned char[]){0, 4, 1, 5, 2, 6, 3, 7}), HEAD);
    source_free(f.model.source);
}

static void columns_become_rows(void **state)
{
    fixture f;
    fixture_begin(&f, state);
    f.tensor.flags = QC_NAME_TRANSPOSE;
    f.tensor.dims[0] = f.coder.cols = f.coder.row_bytes = ROWS;
    f.tensor.dims[1] = f.tensor.n_rows = COLS;
    load(&f, 1, 2);
    for (size_t r = 0; r < 2; r++)
        for (size_t c = 0; c < ROWS; c++)
            assert_int_equal(f.got[r * ROWS + c], c * COLS + r + 1);
    source_free(f.model.source);
}

static void generated_values_are_little_endian_f32(void **state)
{
    float values[] = {1.5f, -2.0f};
    fixture f;
    fixture_begin(&f, state);
    f.tensor.values = values;
    f.tensor.n_dims = 1;
    f.tensor.n_rows = f.tensor.dims[1] = 1;
    f.tensor.dims[0] = 2;
    load(&f, 0, 1);
    assert_true(qc_float_from_bits(qc_load_le32(f.got)) == 1.5f);
    assert_true(qc_float_from_bits(qc_load_le32(f.got + 4)) == -2.0f);
    source_free(f.model.source);
}

/* A format that only gives whole groups of 4 rows. */
static size_t asked_first, asked_n, n_asked;

static qc_status load_groups(qc_job *job, const void *index, const qc_source *src, const qc_tensor *t,
                             const qc_coder *e, uint64_t row, size_t n_rows, void *dst)
{
    (void)index;
    asked_first = (size_t)row;
    asked_n = n_rows;
    n_asked++;
    return src->read_at(src, job, 0, t->at + row * e->row_bytes, n_rows * e->row_bytes, dst);
}

static void formats_that_load_groups_get_whole_ones(void **state)
{
    fixture f;
    fixture_begin(&f, state);
    f.format.load = load_groups;
    f.format.row_multiple = 4;
    f.one.file = QC_FILE_PARTS;
    load(&f, 5, 2);
    expect_rows(&f, 2, (const unsigned char[]){20, 24});
    assert_int_equal(asked_first, 4);
    assert_int_equal(asked_n, 4);
    source_free(f.model.source);
}

/* Rows that go in turn from one half of a head to the other cost a tile of each, not one for every row. */
static void tiles_are_kept_between_the_halves_of_a_head(void **state)
{
    static const unsigned char pairs[] = {0, 4, 1, 5, 2, 6, 3, 7};
    unsigned char first[HEAD];
    fixture f;
    fixture_begin(&f, state);
    f.format.load = load_groups;
    f.format.row_multiple = 4;
    f.one.file = QC_FILE_PARTS;
    f.tensor.row_map = QC_ROWS_PAIR_KEY_HEADS;
    f.tensor.head_rows = HEAD;
    for (size_t i = 0; i < HEAD; i++)
        first[i] = (unsigned char)((HEAD + pairs[i]) * COLS);
    n_asked = 0;
    load(&f, HEAD, HEAD);
    expect_rows(&f, HEAD, first);
    assert_int_equal(n_asked, 2);
    source_free(f.model.source);
}

static void parts_need_a_format_that_loads(void **state)
{
    fixture f;
    fixture_begin(&f, state);
    f.one.file = QC_FILE_PARTS;
    assert_int_equal(model_load(&f.model, f.scratch->job, &f.tensor, &f.coder, 0, 1, f.got), QC_E_INTERNAL);
    source_free(f.model.source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(plain_rows),
        TEST(stacked_rows_cross_from_one_tensor_to_the_next),
        TEST(halves_become_pairs),
        TEST(pairs_become_halves_again),
        TEST(elements_of_a_bias_go_with_the_rows),
        TEST(columns_become_rows),
        TEST(generated_values_are_little_endian_f32),
        TEST(formats_that_load_groups_get_whole_ones),
        TEST(tiles_are_kept_between_the_halves_of_a_head),
        TEST(parts_need_a_format_that_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
