/* What the tests of all formats do: scan a folder in memory, expect a refusal, write a model and read it again. */
#ifndef FORMAT_CHECK_H
#define FORMAT_CHECK_H

#include "memory_source.h"
#include "test_host.h"
#include "test_plugin.h"

/* Scans file 0 and loads every tensor; the model is the caller's to end. */
qc_status format_scan(test_host *th, const qc_format_desc *format, memory_folder *f, memory_model *m);

/* The scan must fail with this status and a message that contains these words. */
void format_expect_refusal(const qc_format_desc *format, memory_folder *f, qc_status status, const char *words);

/* The same for one file. */
void format_expect_bad_file(const qc_format_desc *format, const char *name, const void *data, size_t n,
                            qc_status status, const char *words);

/* Every shorter version of a file, up to `whole` bytes of it, must be refused, and none may crash. */
void format_expect_no_part(const qc_format_desc *format, const char *name, const void *data, size_t whole);

/* Scans with the first, second, ... allocation failing until none does. */
void format_expect_nomem(const qc_format_desc *format, memory_folder *f);

/* Numbered bytes for a tensor, the same each time. */
void format_fill(const qc_tensor *t, unsigned char *data);

/* Lays the model out and stores format_fill's bytes in `written`. */
void format_write(const qc_format_desc *format, const qc_model *model, const test_setting *settings,
                  memory_folder *written);

/* format_write, then scan: tensors with their bytes, and metadata, must be those of the model; the result is left in
 * `written` for a closer look. */
void format_round_trip(const qc_format_desc *format, const qc_model *model, const test_setting *settings,
                       memory_folder *written);

/* Layout must refuse this model. */
void format_expect_unwritable(const qc_format_desc *format, const qc_model *model, const test_setting *settings,
                              qc_status status, const char *words);

/* A tensor to write; row_bytes for blocks of `cols` weights in `block_bytes`. dims ends with 0. */
void format_add_tensor(memory_model *m, const char *name, const char *encoding, uint32_t cols, uint32_t block_bytes,
                       const uint64_t *dims);

void format_add_meta(memory_model *m, const char *key, uint32_t type, int is_array, uint64_t count, const void *data);
void format_add_text(memory_model *m, const char *key, const char *value);

#endif
