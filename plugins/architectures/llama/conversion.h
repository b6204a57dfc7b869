/* One config.json on its way to canonical metadata: values read with their ranges checked, keys reported.
 *
 * The first failure stays in `status`, and everything after it does nothing: callers read and report what they need and
 * look at the status once.
 */
#ifndef LLAMA_CONVERSION_H
#define LLAMA_CONVERSION_H

#include "family.h"
#include "qcore/json.h"

typedef struct conversion {
    qc_job *job;
    const llama_family *family;
    const json_t *root, *text; /* text: the language model's section of a multimodal config, or NULL; it comes first */
    const qc_import *out;
    qc_status status;
} conversion;

enum { REQUIRED = -1 }; /* in place of a default */

/* The value of a key; NULL where it is absent or null. */
const json_t *find(const conversion *c, const char *key);

/* Whether a key is there and says null, which need not mean its default. */
int is_null(const conversion *c, const char *key);

/* A string of the config, or NULL. */
const char *find_text(const conversion *c, const char *key);

/* A number of `object`, or of the config where that is NULL; `otherwise` where the key is absent or null. */
double read_number(conversion *c, const json_t *object, const char *key, double otherwise, double lowest,
                   double highest);

/* The same for a whole number from 1. */
uint32_t read_count(conversion *c, const char *key, double otherwise, uint32_t highest);

/* Metadata under "<family>.". */
void put_u32(conversion *c, const char *key, uint32_t value);
void put_f32(conversion *c, const char *key, double value);
void put_text(conversion *c, const char *key, const char *value);
void put_flags(conversion *c, const char *key, const uint8_t *flags, size_t n); /* an array */

/* "config.json: " and what is wrong, printf-style, where nothing was wrong before. */
#define reject(c, code, ...) \
    ((c)->status = (c)->status == QC_OK ? qc_fail((c)->job, code, "config.json: " __VA_ARGS__) : (c)->status)

#endif
