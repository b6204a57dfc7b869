/* A SentencePiece model (tokenizer.model): the fields that say how text is cut, out of its protocol buffer. */
#ifndef SUBWORD_SENTENCEPIECE_H
#define SUBWORD_SENTENCEPIECE_H

#include "vocabulary.h"

enum { PIECES_UNIGRAM = 1, PIECES_BPE = 2 }; /* model_type; words and characters are 3 and 4 */

typedef struct sentencepiece {
    uint64_t model_type;
    int byte_fallback, add_dummy_prefix, remove_extra_whitespaces;
    int32_t unknown_id, bos_id, eos_id, padding_id; /* -1: none */
    const unsigned char *charsmap; /* the normalizer's compiled rules; borrowed from the file's contents */
    size_t charsmap_length;
    uint32_t n_pieces;
} sentencepiece;

/* Called for every piece, by rising id. */
typedef qc_status (*piece_visitor)(void *arg, uint32_t id, const token *piece);

/* Could this be one at all? (Files of the name tokenizer.model may also hold lists of another kind.) */
int sentencepiece_probe(const void *data, size_t length);

qc_status sentencepiece_read(qc_job *job, const void *data, size_t length, sentencepiece *m, piece_visitor visit,
                             void *arg);

#endif
