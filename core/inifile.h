/* A small INI file (inih) as a list of items, each with its line; refuses what inih would pass over in silence. */
#ifndef CORE_INIFILE_H
#define CORE_INIFILE_H

#include "qcore/host.h"

enum { INI_MAX_BYTES = 64 * 1024 };

typedef struct ini_item {
    char *section, *key, *value; /* owned by the file */
    unsigned line;
} ini_item;

typedef struct ini_file {
    char *path;
    ini_item *items; /* in the order of the file: items of one section are neighbours */
    size_t n, capacity;
} ini_file;

/* Repeated sections, repeated keys of a section, empty sections, control characters, lines that are too long or have
 * no '=' fail with file and line. After a failure too: ini_file_free. */
qc_status ini_file_parse(qc_job *job, const char *path, const char *text, size_t length, ini_file *out);
qc_status ini_file_read(qc_job *job, const char *path, ini_file *out);
void ini_file_free(ini_file *f);

#endif
