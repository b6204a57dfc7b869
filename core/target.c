#include "core/target.h"
#include "core/array.h"
#include "core/paths.h"
#include "core/reserve.h"
#include "core/stream.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PATH_BYTES = 4096 };

typedef struct target_file {
    char *name; /* in the folder; NULL: the path itself */
    char *path; /* while it is being made */
    int fd;
    uint64_t bytes;
    atomic_uint_least64_t written;
} target_file;

struct target {
    char *path, *parent, *name; /* path: parent "/" name */
    int is_folder, overwrite, committed;
    char *temporary; /* of a folder */
    target_file *files;
    size_t n_files, capacity;
    uint64_t bytes; /* of all files */
    char **made; /* folders on the way that were not there, outermost first */
    size_t n_made, made_capacity;
};

static qc_status no_memory(qc_job *job)
{
    qc_fail(job, QC_E_NOMEM, "out of memory for the output's files");
    return QC_E_NOMEM;
}

static qc_status system_failed(qc_job *job, const char *path, int error)
{
    return qc_fail(job, QC_E_IO, "%s: %s", path, strerror(error));
}

static char *join(const char *folder, const char *prefix, const char *name, const char *suffix)
{
    size_t n = strlen(folder) + strlen(prefix) + strlen(name) + strlen(suffix) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%s/%s%s%s", folder, prefix, name, suffix);
    return path;
}

/* "parent/.NAME.qcore-XXXXXX"; a long name is cut, so that the file system takes it. */
static char *temporary_name(const target *t)
{
    char name[200];
    snprintf(name, sizeof name, "%s", t->name);
    return join(t->parent, ".", name, ".qcore-XXXXXX");
}

/* The mask of the process can only be read by setting it: on the main thread, before there is work. */
static mode_t file_mode(mode_t wanted)
{
    mode_t mask = umask(0);
    umask(mask);
    return wanted & ~mask;
}

/* ---- the place ---- */

static int is_empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int empty = dir != NULL;
    while (dir && empty && (entry = readdir(dir)))
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    if (dir)
        closedir(dir);
    return empty;
}

