/* Hash tables of a vocabulary: from a text to its id, from a pair of symbols to what they join into. Open addressing;
 * what was made to collide is refused, so that a hostile file cannot make them slow. */
#ifndef SUBWORD_MAPS_H
#define SUBWORD_MAPS_H

#include "qcore/model.h"

enum { MAX_PROBES = 2000 }; /* sound vocabularies need less than a hundred */

/* Ids of texts that lie elsewhere. */
typedef struct text_map {
    const qc_text *texts; /* borrowed */
    uint32_t *slots; /* id + 1; 0: free */
    size_t n_slots; /* a power of two */
} text_map;

qc_status text_map_begin(text_map *m, qc_job *job, const qc_text *texts, size_t n);
void text_map_end(text_map *m, const qc_host *host);

/* texts[id] from now on; *taken is the id that has this text already, or UINT32_MAX. */
qc_status text_map_add(text_map *m, qc_job *job, uint32_t id, uint32_t *taken);
uint32_t text_map_find(const text_map *m, const char *text, size_t n); /* UINT32_MAX: none */

/* What two symbols side by side become. Lower ranks go first. */
typedef struct pair {
    uint32_t left, right;
    uint32_t rank, result;
} pair;

typedef struct pair_map {
    pair *slots; /* left UINT32_MAX: free */
    size_t n_slots, n; /* n_slots: a power of two, or 0 */
} pair_map;

void pair_map_end(pair_map *m, const qc_host *host);

/* The first of two equal pairs stays. left is not UINT32_MAX. */
qc_status pair_map_add(pair_map *m, qc_job *job, const pair *p);
const pair *pair_map_find(const pair_map *m, uint32_t left, uint32_t right); /* NULL: none */

#endif
