/* How text is cut before its bytes are joined: the expressions that belong to the names of tokenizer.ggml.pre. */
#ifndef SUBWORD_PATTERNS_H
#define SUBWORD_PATTERNS_H

#include "qcore/host.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_STEPS = 5 };

enum {
    PRE_IGNORES_MERGES = 1, /* a piece that is a token is that token, however it would be joined */
    PRE_ADDS_BOS = 2, /* unless the metadata says otherwise */
    PRE_COMPOSES = 4 /* text is brought into normal form C first, as the family's tokenizer.json asks */
};

typedef struct patterns {
    pcre2_code *steps[MAX_STEPS];
    size_t n;
    unsigned flags;
    pcre2_match_context *limits;
} patterns;

/* name "": missing. An unknown name is an error. */
qc_status patterns_open(patterns *p, qc_job *job, const char *name, size_t length);
void patterns_close(patterns *p);

/* The flags of a name; 0 where it is unknown. */
unsigned patterns_flags(const char *name);

typedef qc_status (*piece_encoder)(void *arg, const char *piece, size_t n);

/* Hands the pieces of sound UTF-8 on, in their order. match: made by pcre2_match_data_create(1, NULL). */
qc_status patterns_cut(const patterns *p, qc_job *job, pcre2_match_data *match, const char *text, size_t n,
                       piece_encoder encode_piece, void *arg);

#endif
