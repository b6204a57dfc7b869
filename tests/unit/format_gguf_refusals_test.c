/* The gguf format: what it refuses to read, each with its message. */
#include "format_check.h"
#include "gguf_bytes.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const qc_format_desc *gguf;

static void not_gguf(byte_buffer *b)
{
    put_bytes(b, "GGML", 4);
    put_zeros(b, 60);
}

static void version_1(byte_buffer *b)
{
    put_head(b, 1, 0, 0);
}

static void version_4(byte_buffer *b)
{
    put_head(b, 4, 0, 0);
}

static void big_endian(byte_buffer *b)
{
    put_head(b, 3u << 24, 0, 0);
}

static void too_many_keys(byte_buffer *b)
{
    put_head(b, 3, 0, (uint64_t)1 << 60);
    put_zeros(b, 64);
}

static void too_many_tensors(byte_buffer *b)
{
    put_head(b, 3, UINT64_MAX, 0);
    put_zeros(b, 64);
}

static void key_without_name(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "", QC_U32, 1, 4);
}

static void key_too_long(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_u64(b, 65536);
    put_zeros(b, 70000);
}

static void key_unprintable(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "a\nb", QC_U32, 1, 4);
}

static void key_twice(byte_buffer *b)
{
    put_head(b, 3, 0, 2);
    put_key(b, "a", QC_U32, 1, 4);
    put_key(b, "a", QC_U32, 1, 4);
}

static void value_type_unknown(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "some.key", 13, 1, 8);
}

static void arrays_of_arrays(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "some.key", GGUF_ARRAY, 1);
    put_zeros(b, 32);
}

static void array_too_long(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "some.key", QC_U64, UINT64_MAX / 8 + 2);
    put_zeros(b, 32);
}

static void text_too_long(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "some.key", QC_TEXT, UINT64_MAX, 8);
    put_zeros(b, 32);
}

static void text_cut_short(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "some.key", QC_TEXT, 2);
    put_text(b, "whole");
    put_u64(b, 100);
    put_zeros(b, 32);
}

static void alignment_odd(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "general.alignment", QC_U32, 24, 4);
}

static void alignment_zero(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "general.alignment", QC_U32, 0, 4);
}

static void alignment_mistyped(byte_buffer *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "general.alignment", QC_U64, 32, 8);
}

static void alignment_twice(byte_buffer *b)
{
    put_head(b, 3, 0, 2);
    put_key(b, "general.alignment", QC_U32, 32, 4);
    put_key(b, "general.alignment", QC_U32, 32, 4);
}

/* One tensor with room for its data. */
static void put_one(byte_buffer *b, const char *name, uint32_t n_dims, uint64_t dim0, uint64_t dim1, uint32_t type,
                    uint64_t offset)
{
    put_head(b, 3, 1, 0);
    put_tensor(b, name, n_dims, dim0, dim1, type, offset);
    put_padding(b, 32);
    put_zeros(b, 256);
}

static void tensor_without_name(byte_buffer *b)
{
    put_one(b, "", 1, 8, 1, GGUF_F32, 0);
}

static void tensor_name_too_long(byte_buffer *b)
{
    put_one(b, "0123456789012345678901234567890123456789012345678901234567890123", 1, 8, 1, GGUF_F32, 0);
}

static void five_dimensions(byte_buffer *b)
{
    put_one(b, "some.weight", 5, 8, 1, GGUF_F32, 0);
}

static void removed_type(byte_buffer *b)
{
    put_one(b, "some.weight", 1, 8, 1, 4, 0);
}

static void broken_blocks(byte_buffer *b)
{
    put_one(b, "some.weight", 2, 128, 2, GGUF_Q4_K, 0);
}

static void scalar_of_blocks(byte_buffer *b)
{
    put_one(b, "some.weight", 0, 1, 1, GGUF_Q4_K, 0);
}

static void absurd_product(byte_buffer *b)
{
    put_one(b, "some.weight", 2, (uint64_t)1 << 32, (uint64_t)1 << 32, GGUF_F32, 0);
}

static void absurd_dimension(byte_buffer *b)
{
    put_one(b, "some.weight", 1, UINT64_MAX - 255, 1, GGUF_Q4_K, 0);
}

static void absurd_bytes(byte_buffer *b)
{
    put_one(b, "some.weight", 1, (uint64_t)1 << 62, 1, GGUF_F32, 0);
}

static void data_misplaced(byte_buffer *b)
{
    put_one(b, "some.weight", 1, 8, 1, GGUF_F32, 32);
}

