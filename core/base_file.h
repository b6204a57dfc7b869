/* A file of logits beside a model: what llama-perplexity --save-all-logits writes. */
#ifndef CORE_BASE_FILE_H
#define CORE_BASE_FILE_H

#include "core/tokens.h"

/* What its writer cut off: log-probabilities at or below this say nothing but that. */
#define BASE_FILE_FLOOR (-16.0f)

typedef struct base_file base_file;

/* Is this path such a file? 0 where it cannot be read. */
int base_file_is(qc_job *job, registry *r, const char *path);
qc_status base_file_open(qc_job *job, registry *r, const char *path, base_file **out);
void base_file_free(base_file *b);

size_t base_file_context(const base_file *b);
size_t base_file_vocabulary(const base_file *b);
/* All tokens of its text; at most `most` (0: all), in whole windows. */
qc_status base_file_tokens(const base_file *b, qc_job *job, size_t most, token_list *out);
/* Log-probabilities of rows [first, first + n): those of positions context / 2 .. context - 2 of each window. */
qc_status base_file_rows(const base_file *b, qc_job *job, size_t first, size_t n, float *rows);

#endif
