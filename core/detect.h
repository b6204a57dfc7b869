/* Which format a path is in: by the patterns of the formats' manifests, then by the first bytes of the file. */
#ifndef CORE_DETECT_H
#define CORE_DETECT_H

#include "core/registry.h"

typedef struct detected {
    const qc_source *source; /* owned: source_free; file 0 is the one to scan */
    const qc_format_desc *format;
    const char *format_id; /* the registry's */
} detected;

/* path: a file or a folder. format_id: the format to take it for; NULL: find out. */
qc_status detect_format(qc_job *job, registry *r, const char *path, const char *format_id, detected *out);

#endif
