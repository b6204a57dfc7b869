/* What encoding has in common: ids on their way out, the frame around a text, tokens that stand in it as they are. */
#ifndef SUBWORD_ENCODER_H
#define SUBWORD_ENCODER_H

#include "joiner.h"
#include "markers.h"

enum { BUFFERED_IDS = 1024 };

/* One call of encode. */
typedef struct encoder {
    qc_job *job;
    const token_table *table;
    const markers *markers;
    const qc_tokens *out;
    joiner joiner;
    size_t n; /* ids that `out` has not got yet */
    uint32_t ids[BUFFERED_IDS];
} encoder;

/* Ids of the text between two markers; n > 0. */
typedef qc_status (*stretch_encoder)(encoder *e, void *arg, const char *text, size_t n);

void encoder_begin(encoder *e, qc_job *job, const token_table *table, const markers *m, const pair_map *pairs,
                   const qc_tokens *out);

/* The whole text, framed as flags say. */
qc_status encoder_run(encoder *e, const char *text, size_t n, uint32_t flags, stretch_encoder encode_stretch,
                      void *arg);

qc_status encoder_flush(encoder *e);

static inline qc_status encoder_emit(encoder *e, uint32_t id)
{
    e->ids[e->n++] = id;
    return e->n == BUFFERED_IDS ? encoder_flush(e) : QC_OK;
}

#endif
