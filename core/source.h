/* Files to read: a qc_source over one folder. Inputs are opened read-only, bounded by the size they had then. */
#ifndef CORE_SOURCE_H
#define CORE_SOURCE_H

#include "qcore/model.h"
#include <sys/stat.h>

/* first: name of file 0 in the folder; NULL: none is opened yet. [main-thread] */
qc_status source_new(qc_job *job, const char *folder, const char *first, const qc_source **out);
void source_free(const qc_source *src); /* NULL is fine */

const char *source_folder(const qc_source *src);
size_t source_files(const qc_source *src); /* opened so far */
/* These bytes will not be read again. What files that fit into memory have in the cache stays there. [any-thread] */
void source_forget(const qc_source *src, uint32_t file, uint64_t at, uint64_t n);
int source_owns(const qc_source *src, const struct stat *st); /* is this one of the files that were opened? */

#endif
