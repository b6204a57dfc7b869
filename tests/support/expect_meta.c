#include "expect_meta.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const qc_meta *find(const memory_model *m, const char *key, uint32_t type, int is_array)
{
    const qc_meta *meta = memory_model_meta(m, key);
    if (!meta)
        fail_msg("%s is missing", key);
    else if (meta->type != type || (meta->is_array != 0) != is_array)
        fail_msg("%s has type %u%s, not %u%s", key, meta->type, meta->is_array ? "[]" : "", type, is_array ? "[]" : "");
    return meta;
}

static const qc_meta *find_element(const memory_model *m, const char *key, uint32_t type, uint64_t i)
{
    const qc_meta *meta = find(m, key, type, 1);
    if (i >= meta->count)
        fail_msg("%s has only %llu elements", key, (unsigned long long)meta->count);
    return meta;
}

static void expect_same_text(const char *key, const qc_text *text, const char *value)
{
    if (text->length != strlen(value) || memcmp(text->data, value, text->length) != 0)
        fail_msg("%s is \"%.*s\", not \"%s\"", key, (int)text->length, text->data, value);
}

static void expect_same_number(const char *key, double got, double value)
{
    if (got < value || got > value)
        fail_msg("%s is %.9g, not %.9g", key, got, value);
}

void expect_u32(const memory_model *m, const char *key, uint32_t value)
{
    expect_same_number(key, *(const uint32_t *)find(m, key, QC_U32, 0)->data, value);
}

void expect_f32(const memory_model *m, const char *key, float value)
{
    expect_same_number(key, (double)*(const float *)find(m, key, QC_F32, 0)->data, (double)value);
}

void expect_bool(const memory_model *m, const char *key, int value)
{
    expect_same_number(key, *(const uint8_t *)find(m, key, QC_BOOL, 0)->data, value);
}

void expect_text(const memory_model *m, const char *key, const char *value)
{
    expect_same_text(key, (const qc_text *)find(m, key, QC_TEXT, 0)->data, value);
}

void expect_absent(const memory_model *m, const char *key)
{
    if (memory_model_meta(m, key))
        fail_msg("%s should not be written", key);
}

void expect_text_at(const memory_model *m, const char *key, uint64_t i, const char *value)
{
    expect_same_text(key, (const qc_text *)find_element(m, key, QC_TEXT, i)->data + i, value);
}

void expect_i32_at(const memory_model *m, const char *key, uint64_t i, int32_t value)
{
    expect_same_number(key, ((const int32_t *)find_element(m, key, QC_I32, i)->data)[i], value);
}

void expect_f32_at(const memory_model *m, const char *key, uint64_t i, float value)
{
    expect_same_number(key, (double)((const float *)find_element(m, key, QC_F32, i)->data)[i], (double)value);
}

void expect_count(const memory_model *m, const char *key, uint64_t count)
{
    const qc_meta *meta = memory_model_meta(m, key);
    assert_non_null(meta);
    assert_true(meta->is_array);
    assert_int_equal(meta->count, count);
}
