/* Files of the output while they are being made: beside their final place under a hidden name, sized at once, synced and
 * renamed at the end, or removed without a trace. */
#ifndef CORE_TARGET_H
#define CORE_TARGET_H

#include "qcore/format.h"

typedef struct target target;

/* path: the file, or with is_folder the folder, that is to appear. Folders on the way are made. What exists is only
 * replaced with overwrite. */
qc_status target_new(qc_job *job, const char *path, int is_folder, int overwrite, target **out);
void target_free(target *t); /* removes everything that was not committed; NULL is fine */

/* A file of `bytes`, all zero; name: in the folder, or in one of its own ("templates/one.jinja"); NULL: the path itself.
 * [main-thread] */
qc_status target_add(target *t, qc_job *job, const char *name, uint64_t bytes, uint32_t *file);
int target_has(const target *t, const char *name);

/* Checked against the file's size. [any-thread] */
qc_status target_write(const target *t, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n);

qc_status target_commit(target *t, qc_job *job);

/* Could a file be made there? Asked before work of hours; leaves nothing behind. */
qc_status target_try(qc_job *job, const char *path, int overwrite);

#endif