static qc_status check_place(const target *t, qc_job *job)
{
    struct stat st;
    if (lstat(t->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? QC_OK : system_failed(job, t->path, errno);
    if (S_ISLNK(st.st_mode) && stat(t->path, &st) != 0)
        return qc_fail(job, QC_E_INVALID, "%s is a link to nowhere: remove it first", t->path);
    if (S_ISDIR(st.st_mode) && !t->is_folder)
        return qc_fail(job, QC_E_INVALID, "%s is a folder, the output is a file", t->path);
    if (!S_ISDIR(st.st_mode) && t->is_folder)
        return qc_fail(job, QC_E_INVALID, "%s is a file, the output is a folder", t->path);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return qc_fail(job, QC_E_INVALID, "%s is no regular file", t->path);
    if (t->overwrite || (t->is_folder && is_empty_folder(t->path)))
        return QC_OK;
    return qc_fail(job, QC_E_INVALID, "%s exists already; --set output.overwrite=true replaces it", t->path);
}

static qc_status make_folder(target *t, qc_job *job, const char *path)
{
    if (mkdir(path, 0777) != 0)
        return errno == EEXIST ? QC_OK : system_failed(job, path, errno);
    if (!array_reserve(&t->made, &t->made_capacity, t->n_made, sizeof *t->made) ||
        !(t->made[t->n_made] = strdup(path))) {
        rmdir(path);
        return no_memory(job);
    }
    t->n_made++;
    return QC_OK;
}

static qc_status make_parents(target *t, qc_job *job)
{
    char path[MAX_PATH_BYTES];
    if (strlen(t->parent) >= sizeof path)
        return system_failed(job, t->parent, ENAMETOOLONG);
    memcpy(path, t->parent, strlen(t->parent) + 1);
    qc_status status = QC_OK;
    for (char *slash = strchr(path + 1, '/'); slash && status == QC_OK; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        status = make_folder(t, job, path);
        *slash = '/';
    }
    return status == QC_OK ? make_folder(t, job, path) : status;
}

static qc_status make_temporary_folder(target *t, qc_job *job)
{
    char *path = temporary_name(t);
    if (!path)
        return no_memory(job);
    if (!mkdtemp(path) || chmod(path, file_mode(0777)) != 0) {
        qc_status status = qc_fail(job, QC_E_IO, "cannot make a folder in %s: %s", t->parent, strerror(errno));
        free(path);
        return status;
    }
    t->temporary = path;
    return QC_OK;
}

static qc_status set_up(target *t, qc_job *job, const char *path)
{
    t->path = strdup(path);
    if (!t->path)
        return no_memory(job);
    for (size_t n = strlen(t->path); n > 1 && t->path[n - 1] == '/'; n--)
        t->path[n - 1] = '\0';
    qc_status status = path_split(job, t->path, &t->parent, &t->name);
    if (status == QC_OK && (!*t->name || !strcmp(t->name, ".") || !strcmp(t->name, "..")))
        status = qc_fail(job, QC_E_INVALID, "%s does not name an output", path);
    if (status == QC_OK)
        status = check_place(t, job);
    if (status == QC_OK)
        status = make_parents(t, job);
    return status == QC_OK && t->is_folder ? make_temporary_folder(t, job) : status;
}

qc_status target_new(qc_job *job, const char *path, int is_folder, int overwrite, target **out)
{
    *out = NULL;
    target *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(job);
    t->is_folder = is_folder;
    t->overwrite = overwrite;
    qc_status status = set_up(t, job, path);
    if (status == QC_OK)
        *out = t;
    else
        target_free(t);
    return status;
}

/* ---- files ---- */

int target_has(const target *t, const char *name)
{
    for (size_t i = 0; i < t->n_files; i++)
        if (t->files[i].name && !strcmp(t->files[i].name, name))
            return 1;
    return 0;
}

/* The folder that a file of a folder lies in, where its name has one; owned, NULL: none, or out of memory. */
static char *folder_of(const char *root, const target_file *f)
{
    const char *slash = f->name ? strchr(f->name, '/') : NULL;
    char *path = slash && root ? join(root, "", f->name, "") : NULL;
    if (path)
        *strrchr(path, '/') = '\0';
    return path;
}

static void make_folder_of(const char *root, const target_file *f)
{
    char *path = folder_of(root, f);
    if (path)
        mkdir(path, 0777); /* what goes wrong, the file's own opening or renaming says */
    free(path);
}

static void remove_folder_of(const char *root, const target_file *f)
{
    char *path = folder_of(root, f);
    if (path)
        rmdir(path); /* done by the last of its files */
    free(path);
}

static int open_file(const target_file *f)
{
    if (f->name)
        return open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int fd = mkstemp(f->path);
    if (fd >= 0 && fchmod(fd, file_mode(0666)) == 0)
        return fd;
    int error = errno;
    if (fd >= 0) {
        close(fd);
        unlink(f->path);
    }
    errno = error;
    return -1;
}

static qc_status reserve_bytes(const target_file *f, qc_job *job)
{
    int error = reserve_file(f->fd, f->bytes);
    if (error == 0)
        return QC_OK;
    return qc_fail(job, QC_E_IO, "%s: no room for %llu bytes: %s", f->path, (unsigned long long)f->bytes,
                   strerror(error));
}

/* A plain name, or one in a folder of the folder. */
static int bad_name(const char *name)
{
    const char *slash = strchr(name, '/');
    return !*name || *name == '.' || *name == '/' ||
           (slash && (!slash[1] || slash[1] == '.' || strchr(slash + 1, '/')));
}

qc_status target_add(target *t, qc_job *job, const char *name, uint64_t bytes, uint32_t *file)
{
    target_file f = {.fd = -1, .bytes = bytes};
    if (!name != !t->is_folder || (name && (bad_name(name) || target_has(t, name))) || (!name && t->n_files))
        return qc_fail(job, QC_E_INTERNAL, "the format asked for an output file '%.100s'", name ? name : "");
    if (!array_reserve(&t->files, &t->capacity, t->n_files, sizeof *t->files))
        return no_memory(job);
    f.name = name ? strdup(name) : NULL;
    f.path = !name ? temporary_name(t) : t->temporary ? join(t->temporary, "", name, "") : NULL;
    if (f.path && f.name)
        make_folder_of(t->temporary, &f);
    if (f.path && (!name || f.name))
        f.fd = open_file(&f);
    qc_status status = QC_OK;
    if (!f.path || (name && !f.name))
        status = no_memory(job);
    else if (f.fd < 0)
        status = qc_fail(job, QC_E_IO, "cannot make a file in %s: %s", t->parent, strerror(errno));
    if (status != QC_OK) {
        free(f.name);
        free(f.path);
        return status;
    }
    *file = (uint32_t)t->n_files;
    t->files[t->n_files++] = f;
    t->bytes += bytes;
    return reserve_bytes(&f, job);
}

/* The disk begins with what is there while more is made. */
static void count_written(const target *t, target_file *f, size_t n)
{
    uint64_t before = atomic_fetch_add_explicit(&f->written, n, memory_order_relaxed);
    if (before / STREAM_BYTES != (before + n) / STREAM_BYTES)
        stream_push(f->fd, stream_is_large(t->bytes));
}

qc_status target_write(const target *t, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    if (file >= t->n_files || at > t->files[file].bytes || n > t->files[file].bytes - at)
        return qc_fail(job, QC_E_INTERNAL, "%s: %zu bytes to be written at %llu are outside the file", t->path, n,
                       (unsigned long long)at);
    for (const char *from = data; n > 0;) {
        ssize_t put = pwrite(t->files[file].fd, from, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return system_failed(job, t->files[file].path, put < 0 ? errno : ENOSPC);
        from += put;
        at += (uint64_t)put;
        n -= (size_t)put;
        count_written(t, &t->files[file], (size_t)put);
    }
    return QC_OK;
}

/* ---- the end ---- */

static qc_status sync_files(target *t, qc_job *job)
{
    for (size_t i = 0; i < t->n_files; i++) {
        target_file *f = &t->files[i];
        int error = fsync(f->fd) != 0 ? errno : 0;
        if (close(f->fd) != 0 && error == 0)
            error = errno;
        f->fd = -1;
        if (error)
            return system_failed(job, f->path, error);
    }
    return QC_OK;
}

/* Not every file system can sync a folder; the names are there all the same. */
static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static qc_status move(qc_job *job, const char *from, const char *to)
{
    return rename(from, to) == 0 ? QC_OK : system_failed(job, to, errno);
}

/* A folder that holds something keeps what we do not replace; one that is reached by a link stays where it is. */
static qc_status move_into(const target *t, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < t->n_files && status == QC_OK; i++) {
        char *to = join(t->path, "", t->files[i].name, "");
        make_folder_of(t->path, &t->files[i]);
        status = to ? move(job, t->files[i].path, to) : no_memory(job);
        remove_folder_of(t->temporary, &t->files[i]);
        free(to);
    }
    if (status == QC_OK && t->temporary)
        rmdir(t->temporary);
    return status;
}

qc_status target_commit(target *t, qc_job *job)
{
    struct stat st;
    qc_status status = sync_files(t, job);
    if (status == QC_OK)
        status = check_place(t, job); /* again: much time has passed */
    if (status != QC_OK)
        return status;
    if (t->temporary)
        sync_folder(t->temporary);
    if (!t->is_folder)
        status = t->n_files ? move(job, t->files[0].path, t->path) : QC_OK;
    else if (lstat(t->path, &st) == 0 && (S_ISLNK(st.st_mode) || !is_empty_folder(t->path)))
        status = move_into(t, job);
    else
        status = move(job, t->temporary, t->path);
    t->committed = status == QC_OK;
    sync_folder(t->is_folder ? t->path : t->parent);
    sync_folder(t->parent);
    return status;
}

void target_free(target *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_files; i++) {
        if (t->files[i].fd >= 0)
            close(t->files[i].fd);
        if (!t->committed)
            unlink(t->files[i].path);
        if (!t->committed && t->temporary)
            remove_folder_of(t->temporary, &t->files[i]);
        free(t->files[i].name);
        free(t->files[i].path);
    }
    if (t->temporary && !t->committed)
        rmdir(t->temporary);
    for (size_t i = t->n_made; i-- > 0;) {
        if (!t->committed)
            rmdir(t->made[i]);
        free(t->made[i]);
    }
    free(t->made);
    free(t->files);
    free(t->temporary);
    free(t->path);
    free(t->parent);
    free(t->name);
    free(t);
}

qc_status target_try(qc_job *job, const char *path, int overwrite)
{
    target *t = NULL;
    uint32_t file;
    qc_status status = target_new(job, path, 0, overwrite, &t);
    if (status == QC_OK)
        status = target_add(t, job, NULL, 1, &file);
    target_free(t);
    return status;
}
