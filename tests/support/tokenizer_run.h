/* One import of a tokenizer: files in memory or in a folder, what came out, and texts encoded with that. */
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
    qc_metadata metadata; /* of the model */
    qc_status status;
} tokenizer_run;

void tokenizer_run_begin(tokenizer_run *r);
void tokenizer_run_add(tokenizer_run *r, const char *name, const char *text);
void tokenizer_run_end(tokenizer_run *r);

/* Imports with the subword library's tokenizer `id`; pre: that setting, or "". The result is in r->status. */
void tokenizer_run_import(tokenizer_run *r, const char *id, const char *pre, uint32_t vocab_size);

/* The imported metadata as `open` sees it. Lives as long as the run. */
const qc_metadata *tokenizer_run_metadata(tokenizer_run *r);

/* A tokenizer that was opened on the run's metadata, and the ids of the last text. */
typedef struct opened_tokenizer {
    const qc_tokenizer_desc *desc;
    void *state;
    uint32_t *ids; /* owned */
    size_t n, capacity;
} opened_tokenizer;

/* The result is in r->status. */
void tokenizer_run_open(tokenizer_run *r, const char *id, opened_tokenizer *t);
void opened_tokenizer_encode(tokenizer_run *r, opened_tokenizer *t, const char *text, size_t n, uint32_t flags);
void opened_tokenizer_end(const tokenizer_run *r, opened_tokenizer *t);

/* Fails the test unless the import was refused with a message that holds `part`. */
void tokenizer_run_expect_refusal(const tokenizer_run *r, qc_status status, const char *part);

#endif