static void data_cut_short(byte_buffer *b)
{
    put_one(b, "some.weight", 2, 8, 9, GGUF_F32, 0);
}

static void gap_between_tensors(byte_buffer *b)
{
    put_head(b, 3, 2, 0);
    put_tensor(b, "first", 1, 8, 1, GGUF_F32, 0);
    put_tensor(b, "second", 1, 8, 1, GGUF_F32, 64);
    put_padding(b, 32);
    put_zeros(b, 256);
}

static void tensor_twice(byte_buffer *b)
{
    put_head(b, 3, 2, 0);
    put_tensor(b, "first", 1, 8, 1, GGUF_F32, 0);
    put_tensor(b, "first", 1, 8, 1, GGUF_F32, 32);
    put_padding(b, 32);
    put_zeros(b, 256);
}

static void refuses_to_read(void **state)
{
    static const struct {
        void (*build)(byte_buffer *b);
        qc_status status;
        const char *words;
    } cases[] = {
        {not_gguf, QC_E_CORRUPT, "bad.gguf: not a GGUF file"},
        {version_1, QC_E_UNSUPPORTED, "GGUF version 1: only 2 and 3 can be read"},
        {version_4, QC_E_UNSUPPORTED, "GGUF version 4"},
        {big_endian, QC_E_UNSUPPORTED, "big-endian GGUF file: convert it"},
        {too_many_keys, QC_E_CORRUPT, "claims 1152921504606846976 metadata keys, more than the file can hold"},
        {too_many_tensors, QC_E_CORRUPT, "claims 18446744073709551615 tensors, more than the file can hold"},
        {key_without_name, QC_E_CORRUPT, "a metadata key without a name"},
        {key_too_long, QC_E_CORRUPT, "a metadata key with a name of 65536 bytes"},
        {key_unprintable, QC_E_CORRUPT, "control character"},
        {key_twice, QC_E_CORRUPT, "key 'a' occurs twice"},
        {value_type_unknown, QC_E_CORRUPT, "key 'some.key': unknown value type 13"},
        {arrays_of_arrays, QC_E_UNSUPPORTED, "key 'some.key': arrays of arrays"},
        {array_too_long, QC_E_CORRUPT, "key 'some.key': claims 2305843009213693953 values"},
        {text_too_long, QC_E_CORRUPT, "key 'some.key': a text of 18446744073709551615 bytes is too long"},
        {text_cut_short, QC_E_CORRUPT, "cut short: 100 bytes wanted"},
        {alignment_odd, QC_E_CORRUPT, "general.alignment is 24, it must be a power of two"},
        {alignment_zero, QC_E_CORRUPT, "general.alignment is 0"},
        {alignment_mistyped, QC_E_CORRUPT, "key 'general.alignment' has the wrong type"},
        {alignment_twice, QC_E_CORRUPT, "key 'general.alignment' occurs twice"},
        {tensor_without_name, QC_E_CORRUPT, "a tensor without a name"},
        {tensor_name_too_long, QC_E_CORRUPT, "a tensor with a name of 64 bytes, at most 63"},
        {five_dimensions, QC_E_CORRUPT, "tensor 'some.weight' has 5 dimensions, at most 4"},
        {removed_type, QC_E_UNSUPPORTED, "tensor 'some.weight' has the unknown type 4"},
        {broken_blocks, QC_E_CORRUPT, "rows of 128 are not whole blocks of 256, as q4_k needs"},
        {scalar_of_blocks, QC_E_CORRUPT, "rows of 1 are not whole blocks"},
        {absurd_product, QC_E_CORRUPT, "tensor 'some.weight': its dimensions are absurd"},
        {absurd_dimension, QC_E_CORRUPT, "tensor 'some.weight': its dimensions are absurd"},
        {absurd_bytes, QC_E_CORRUPT, "tensor 'some.weight': its dimensions are absurd"},
        {data_misplaced, QC_E_CORRUPT, "its data is at offset 32 instead of 0"},
        {gap_between_tensors, QC_E_CORRUPT, "tensor 'second': its data is at offset 64 instead of 32"},
        {data_cut_short, QC_E_CORRUPT,
         "cut short: tensor 'some.weight' has 288 bytes from byte 96 on, the file has 352"},
        {tensor_twice, QC_E_CORRUPT, "tensor 'first' occurs twice"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        byte_buffer b = {0};
        cases[i].build(&b);
        format_expect_bad_file(gguf, "bad.gguf", b.data, b.n, cases[i].status, cases[i].words);
        buffer_end(&b);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(refuses_to_read)};
    gguf = test_format_open("gguf");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
