#include "core/source.h"
#include "core/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct source_file {
    char *name;
    int fd;
    struct stat st;
} source_file;

typedef struct source {
    qc_source base; /* first: a qc_source * is a source * */
    char *folder;
    int folder_fd;
    source_file *files;
    uint32_t n_files, capacity;
    uint64_t bytes; /* of all files */
    int is_large;
} source;

static const source *of(const qc_source *src)
{
    return (const source *)(const void *)src;
}

static int bad_name(const char *name)
{
    return !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..");
}

static uint32_t find_file(const source *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_files; i++)
        if (!strcmp(s->files[i].name, name))
            return i;
    return UINT32_MAX;
}

static qc_status reserve_file(source *s, qc_job *job)
{
    if (s->n_files < s->capacity)
        return QC_OK;
    uint32_t capacity = s->capacity ? 2 * s->capacity : 8;
    source_file *files = realloc(s->files, capacity * sizeof *files);
    if (!files)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a list of files");
    s->files = files;
    s->capacity = capacity;
    return QC_OK;
}

static qc_status add_file(source *s, qc_job *job, const char *name, int fd)
{
    source_file f = {.fd = fd};
    if (fstat(fd, &f.st) != 0)
        return qc_fail(job, QC_E_IO, "%s/%s: %s", s->folder, name, strerror(errno));
    if (!S_ISREG(f.st.st_mode))
        return qc_fail(job, QC_E_IO, "%s/%s is not a regular file", s->folder, name);
    qc_status status = reserve_file(s, job);
    if (status != QC_OK)
        return status;
    f.name = strdup(name);
    if (!f.name)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a file name");
    s->files[s->n_files++] = f;
    s->bytes += (uint64_t)f.st.st_size;
    s->is_large = stream_is_large(s->bytes);
    stream_begin(fd);
    return QC_OK;
}

/* O_NONBLOCK: a pipe under the name of a model must not hang us before it is refused. */
static qc_status open_file(const qc_source *src, qc_job *job, const char *name, int optional, uint32_t *file)
{
    source *s = (source *)src; /* open is the one call that changes it, from one thread */
    *file = UINT32_MAX;
    if (bad_name(name))
        return qc_fail(job, QC_E_CORRUPT, "%s: '%.100s' is no name of a file in this folder", s->folder, name);
    *file = find_file(s, name);
    if (*file != UINT32_MAX)
        return QC_OK;
    int fd = openat(s->folder_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && optional && errno == ENOENT)
        return QC_OK;
    if (fd < 0)
        return qc_fail(job, QC_E_IO, "%s/%s: %s", s->folder, name, strerror(errno));
    qc_status status = add_file(s, job, name, fd);
    if (status == QC_OK)
        *file = s->n_files - 1;
    else
        close(fd);
    return status;
}

static const char *file_name(const qc_source *src, uint32_t file)
{
    return file < of(src)->n_files ? of(src)->files[file].name : "";
}

static uint64_t file_length(const qc_source *src, uint32_t file)
{
    return file < of(src)->n_files ? (uint64_t)of(src)->files[file].st.st_size : 0;
}

static qc_status read_at(const qc_source *src, qc_job *job, uint32_t file, uint64_t at, size_t n, void *dst)
{
    const source *s = of(src);
    if (file >= s->n_files)
        return qc_fail(job, QC_E_INTERNAL, "%s: read of a file that is not open", s->folder);
    const source_file *f = &s->files[file];
    uint64_t length = (uint64_t)f->st.st_size;
    if (at > length || n > length - at)
        return qc_fail(job, QC_E_CORRUPT, "%s/%s: cut short: %zu bytes wanted at byte %llu, the file has %llu",
                       s->folder, f->name, n, (unsigned long long)at, (unsigned long long)length);
    for (char *to = dst; n > 0;) {
        ssize_t got = pread(f->fd, to, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return qc_fail(job, QC_E_IO, "%s/%s: %s", s->folder, f->name, strerror(errno));
        if (got == 0)
            return qc_fail(job, QC_E_IO, "%s/%s became shorter while it was read", s->folder, f->name);
        to += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return QC_OK;
}

qc_status source_new(qc_job *job, const char *folder, const char *first, const qc_source **out)
{
    *out = NULL;
    source *s = calloc(1, sizeof *s);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    s->base = (qc_source){
        .size = sizeof s->base, .open = open_file, .name = file_name, .length = file_length, .read_at = read_at};
    s->folder = strdup(folder);
    s->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    qc_status status = QC_OK;
    uint32_t file;
    if (!s->folder)
        status = qc_fail(job, QC_E_NOMEM, "out of memory");
    else if (s->folder_fd < 0)
        status = qc_fail(job, QC_E_IO, "%s: %s", folder, strerror(errno));
    else if (first)
        status = open_file(&s->base, job, first, 0, &file);
    if (status != QC_OK)
        source_free(&s->base);
    else
        *out = &s->base;
    return status;
}

void source_free(const qc_source *src)
{
    source *s = (source *)src;
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_files; i++) {
        close(s->files[i].fd);
        free(s->files[i].name);
    }
    if (s->folder_fd >= 0)
        close(s->folder_fd);
    free(s->files);
    free(s->folder);
    free(s);
}

const char *source_folder(const qc_source *src)
{
    return of(src)->folder;
}

size_t source_files(const qc_source *src)
{
    return of(src)->n_files;
}

void source_forget(const qc_source *src, uint32_t file, uint64_t at, uint64_t n)
{
    const source *s = of(src);
    if (file < s->n_files && s->is_large)
        stream_forget(s->files[file].fd, at, n);
}

int source_owns(const qc_source *src, const struct stat *st)
{
    for (uint32_t i = 0; i < of(src)->n_files; i++) {
        const struct stat *own = &of(src)->files[i].st;
        if (own->st_dev == st->st_dev && own->st_ino == st->st_ino)
            return 1;
    }
    return 0;
}
