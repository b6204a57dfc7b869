/* plugin.ini: what a library holds, its settings and needs, checked field by field. Reading it runs no plugin code. */
#ifndef CORE_MANIFEST_H
#define CORE_MANIFEST_H

#include "core/registry.h"

typedef struct manifest {
    char *path; /* of plugin.ini */
    char *name, *version, *library, *license, *source;
    char *cpu; /* levels that the library needs, or NULL */
    unsigned abi_major, abi_minor; /* the least that it needs */
    plugin_entry *entries; /* never NULL entries; manifest set, state PLUGIN_USABLE */
    size_t n_entries;
} manifest;

/* Fails with "path:line: ..."; unknown keys are warnings. *out is set on success only. */
qc_status manifest_parse(qc_job *job, const char *path, const char *text, size_t length, manifest **out);
qc_status manifest_read(qc_job *job, const char *path, manifest **out);

manifest *manifest_new(const char *path); /* empty; NULL: no memory */

/* A stand-in for one that could not be read: one entry of kind "plugin", named after the folder. NULL: no memory. */
manifest *manifest_unreadable(const char *path, const char *folder_name, plugin_state state, const char *why);
void manifest_free(manifest *m);

/* "qcore.method/1" for "method"; NULL: not a kind of this qcore's. */
const char *kind_of_word(const char *word);
const char *
kind_keys(const char *word); /* that its sections may have beside `summary`, between blanks; NULL: as above */
int kind_is_known(const char *kind); /* with revision */

/* Path of the library: "libNAME.so", whatever the system, in plugin.ini's folder. Owned. */
char *manifest_library(const manifest *m);

#endif
