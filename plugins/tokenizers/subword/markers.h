/* Tokens that are looked for in the text as it stands, before anything else is done to it: user-defined ones always,
 * control tokens where special ones are asked for. Leftmost first, of several there the longest. */
#ifndef SUBWORD_MARKERS_H
#define SUBWORD_MARKERS_H

#include "table.h"

enum { MAX_MARKER_BYTES = 1024 };

typedef struct markers {
    uint32_t *ids; /* [n] sorted by text */
    uint32_t n;
    uint32_t first[257]; /* those that begin with byte b: ids[first[b]] .. ids[first[b + 1] - 1] */
    uint8_t begins[256]; /* which of them there are: FOUND_* */
} markers;

enum { FOUND_ALWAYS = 1, FOUND_SPECIAL = 2 };

qc_status markers_open(markers *m, qc_job *job, const token_table *t);
void markers_close(markers *m, const qc_host *host);

/* Where the first one is, or n; found: which to look for, FOUND_*. */
size_t markers_find(const markers *m, const token_table *t, const char *text, size_t n, unsigned found, uint32_t *id);

#endif
