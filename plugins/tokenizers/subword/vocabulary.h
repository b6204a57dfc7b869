/* The list of tokens as GGUF keeps it: every id of the embedding has a text and a type, no text occurs twice. */
#ifndef SUBWORD_VOCABULARY_H
#define SUBWORD_VOCABULARY_H

#include "qcore/model.h"

/* Types of tokens, numbered as in GGUF and in SentencePiece's models. */
enum {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3, /* recognized in text only where special tokens are asked for */
    TOKEN_USER_DEFINED = 4, /* always split off first */
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6
};

enum { MAX_VOCABULARY = 1 << 26 };

typedef struct token {
    const char *text; /* NULL: no such id; borrowed from the file's contents or from scratch */
    size_t length;
    int32_t type;
    float score;
} token;

typedef struct vocabulary {
    qc_job *job;
    token *tokens; /* [size], in scratch */
    uint32_t size;
    const token **sorted; /* [size] by text, once finished */
} vocabulary;

qc_status vocabulary_begin(vocabulary *v, qc_job *job, uint32_t size);

/* A token of the model itself. An id that is taken, or beyond the embedding's rows, is refused. */
qc_status vocabulary_add(vocabulary *v, uint64_t id, const token *t);

/* A token that was added to the model: it replaces what its id had, and is skipped where the embedding has no row for
 * it. Its type follows from `special` and from how it looks; once control, it stays so. */
qc_status vocabulary_add_added(vocabulary *v, uint64_t id, const char *text, size_t length, int special);

/* Fills ids without a token, and refuses a text that two ids share. Nothing is added after this. */
qc_status vocabulary_finish(vocabulary *v);

/* Id of a text; UINT32_MAX: none. */
uint32_t vocabulary_find(const vocabulary *v, const char *text, size_t length);

/* tokenizer.ggml.tokens, .scores (where asked for) and .token_type. */
qc_status vocabulary_report(const vocabulary *v, const qc_scan *out, int with_scores);

#endif
