#include "core/site.h"
#include "core/inifile.h"
#include "core/paths.h"
#include "core/suggest.h"
#include "core/text.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int set_memory(recipe *r, const char *value)
{
    return text_to_bytes(value, &r->run.memory) && r->run.memory >= RUN_MIN_MEMORY;
}

static int set_threads(recipe *r, const char *value)
{
    uint64_t n;
    if (!text_to_count(value, &n) || n > RUN_MAX_THREADS)
        return 0;
    r->run.threads = (unsigned)n;
    return 1;
}

static int set_exact(recipe *r, const char *value)
{
    return text_to_bool(value, &r->run.exact);
}

/* Folders with colons between them; the recipe's own come before. */
static int set_path(recipe *r, const char *value)
{
    while (*value) {
        size_t n = strcspn(value, ":");
        char **paths = realloc(r->plugins.paths, (r->plugins.n_paths + 1) * sizeof *paths);
        if (!paths)
            return 0;
        r->plugins.paths = paths;
        if (n && !(paths[r->plugins.n_paths++] = strndup(value, n)))
            return 0;
        value += n + (value[n] == ':');
    }
    return 1;
}

static const struct {
    const char *section, *key, *wanted;
    int (*set)(recipe *r, const char *value);
} keys[] = {{"run", "memory", "at least 1MiB, as 1GiB", set_memory},
            {"run", "threads", "a whole number (0: all cores)", set_threads},
            {"run", "exact", "true or false", set_exact},
            {"plugins", "path", "folders with ':' between them", set_path}};

enum { N_KEYS = sizeof keys / sizeof *keys };

static qc_status apply_item(qc_job *job, recipe *r, const ini_file *file, const ini_item *item)
{
    const char *nearest = NULL;
    for (size_t i = 0; i < N_KEYS; i++) {
        if (strcmp(keys[i].section, item->section) != 0)
            continue;
        nearest = suggest_better(item->key, nearest, keys[i].key);
        if (strcmp(keys[i].key, item->key) != 0)
            continue;
        return keys[i].set(r, item->value) ? QC_OK
                                           : qc_fail(job, QC_E_INVALID, "%s:%u: %s wants %s, not '%.64s'", file->path,
                                                     item->line, item->key, keys[i].wanted, item->value);
    }
    return qc_fail(job, QC_E_INVALID, "%s:%u: unknown key '%.64s' in [%.64s]%s%s%s", file->path, item->line, item->key,
                   item->section, nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

/* Owned path of the file to read, or NULL: none. */
static char *find_file(void)
{
    const char *named = getenv("QCORE_CONFIG");
    if (named && *named)
        return strdup(named);
    char *path = paths_user("XDG_CONFIG_HOME", ".config", "qcore/qcore.ini");
    if (path && access(path, F_OK) == 0)
        return path;
    free(path);
    path = paths_share("qcore.ini");
    if (path && access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

qc_status site_apply(qc_job *job, recipe *r)
{
    ini_file file = {0};
    char *path = find_file();
    if (!path)
        return QC_OK;
    qc_status status = ini_file_read(job, path, &file);
    for (size_t i = 0; status == QC_OK && i < file.n; i++)
        status = apply_item(job, r, &file, &file.items[i]);
    ini_file_free(&file);
    free(path);
    return status;
}
