/* The tokens of canonical metadata, checked and copied: their texts, types and pieces, and which of them frame a text. */
#ifndef SUBWORD_TABLE_H
#define SUBWORD_TABLE_H

#include "maps.h"
#include "qcore/tokenizer.h"
#include "vocabulary.h"

typedef struct token_table {
    uint32_t n;
    qc_text *texts; /* [n] as the file has them; may be empty */
    qc_text *pieces; /* [n] bytes they stand for; empty for control tokens */
    uint8_t *types; /* [n] TOKEN_* */
    char *bytes; /* that texts, and after them pieces, lie in */
    text_map ids;
    uint32_t unknown; /* QC_NO_TOKEN: none */
    qc_special_tokens special;
} token_table;

/* What holds where the metadata does not say. */
typedef struct table_defaults {
    uint32_t bos, eos, unknown; /* left out where there are fewer tokens */
    int add_bos, add_eos;
} table_defaults;

/* Writes the piece of a token's text, which is not longer, and returns its length. */
typedef size_t (*piece_writer)(const qc_text *text, int type, char *piece);

/* Where it fails, table_close still has to be called. */
qc_status table_open(token_table *t, qc_job *job, const qc_metadata *metadata, const table_defaults *defaults,
                     piece_writer write_piece);
void table_close(token_table *t, const qc_host *host);

/* An array of the metadata, of one of two types (the same twice for just one); NULL and QC_OK where it is optional and
 * absent. least: how many elements it must have. */
qc_status find_array(qc_job *job, const qc_metadata *metadata, const char *key, uint32_t type, uint32_t other_type,
                     uint64_t least, int optional, const qc_meta **array);

/* What the descriptors' members of these names do. */
void table_special(const token_table *t, qc_special_tokens *out);
const char *table_piece(const token_table *t, uint32_t id, size_t *n);

/* Zeroed and long-lived; NULL after failing. */
void *take(qc_job *job, size_t n, size_t size);

#endif
