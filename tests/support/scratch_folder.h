/* A folder of its own for a test, and a core job; both gone at the end. For tests that touch files. */
#ifndef SCRATCH_FOLDER_H
#define SCRATCH_FOLDER_H

#include "core/host.h"
#include "core/job.h"

typedef struct scratch_folder {
    char path[64]; /* of the folder */
    char name[160]; /* the last path that scratch_path made */
    qc_host *host;
    pool *pool;
    qc_job *job;
} scratch_folder;

/* cmocka set-up and tear-down: *state is a scratch_folder. */
int scratch_begin(void **state);
int scratch_end(void **state); /* removes the files in it, one folder deep */

const char *scratch_path(scratch_folder *s, const char *name);
void scratch_write(scratch_folder *s, const char *name, const void *data, size_t n);
size_t scratch_count(const scratch_folder *s); /* entries of the folder, hidden ones too */

#endif
