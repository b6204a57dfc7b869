/* Canonical metadata, whoever wrote it: numbers read with their kinds and ranges checked.
 *
 * The first failure stays in `status`, and everything after it reads 0: callers read what they need and look at the
 * status once.
 */
#ifndef LLAMA_METADATA_H
#define LLAMA_METADATA_H

#include "family.h"

typedef struct reading {
    qc_job *job;
    const qc_metadata *metadata;
    const llama_family *family;
    qc_status status;
} reading;

enum { NEEDED = -1 }; /* in place of a default */

/* The entry "<family>.<key>", or NULL. */
const qc_meta *meta_find(const reading *r, const char *key);

/* A single number from lowest to highest; `otherwise` where the key is absent. */
double meta_number(reading *r, const char *key, double otherwise, double lowest, double highest);

/* The same for a whole number. */
uint32_t meta_count(reading *r, const char *key, double otherwise, uint32_t lowest, uint32_t highest);

/* One whole number a block: a single one for all, or an array. `otherwise`: one a block, or NULL: needed. */
void meta_counts(reading *r, const char *key, const uint32_t *otherwise, uint32_t lowest, uint32_t highest,
                 uint32_t *counts, uint32_t blocks);

/* "<family>.<key>: " and what is wrong, printf-style, where nothing was wrong before. */
#define meta_reject(r, code, key, format, ...)                                                                         \
    ((r)->status = (r)->status == QC_OK ? qc_fail((r)->job, code, "%s.%s: " format, (r)->family->id, key, __VA_ARGS__) \
                                        : (r)->status)

#endif
