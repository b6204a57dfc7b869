#include "scratch_folder.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not assert: these have effects, and must hold in any build. */
static void need(int ok)
{
    if (!ok) {
        perror("scratch folder");
        abort();
    }
}

int scratch_begin(void **state)
{
    scratch_folder *s = calloc(1, sizeof *s);
    need(s != NULL);
    strcpy(s->path, "/tmp/qcore-test-XXXXXX");
    need(mkdtemp(s->path) != NULL);
    s->host = host_new();
    s->pool = s->host ? pool_new(s->host, 1) : NULL;
    need(s->pool != NULL);
    s->job = pool_job(s->pool);
    *state = s;
    return 0;
}

static void empty_folder(const char *path, int depth)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char name[512];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(name, sizeof name, "%.200s/%.255s", path, entry->d_name);
        if (unlink(name) != 0 && depth > 0)
            empty_folder(name, depth - 1);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

int scratch_end(void **state)
{
    scratch_folder *s = *state;
    empty_folder(s->path, 2);
    pool_free(s->pool);
    host_free(s->host);
    free(s);
    return 0;
}

const char *scratch_path(scratch_folder *s, const char *name)
{
    snprintf(s->name, sizeof s->name, "%s/%s", s->path, name);
    return s->name;
}

void scratch_write(scratch_folder *s, const char *name, const void *data, size_t n)
{
    FILE *file = fopen(scratch_path(s, name), "wb");
    need(file != NULL);
    need(fwrite(data, 1, n, file) == n);
    need(fclose(file) == 0);
}

size_t scratch_count(const scratch_folder *s)
{
    DIR *dir = opendir(s->path);
    size_t n = 0;
    need(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}
