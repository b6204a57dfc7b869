/* Several schemes of one model, each quantized and held against the original. */
#ifndef CORE_COMPARE_H
#define CORE_COMPARE_H

#include "core/judge.h"

typedef struct compared {
    const char *name; /* "original", "Q4_K_M"; borrowed */
    const char *file; /* that was kept; NULL: none */
    double bits; /* a weight */
    uint64_t bytes; /* of all weights */
    double seconds; /* of quantizing */
    judgement judgement;
} compared;

/* The original comes first. */
typedef struct comparison {
    const registry *registry;
    const char *model;
    compared *rows;
    size_t n_rows, n_wanted; /* fewer rows: it ended early */
} comparison;

/* Schemes of a command line, opened against one model. */
typedef struct schemes schemes;

/* The next of a list with commas; 0: there is none. */
int next_preset(const char **list, const char **preset, size_t *length);

/* Opens a recipe for each of "Q8_0,mix.yaml,...": the session's with this preset, and with an output in `keep` (NULL: in
 * a temporary folder). */
qc_status schemes_open(session *s, qc_job *job, const char *presets, const char *keep, schemes **out);
/* Removes what was written for no longer than it was needed. */
void schemes_free(schemes *c);

/* Calibrates, plans all, then quantizes and evaluates one after the other; what is done goes to the comparison, also
 * where it fails. */
qc_status schemes_compare(schemes *c, qc_job *job);
const comparison *schemes_comparison(const schemes *c);

typedef enum table_format { TABLE_TEXT, TABLE_CSV, TABLE_JSON, TABLE_MARKDOWN } table_format;
qc_status comparison_print(const comparison *c, qc_job *job, table_format format, FILE *file);

#endif
