/* One import of a tokenizer: files in memory or in a folder, what came out. */
#ifndef TOKENIZER_RUN_H
#define TOKENIZER_RUN_H

#include "expect_meta.h"
#include "qcore/tokenizer.h"
#include "test_host.h"

typedef struct tokenizer_run {
    test_host host;
    qc_job *job;
    memory_folder folder;
    memory_model model;
    qc_status status;
} tokenizer_run;

void tokenizer_run_begin(tokenizer_run *r);
void tokenizer_run_add(tokenizer_run *r, const char *name, const char *text);
void tokenizer_run_end(tokenizer_run *r);

/* Imports with the subword library's tokenizer `id`; pre: that setting, or "". The result is in r->status. */
void tokenizer_run_import(tokenizer_run *r, const char *id, const char *pre, uint32_t vocab_size);

/* Fails the test unless the import was refused with a message that holds `part`. */
void tokenizer_run_expect_refusal(const tokenizer_run *r, qc_status status, const char *part);

#endif
