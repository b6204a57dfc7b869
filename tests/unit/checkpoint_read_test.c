/* Packed linears apart from the program: what is reported, rows cut in any way, codes kept as they are, no memory. That
 * all layouts decode to the right values is for tests/integration/checkpoint_read_test.py. */
#include "bytes.h"
#include "format_check.h"
#include "qcore/number.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COLS = 64, ROWS = 96, GROUP = 32, N_GROUPS = 2, WORDS = COLS / 8, ZERO_WORDS = ROWS / 8 };

#define CONFIG(more) "{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32" more "}}"

static const qc_format_desc *safetensors;
static const qc_plugin *ints;

/* ---- a linear of GPTQ's, 4 bits ---- */

static uint32_t code_at(size_t row, size_t col)
{
    return (uint32_t)(row * 7 + col * 5 + row * col) % 16;
}

static float scale_at(size_t row, size_t group)
{
    return (float)(1 + row + 3 * group) * 0x1p-10f;
}

typedef struct linear {
    uint32_t zero_word; /* of every output and group, as stored */
    int permuted; /* g_idx: even columns are of group 0, odd ones of group 1 */
} linear;

static void put_linear(byte_buffer *b, const linear *l)
{
    for (size_t w = 0; w < WORDS; w++)
        for (size_t row = 0; row < ROWS; row++) {
            uint32_t word = 0;
            for (size_t k = 0; k < 8; k++)
                word |= code_at(row, 8 * w + k) << 4 * k;
            put_u32(b, word);
        }
    for (size_t i = 0; i < N_GROUPS * ZERO_WORDS; i++)
        put_u32(b, l->zero_word);
    for (size_t g = 0; g < N_GROUPS; g++)
        for (size_t row = 0; row < ROWS; row++)
            put_number(b, qc_f16_from_f32(scale_at(row, g)), 2);
    for (uint32_t col = 0; col < COLS; col++)
        put_u32(b, l->permuted ? col % 2 : col / GROUP);
    put_zeros(b, 8);
}

#define ENTRY(name, dtype, shape, begin, end) \
    "\"" name "\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": [" begin ", " end "]}"

static void add_folder(memory_folder *f, const linear *l, const char *config)
{
    static const char header[] = "{" ENTRY("a.qweight", "I32", "[8, 96]", "0", "3072") ", " ENTRY(
        "a.qzeros", "I32", "[2, 12]", "3072",
        "3168") ", " ENTRY("a.scales", "F16", "[2, 96]", "3168",
                           "3552") ", " ENTRY("a.g_idx", "I32", "[64]", "3552",
                                              "3808") ", " ENTRY("a.bias", "F16", "[4]", "3808", "3816") "}";
    byte_buffer b = {0};
    put_u64(&b, sizeof header - 1);
    put_bytes(&b, header, sizeof header - 1);
    put_linear(&b, l);
    memory_folder_begin(f);
    memory_folder_add(f, "model.safetensors", b.data, b.n);
    memory_folder_add(f, "config.json", config, strlen(config));
    buffer_end(&b);
}

typedef struct opened {
    test_host th;
    memory_folder folder;
    memory_model m;
    void *index;
    const qc_tensor *t;
    qc_coder coder;
    qc_ops_encoding ops;
} opened;

static void open_folder(opened *o, const linear *l, const char *config, const char *encoding)
{
    memset(o, 0, sizeof *o);
    test_host_begin(&o->th);
    add_folder(&o->folder, l, config);
    memory_model_begin(&o->m);
    if (safetensors->scan(&o->th.job, &o->folder.source, &o->m.scan, &o->index) != QC_OK)
        fail_msg("scan: %s", o->th.message);
    o->t = memory_model_tensor(&o->m, "a.weight");
    assert_non_null(o->t);
    assert_string_equal(o->t->encoding, encoding);
    if (strcmp(encoding, "f32") != 0)
        assert_true(test_coder(&o->coder, &o->ops, test_find_encoding(ints, encoding), "reference", COLS));
    else
        o->coder = (qc_coder){.size = sizeof o->coder, .block_cols = 1, .cols = COLS, .row_bytes = 4 * COLS};
}

static void close_folder(opened *o)
{
    safetensors->release(&o->th.host, o->index);
    memory_model_end(&o->m);
    memory_folder_end(&o->folder);
    test_host_end(&o->th);
}

static void load(opened *o, uint64_t row, size_t n, void *dst)
{
    if (safetensors->load(&o->th.job, o->index, &o->folder.source, o->t, &o->coder, row, n, dst) != QC_OK)
        fail_msg("load: %s", o->th.message);
}

static void expect_values(opened *o, const unsigned char *rows, uint32_t zero, int permuted)
{
    float x[ROWS * COLS];
    if (o->coder.desc)
        assert_int_equal(qc_decode_rows(&o->th.job, &o->coder, x, rows, ROWS), QC_OK);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        size_t row = i / COLS, col = i % COLS, group = permuted ? col % 2 : col / GROUP;
        float got = o->coder.desc ? x[i] : qc_float_from_bits(qc_load_le32(rows + 4 * i));
        assert_true(got == scale_at(row, group) * ((float)code_at(row, col) - (float)zero));
    }
}

/* ---- tests ---- */

