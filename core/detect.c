#include "core/detect.h"
#include "core/job.h"
#include "core/names.h"
#include "core/paths.h"
#include "core/source.h"
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>

enum { HEAD_BYTES = 4096 };

/* Names in a folder, sorted. */
typedef struct listing {
    char **names;
    size_t n;
} listing;

static int is_format(const plugin_entry *e)
{
    return e->state == PLUGIN_USABLE && !strcmp(e->kind, "format");
}

/* Parts of one whole: names that differ in digits only. */
static int same_but_digits(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        int digits = *a >= '0' && *a <= '9' && *b >= '0' && *b <= '9';
        if (*a != *b && !digits)
            return 0;
    }
    return *a == *b;
}

/* The file of a folder by which a format knows it: the first pattern that any name fits. NULL: none; ambiguous: set
 * where that pattern fits files that are no parts of one whole. */
static const char *find_file(const plugin_entry *e, const listing *l, int *ambiguous)
{
    char pattern[NAME_BYTES];
    const char *list = entry_value(e, "files");
    while ((list = list_next(list, pattern))) {
        const char *first = NULL;
        for (size_t i = 0; i < l->n; i++) {
            if (fnmatch(pattern, l->names[i], 0) != 0)
                continue;
            if (first && !same_but_digits(first, l->names[i]))
                *ambiguous = 1;
            first = first ? first : l->names[i];
        }
        if (first)
            return first;
    }
    return NULL;
}

static int matches_name(const plugin_entry *e, const char *name)
{
    char *names[] = {(char *)name};
    const listing one = {names, 1};
    int ambiguous = 0;
    return find_file(e, &one, &ambiguous) != NULL;
}

static qc_status open_as(qc_job *job, registry *r, const char *id, detected *out)
{
    const void *desc;
    qc_status status = registry_open(r, job, "format", id, &desc);
    if (status != QC_OK)
        return status;
    out->format = desc;
    out->format_id = id;
    if (!out->format->scan)
        return qc_fail(job, QC_E_UNSUPPORTED, "format %s can only be written, not read", id);
    return QC_OK;
}

/* The usable format most certain of file 0, among those whose patterns fit its name, or do not. A library that cannot
 * be opened is passed over: nobody named it. */
static void probe_file(qc_job *job, registry *r, const void *head, size_t n, int by_name, detected *out)
{
    const char *name = out->source->name(out->source, 0);
    int best = 0;
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        detected d = *out;
        if (!is_format(e) || matches_name(e, name) != by_name)
            continue;
        if (open_as(job, r, e->id, &d) != QC_OK) {
            job_clear(job);
            continue;
        }
        int score = d.format->probe ? d.format->probe(name, head, n) : by_name;
        if (score > best) {
            best = score;
            *out = d;
        }
    }
}

static qc_status detect_file(qc_job *job, registry *r, const char *path, detected *out)
{
    unsigned char head[HEAD_BYTES];
    uint64_t length = out->source->length(out->source, 0);
    size_t n = length < sizeof head ? (size_t)length : sizeof head;
    qc_status status = out->source->read_at(out->source, job, 0, 0, n, head);
    if (status != QC_OK)
        return status;
    probe_file(job, r, head, n, 1, out);
    if (!out->format)
        probe_file(job, r, head, n, 0, out);
    if (!out->format)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: no format plugin recognizes this file (see qcore plugins)", path);
    return QC_OK;
}

static qc_status open_file(qc_job *job, registry *r, const char *path, const char *format_id, detected *out)
{
    char *folder, *name;
    qc_status status = path_split(job, path, &folder, &name);
    if (status != QC_OK)
        return status;
    status = source_new(job, folder, name, &out->source);
    free(folder);
    free(name);
    if (status != QC_OK)
        return status;
    return format_id ? open_as(job, r, format_id, out) : detect_file(job, r, path, out);
}

/* The entry of the folder's format and its file. "holds = statistics" in a manifest: files beside a model. */
static qc_status choose_in_folder(qc_job *job, const registry *r, const char *path, const char *format_id,
                                  const listing *l, const plugin_entry **entry, const char **file)
{
    int ambiguous = 0;
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        const char *holds = entry_value(e, "holds");
        int unclear = 0;
        if (!is_format(e) || (format_id ? strcmp(e->id, format_id) != 0 : holds && strcmp(holds, "model") != 0))
            continue;
        const char *found = find_file(e, l, &unclear);
        if (found && *entry)
            return qc_fail(job, QC_E_INVALID, "%s holds both %s (%s) and %s (%s): name the file, or model.format", path,
                           *file, (*entry)->id, found, e->id);
        if (!found)
            continue;
        *entry = e;
        *file = found;
        ambiguous = unclear;
    }
    if (!*entry)
        return qc_fail(job, QC_E_INVALID, "%s: no model in this folder: none of its %zu files is one of a known format",
                       path, l->n);
    if (ambiguous)
        return qc_fail(job, QC_E_INVALID, "%s holds several models (%s is one): name the file", path, *file);
    return QC_OK;
}

static qc_status open_folder(qc_job *job, registry *r, const char *path, const char *format_id, detected *out)
{
    listing l = {0};
    const plugin_entry *entry = NULL;
    const char *file = NULL;
    qc_status status = list_folder(job, path, &l.names, &l.n);
    if (status == QC_OK)
        status = choose_in_folder(job, r, path, format_id, &l, &entry, &file);
    if (status == QC_OK && entry)
        status = source_new(job, path, file, &out->source);
    if (status == QC_OK && entry)
        status = open_as(job, r, entry->id, out);
    path_list_free(l.names, l.n);
    return status;
}

qc_status detect_format(qc_job *job, registry *r, const char *path, const char *format_id, detected *out)
{
    struct stat st;
    const void *none;
    memset(out, 0, sizeof *out);
    if (format_id && !strcmp(format_id, "auto"))
        format_id = NULL;
    if (format_id && !registry_entry(r, "format", format_id))
        return registry_open(r, job, "format", format_id, &none); /* which says why */
    if (stat(path, &st) != 0)
        return qc_fail(job, QC_E_IO, "%s: %s", path, strerror(errno));
    qc_status status = S_ISDIR(st.st_mode) ? open_folder(job, r, path, format_id, out)
                                           : open_file(job, r, path, format_id, out);
    if (status != QC_OK) {
        source_free(out->source);
        out->source = NULL;
    }
    return status;
}
