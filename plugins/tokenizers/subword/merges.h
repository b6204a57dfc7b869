/* The merges of a tokenizer.json: which two tokens become one, most urgent first. */
#ifndef SUBWORD_MERGES_H
#define SUBWORD_MERGES_H

#include "files.h"

/* Called for every merge: its rank, the two texts, and the id of what they become. */
typedef qc_status (*merge_visitor)(void *arg, uint32_t rank, const qc_text *left, const qc_text *right, uint32_t id);

/* Refuses a merge that is none, or whose parts or result are no tokens. */
qc_status merges_visit(const json_t *merges, const vocabulary *v, merge_visitor visit, void *arg);

/* tokenizer.ggml.merges: "left right". */
qc_status merges_report(const json_t *merges, const vocabulary *v, const qc_scan *out);

#endif
