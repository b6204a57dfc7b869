/* Texts and token ids of one model, through the tokenizer plugin that its metadata names. */
#ifndef CORE_TOKENS_H
#define CORE_TOKENS_H

#include "core/model.h"

typedef struct token_list {
    uint32_t *ids; /* owned */
    size_t n, capacity;
} token_list;

/* Several sequences of tokens, one after another; sequence s is starts[s] .. starts[s + 1] - 1. */
typedef struct sequences {
    uint32_t *tokens; /* owned */
    size_t *starts; /* [n + 1]; owned */
    size_t n;
} sequences;

typedef struct tokenizer tokenizer;

/* By the model's own metadata, whatever file it came from. Both live as long as the tokenizer. */
qc_status tokenizer_open(qc_job *job, registry *r, const model *m, tokenizer **out);
void tokenizer_free(tokenizer *t);

void tokenizer_special(const tokenizer *t, qc_special_tokens *out);
/* Appends ids; flags: QC_ENCODE_*. */
qc_status tokenizer_encode(const tokenizer *t, qc_job *job, const char *text, size_t n, uint32_t flags,
                           token_list *out);
/* The same, but at most `most` (0: all); the rest of the text is left alone. */
qc_status tokenizer_encode_first(const tokenizer *t, qc_job *job, const char *text, size_t n, uint32_t flags,
                                 size_t most, token_list *out);
const char *tokenizer_piece(const tokenizer *t, uint32_t token, size_t *n);
void token_list_free(token_list *list);

/* Text files one after another as llama.cpp reads them: bytes as they are, one final newline of each dropped, ids with
 * QC_ENCODE_ADD. At most `most` tokens (0: all). Fails where a file is missing or empty. */
qc_status tokenizer_read(const tokenizer *t, qc_job *job, const char *const *paths, size_t n_paths, size_t most,
                         token_list *out);

/* Puts the texts' names before the job's message. */
void texts_add_context(qc_job *job, const char *const *paths, size_t n_paths);

/* A text cut into windows of `context` tokens, each a sequence; what is left over at the end is dropped. stride 0:
 * windows side by side; else each begins `stride` tokens after the one before. Where the tokenizer adds a beginning of
 * text, it takes the place of each window's first token. Fails where there is not one whole window. */
qc_status sequences_cut(const tokenizer *t, qc_job *job, const token_list *text, size_t context, size_t stride,
                        sequences *out);
void sequences_free(sequences *s);

#endif
