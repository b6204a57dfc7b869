/* Numbers, bytes, true and false as people write them in recipes, manifests and site settings. Each returns 0, and leaves
 * *value in doubt, where the text is none of its kind from end to end. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdint.h>

int text_to_count(const char *text, uint64_t *value); /* decimal digits only */
int text_to_double(const char *text, double *value); /* decimal and finite: no hexadecimal, no "nan", no "inf" */
int text_to_bool(const char *text, int *value); /* true, false, yes, no, on, off */
int text_to_bytes(const char *text, uint64_t *value); /* 67108864, 64MiB, 1.5 GB */

#endif
