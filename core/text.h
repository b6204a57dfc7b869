/* What people write in recipes, manifests and site settings: small files, and numbers, bytes, true and false in them. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include "qcore/host.h"

/* A whole file of at most `most` bytes, not terminated. Owned: free, after a failure too. */
qc_status text_read(qc_job *job, const char *path, size_t most, char **text, size_t *n);

/* These return 0, with *value in doubt, where the text is none of their kind from end to end. */
int text_to_count(const char *text, uint64_t *value); /* decimal digits only */
int text_to_double(const char *text, double *value); /* decimal and finite: no hexadecimal, no "nan", no "inf" */
int text_to_bool(const char *text, int *value); /* true, false, yes, no, on, off */
int text_to_bytes(const char *text, uint64_t *value); /* 67108864, 64MiB, 1.5 GB */

#endif
