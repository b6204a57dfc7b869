#include "core/safety.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Root's group and our own are no strangers: systems with a group of its own for every user leave files 0664. */
static int others_may_write(const struct stat *st)
{
    int group = (st->st_mode & S_IWGRP) && st->st_gid != 0 && st->st_gid != getegid();
    return group || (st->st_mode & S_IWOTH);
}

static path_check check(const char *path, int want_folder, char *why, size_t n)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        snprintf(why, n, "%s: %s", path, strerror(errno));
        return errno == ENOENT || errno == ENOTDIR ? PATH_MISSING : PATH_UNSAFE;
    }
    if (want_folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode)) {
        snprintf(why, n, "%s: not a %s", path, want_folder ? "folder" : "plain file");
        return want_folder ? PATH_MISSING : PATH_UNSAFE;
    }
    if (others_may_write(&st)) {
        snprintf(why, n, "%s: mode %04o lets others write it; to trust it: chmod go-w '%s'", path,
                 (unsigned)st.st_mode & 07777u, path);
        return PATH_UNSAFE;
    }
    return PATH_SAFE;
}

path_check check_folder(const char *path, char *why, size_t n)
{
    return check(path, 1, why, n);
}

/* Does `inner` lie directly in `outer`? Both real paths. */
static int lies_in(const char *inner, const char *outer)
{
    size_t length = strlen(outer);
    return !strncmp(inner, outer, length) && inner[length] == '/' && !strchr(inner + length + 1, '/');
}

path_check check_file(const char *folder, const char *path, char *why, size_t n)
{
    path_check result = check(path, 0, why, n);
    if (result != PATH_SAFE)
        return result;
    char *outer = realpath(folder, NULL), *inner = realpath(path, NULL);
    if (!outer || !inner || !lies_in(inner, outer)) {
        snprintf(why, n, "%s: leads out of its folder, to %s", path, inner ? inner : "an unknown place");
        result = PATH_UNSAFE;
    }
    free(outer);
    free(inner);
    return result;
}
