/* The settings of one plugin use; registry.h makes them. These two are qc_host's. */
#ifndef CORE_SETTINGS_H
#define CORE_SETTINGS_H

#include "core/registry.h"

extern const char *const setting_type_words[]; /* by setting_type, as manifests write them */

#define SETTING_WHOLE 9007199254740992.0 /* 2^53: whole numbers up to here are exact in a double */

double settings_number(const qc_settings *s, const char *name);
const char *settings_text(const qc_settings *s, const char *name);

/* Checks `text` against the type and range of a setting. 0: fine, the value in *number (of text and enum: untouched).
 * Else what was expected, in want[]. */
int setting_parse(const setting_spec *spec, const char *text, double *number, char *want, size_t n_want);

#endif
