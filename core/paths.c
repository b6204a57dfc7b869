#include "core/paths.h"
#include "core/array.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

enum { MAX_NAMES = 100000 }; /* in a folder */

char *path_join(const char *folder, const char *name)
{
    size_t n = strlen(folder), m = strlen(name);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    char *path = malloc(n + m + 2);
    if (!path)
        return NULL;
    snprintf(path, n + m + 2, "%.*s/%s", (int)n, folder, name);
    return path;
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

qc_status path_split(qc_job *job, const char *path, char **folder, char **name)
{
    const char *slash = strrchr(path, '/');
    *folder = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    *name = strdup(path_name(path));
    if (*folder && *name)
        return QC_OK;
    free(*folder);
    free(*name);
    *folder = *name = NULL;
    return qc_fail(job, QC_E_NOMEM, "out of memory for a path");
}

/* Owned real path of this program, or NULL. */
static char *executable(void)
{
#if defined(__APPLE__)
    char path[PATH_MAX];
    uint32_t size = sizeof path;
    return _NSGetExecutablePath(path, &size) == 0 ? realpath(path, NULL) : NULL;
#else
    return realpath("/proc/self/exe", NULL);
#endif
}

/* PREFIX/NAME, where this program is PREFIX/<folder>/<program>. */
static char *in_prefix(const char *name)
{
    char *path = executable();
    for (int i = 0; path && i < 2; i++) {
        char *slash = strrchr(path, '/');
        if (slash)
            *slash = 0;
    }
    char *joined = path ? path_join(path, name) : NULL;
    free(path);
    return joined;
}

char *paths_share(const char *name)
{
    char *share = in_prefix("share/qcore");
    char *path = share ? path_join(share, name) : NULL;
    free(share);
    return path;
}

char *paths_user(const char *variable, const char *under_home, const char *name)
{
    const char *folder = getenv(variable), *home = getenv("HOME");
    if (folder && folder[0] == '/')
        return path_join(folder, name);
    char *standard = home && home[0] == '/' ? path_join(home, under_home) : NULL;
    char *path = standard ? path_join(standard, name) : NULL;
    free(standard);
    return path;
}

typedef struct path_list {
    char **items;
    size_t n, capacity;
    int failed;
} path_list;

/* Under whatever name: a folder that is listed twice would shadow all of its own plugins. */
static int is_listed(const path_list *list, const char *path)
{
    struct stat a, b;
    int is_there = stat(path, &a) == 0;
    for (size_t i = 0; is_there && i < list->n; i++)
        if (stat(list->items[i], &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
            return 1;
    return 0;
}

/* Takes ownership; NULL is no item. */
static void add_path(path_list *list, char *path)
{
    if (!path)
        return;
    if (!array_reserve(&list->items, &list->capacity, list->n, sizeof *list->items)) {
        list->failed = 1;
        free(path);
        return;
    }
    list->items[list->n++] = path;
}

static void add_folder(path_list *list, char *path)
{
    if (path && is_listed(list, path))
        free(path);
    else
        add_path(list, path);
}

/* Folders between colons; empty ones would mean the current folder, and are skipped. */
static void add_environment(path_list *list, const char *value)
{
    while (value && *value) {
        size_t n = strcspn(value, ":");
        if (n)
            add_folder(list, strndup(value, n));
        value += n + (value[n] == ':');
    }
}

/* A folder that was asked for must be there, and not one level too deep. */
static qc_status check_given(qc_job *job, const char *folder)
{
    struct stat st;
    if (stat(folder, &st) != 0)
        return qc_fail(job, QC_E_IO, "plugin folder %s: %s", folder, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return qc_fail(job, QC_E_INVALID, "plugin folder %s: not a folder", folder);
    char *manifest = path_join(folder, "plugin.ini");
    int too_deep = manifest && access(manifest, F_OK) == 0;
    free(manifest);
    if (too_deep)
        return qc_fail(job, QC_E_INVALID, "plugin folder %s: is a plugin itself; name the folder above", folder);
    return QC_OK;
}

qc_status paths_plugins(qc_job *job, const char *const *given, size_t n_given, char ***folders, size_t *n_folders)
{
    path_list list = {0};
    *folders = NULL;
    *n_folders = 0;
    for (size_t i = 0; i < n_given; i++) {
        qc_status status = check_given(job, given[i]);
        if (status != QC_OK)
            return status;
    }
    for (size_t i = 0; i < n_given; i++)
        add_folder(&list, strdup(given[i]));
    add_environment(&list, getenv("QCORE_PLUGIN_PATH"));
    add_folder(&list, paths_user("XDG_DATA_HOME", ".local/share", "qcore/plugins"));
    add_folder(&list, in_prefix("lib/qcore/plugins"));
    if (!list.failed) {
        *folders = list.items;
        *n_folders = list.n;
        return QC_OK;
    }
    path_list_free(list.items, list.n);
    return job->fail(job, QC_E_NOMEM, "out of memory for the plugin path");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static qc_status read_names(qc_job *job, const char *folder, DIR *dir, path_list *list)
{
    for (const struct dirent *entry; !list->failed && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        if (list->n == MAX_NAMES)
            return qc_fail(job, QC_E_LIMIT, "%s: more than %d files", folder, MAX_NAMES);
        char *name = strdup(entry->d_name);
        list->failed = !name;
        add_path(list, name);
    }
    return list->failed ? qc_fail(job, QC_E_NOMEM, "out of memory for a list of files") : QC_OK;
}

qc_status list_folder(qc_job *job, const char *folder, char ***names, size_t *n)
{
    path_list list = {0};
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return qc_fail(job, QC_E_IO, "%s: %s", folder, strerror(errno));
    qc_status status = read_names(job, folder, dir, &list);
    closedir(dir);
    if (status != QC_OK) {
        path_list_free(list.items, list.n);
        return status;
    }
    if (list.n)
        qsort(list.items, list.n, sizeof *list.items, compare_names);
    *names = list.items;
    *n = list.n;
    return QC_OK;
}

void path_list_free(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}
