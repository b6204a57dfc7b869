/* The JSON files that say what a tokenizer is: any of them may be absent (NULL). */
#ifndef SUBWORD_FILES_H
#define SUBWORD_FILES_H

#include "qcore/json.h"
#include "vocabulary.h"

typedef struct files {
    json_t *tokenizer; /* tokenizer.json */
    json_t *settings; /* tokenizer_config.json */
    json_t *model; /* config.json */
} files;

qc_status files_open(qc_job *job, const qc_source *folder, files *f);
void files_close(files *f);

/* A whole number from 0 that fits an id; 0 where it is none. */
int read_id(const json_t *value, uint64_t *id);

/* "type" of an object of tokenizer.json; "" where it has none. */
const char *type_of(const json_t *object);

/* Adds the tokens of tokenizer.json's model, all of them as normal ones. */
qc_status files_add_model(const files *f, vocabulary *v);

/* Adds the tokens that tokenizer.json, then those that tokenizer_config.json adds to the model's own. */
qc_status files_add_tokens(const files *f, vocabulary *v);

#endif
