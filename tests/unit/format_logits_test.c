/* Base files of llama-perplexity: sizes, codes, and what is no such file. */
#include "bytes.h"
#include "format_check.h"
#include "qcore/number.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const qc_format_desc *logits;

enum { CONTEXT = 7, VOCABULARY = 5, CHUNKS = 2, ROWS = CHUNKS * (CONTEXT - 1 - CONTEXT / 2) };

static void put_base(byte_buffer *b, uint32_t context, uint32_t vocabulary, uint32_t chunks)
{
    put_bytes(b, "_logits_", 8);
    put_u32(b, context);
    put_u32(b, vocabulary);
    put_u32(b, chunks);
}

/* Row r: scale 2^-12, lowest -r, codes 4096 i. */
static void put_file(byte_buffer *b)
{
    put_base(b, CONTEXT, VOCABULARY, CHUNKS);
    for (uint32_t i = 0; i < CONTEXT * CHUNKS; i++)
        put_u32(b, i % VOCABULARY);
    for (uint32_t r = 0; r < ROWS; r++) {
        put_f32(b, 0x1p-12f);
        put_f32(b, -(float)r);
        for (uint32_t i = 0; i < VOCABULARY; i++)
            put_number(b, 4096 * i, 2);
        put_zeros(b, 2); /* five codes are padded to six */
    }
}

static void reports_tokens_and_log_probabilities(void **state)
{
    byte_buffer b = {0};
    test_host th;
    memory_folder f;
    memory_model m;
    void *index = NULL;
    float rows[ROWS][VOCABULARY];
    uint32_t tokens[CONTEXT * CHUNKS];
    (void)state;
    put_file(&b);
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    memory_model_begin(&m);
    memory_folder_add(&f, "base.kld", b.data, b.n);
    assert_int_equal(logits->scan(job, &f.source, &m.scan, &index), QC_OK);
    assert_int_equal(m.model.n_tensors, 2);
    const qc_tensor *t = memory_model_tensor(&m, "tokens"), *p = memory_model_tensor(&m, "log_probs");
    assert_true(t && p && t->dims[0] == CONTEXT && t->dims[1] == CHUNKS);
    assert_true(p->dims[0] == VOCABULARY && p->dims[1] == ROWS);
    assert_int_equal(memory_load(job, logits, index, &f, t, tokens), QC_OK);
    assert_int_equal(memory_load(job, logits, index, &f, p, rows), QC_OK);
    assert_int_equal(qc_load_le32(&tokens[CONTEXT + 1]), (CONTEXT + 1) % VOCABULARY);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < VOCABULARY; i++)
            assert_true(qc_float_from_bits(qc_load_le32(&rows[r][i])) == (float)i - (float)r);
    memory_model_end(&m);
    memory_folder_end(&f);
    test_host_end(&th);
    buffer_end(&b);
}

static void refuses_every_part_of_a_file(void **state)
{
    byte_buffer b = {0};
    (void)state;
    put_file(&b);
    format_expect_no_part(logits, "part.kld", b.data, b.n);
    buffer_end(&b);
}

static void refuses_bad_sizes(void **state)
{
    static const struct {
        uint32_t context, vocabulary, chunks;
        const char *words;
    } cases[] = {
        {3, 5, 2, "its context is 3"},          {UINT32_MAX, 5, 2, "its context is -1"},
        {7, 0, 2, "its vocabulary is 0"},       {7, 0x80000000u, 2, "its vocabulary is -2147483648"},
        {7, 5, 0, "its number of chunks is 0"}, {7, 5, 1000, "cut short"},
        {7, 1 << 30, 2, "cut short"},           {INT32_MAX, INT32_MAX, INT32_MAX, "cut short"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        byte_buffer b = {0};
        put_base(&b, cases[i].context, cases[i].vocabulary, cases[i].chunks);
        put_zeros(&b, 500);
        format_expect_bad_file(logits, "bad.kld", b.data, b.n, QC_E_CORRUPT, cases[i].words);
        buffer_end(&b);
    }
}

static void refuses_scales_that_are_no_numbers(void **state)
{
    static const float scales[][2] = {{NAN, 0}, {INFINITY, 0}, {-1, 0}, {1, NAN}, {3e38f, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        byte_buffer b = {0};
        test_host th;
        memory_folder f;
        memory_model m;
        void *index = NULL;
        float row[5];
        put_base(&b, 4, 5, 1);
        put_zeros(&b, 16);
        put_f32(&b, scales[i][0]);
        put_f32(&b, scales[i][1]);
        put_zeros(&b, 12);
        qc_job *job = test_host_begin(&th);
        memory_folder_begin(&f);
        memory_model_begin(&m);
        memory_folder_add(&f, "base.kld", b.data, b.n);
        assert_int_equal(logits->scan(job, &f.source, &m.scan, &index), QC_OK);
        const qc_tensor *p = memory_model_tensor(&m, "log_probs");
        assert_int_equal(memory_load(job, logits, index, &f, p, row), QC_E_NUMERIC);
        assert_non_null(strstr(th.message, "base.kld: row 0"));
        memory_model_end(&m);
        memory_folder_end(&f);
        test_host_end(&th);
        buffer_end(&b);
    }
}

static void is_known_by_its_content(void **state)
{
    byte_buffer b = {0};
    (void)state;
    put_file(&b);
    assert_true(logits->probe("any.name", b.data, b.n) == 100);
    assert_int_equal(logits->probe("base.kld", "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24), 0);
    assert_int_equal(logits->probe("base.kld", b.data, 12), 0);
    buffer_end(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_tokens_and_log_probabilities),
        cmocka_unit_test(refuses_every_part_of_a_file),
        cmocka_unit_test(refuses_bad_sizes),
        cmocka_unit_test(refuses_scales_that_are_no_numbers),
        cmocka_unit_test(is_known_by_its_content),
    };
    logits = test_format_open("llama_logits");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