static void a_linear_is_one_tensor(void **state)
{
    const linear l = {0x77777777, 0};
    opened o;
    (void)state;
    open_folder(&o, &l, CONFIG(""), "int4_g32");
    assert_int_equal(o.m.model.n_tensors, 2);
    assert_int_equal(o.t->file, QC_FILE_PARTS);
    assert_true(o.t->n_dims == 2 && o.t->dims[0] == COLS && o.t->dims[1] == ROWS);
    assert_int_equal(o.t->bytes, o.t->row_bytes * ROWS);
    const qc_tensor *bias = memory_model_tensor(&o.m, "a.bias");
    assert_true(bias && bias->file == 0 && bias->n_dims == 1);
    close_folder(&o);
}

/* Fields of 7 are zero points of 8 in GPTQ's first format, of 7 in its second; 15 is 0. */
static void zero_points_are_those_of_the_format(void **state)
{
    static const struct {
        const char *config, *encoding;
        uint32_t word, zero;
    } cases[] = {{CONFIG(""), "int4_g32", 0x77777777, 8},
                 {CONFIG(", \"checkpoint_format\": \"gptq_v2\""), "int4_g32_asym", 0x77777777, 7},
                 {CONFIG(", \"format\": \"gptq_v2\""), "int4_g32", 0x88888888, 8},
                 {CONFIG(""), "int4_g32_asym", 0xffffffff, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const linear l = {cases[i].word, 0};
        unsigned char rows[ROWS * COLS];
        opened o;
        open_folder(&o, &l, cases[i].config, cases[i].encoding);
        load(&o, 0, ROWS, rows);
        expect_values(&o, rows, cases[i].zero, 0);
        close_folder(&o);
    }
}

/* 0xeeeeeeef is 0x00000000 less 1 in every field: borrows went from field to field, and come back. */
static void borrows_between_fields_come_back(void **state)
{
    const linear l = {0xeeeeeeef, 0};
    unsigned char rows[ROWS * COLS];
    opened o;
    (void)state;
    open_folder(&o, &l, CONFIG(", \"meta\": {\"quantizer\": [\"gptqmodel:2\"]}"), "int4_g32_asym");
    load(&o, 0, ROWS, rows);
    expect_values(&o, rows, 0, 0);
    close_folder(&o);
}

static void rows_are_the_same_however_they_are_cut(void **state)
{
    static const size_t steps[] = {1, 7, 16, 32, 64};
    (void)state;
    for (int permuted = 0; permuted < 2; permuted++) {
        const linear l = {0x55555555, permuted};
        unsigned char whole[4 * ROWS * COLS], pieces[4 * ROWS * COLS + 1];
        opened o;
        open_folder(&o, &l, CONFIG(""), permuted ? "f32" : "int4_g32_asym");
        load(&o, 0, ROWS, whole);
        expect_values(&o, whole, 6, permuted);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            memset(pieces, 0xee, sizeof pieces);
            for (size_t row = 0; row < ROWS; row += steps[i])
                load(&o, row, ROWS - row < steps[i] ? ROWS - row : steps[i], pieces + row * o.coder.row_bytes);
            assert_memory_equal(pieces, whole, ROWS * o.coder.row_bytes);
            assert_int_equal(pieces[ROWS * o.coder.row_bytes], 0xee);
        }
        close_folder(&o);
    }
}

static void refuses_rows_past_the_end(void **state)
{
    const linear l = {0x77777777, 0};
    unsigned char rows[ROWS * COLS];
    opened o;
    (void)state;
    open_folder(&o, &l, CONFIG(""), "int4_g32");
    assert_int_equal(safetensors->load(&o.th.job, o.index, &o.folder.source, o.t, &o.coder, 90, 7, rows),
                     QC_E_INTERNAL);
    close_folder(&o);
}

static void no_memory_is_said(void **state)
{
    const linear l = {0x77777777, 1};
    memory_folder f;
    (void)state;
    add_folder(&f, &l, CONFIG(""));
    format_expect_nomem(safetensors, &f);
    memory_folder_end(&f);
}

static void no_memory_for_codes_is_said(void **state)
{
    const linear l = {0x55555555, 0};
    unsigned char rows[ROWS * COLS];
    opened o;
    qc_status status = QC_E_NOMEM;
    (void)state;
    open_folder(&o, &l, CONFIG(""), "int4_g32_asym");
    for (size_t k = 1; status != QC_OK; k++) {
        test_host_reset(&o.th);
        o.th.fail_at = k;
        status = safetensors->load(&o.th.job, o.index, &o.folder.source, o.t, &o.coder, 0, ROWS, rows);
        assert_true(status == QC_OK || status == QC_E_NOMEM);
        assert_int_equal(o.th.status, status);
    }
    close_folder(&o);
}

/* Other methods' folders are plain ones to this format; who imports them says what is wrong. */
static void other_methods_are_left_alone(void **state)
{
    const linear l = {0, 0};
    test_host th;
    memory_folder f;
    memory_model m;
    (void)state;
    test_host_begin(&th);
    add_folder(&f, &l, "{\"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}");
    assert_int_equal(format_scan(&th, safetensors, &f, &m), QC_OK);
    assert_int_equal(m.model.n_tensors, 5);
    memory_model_end(&m);
    memory_folder_end(&f);
    test_host_end(&th);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_linear_is_one_tensor),           cmocka_unit_test(zero_points_are_those_of_the_format),
        cmocka_unit_test(borrows_between_fields_come_back), cmocka_unit_test(rows_are_the_same_however_they_are_cut),
        cmocka_unit_test(refuses_rows_past_the_end),        cmocka_unit_test(no_memory_is_said),
        cmocka_unit_test(no_memory_for_codes_is_said),      cmocka_unit_test(other_methods_are_left_alone),
    };
    safetensors = test_format_open("safetensors");
    ints = test_plugin_open("ints");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
