/* Assertions on metadata that a plugin reported into a memory_model. */
#ifndef EXPECT_META_H
#define EXPECT_META_H

#include "memory_source.h"

void expect_u32(const memory_model *m, const char *key, uint32_t value);
void expect_f32(const memory_model *m, const char *key, float value);
void expect_bool(const memory_model *m, const char *key, int value);
void expect_text(const memory_model *m, const char *key, const char *value);
void expect_absent(const memory_model *m, const char *key);

/* Element i of an array. */
void expect_text_at(const memory_model *m, const char *key, uint64_t i, const char *value);
void expect_i32_at(const memory_model *m, const char *key, uint64_t i, int32_t value);
void expect_f32_at(const memory_model *m, const char *key, uint64_t i, float value);
void expect_count(const memory_model *m, const char *key, uint64_t count);

#endif
