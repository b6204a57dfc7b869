#include "core/hidden.h"
#include "core/reserve.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hidden_states {
    size_t n_tokens, row_bytes;
    unsigned char *rows; /* NULL: in the file */
    int fd;
    char *folder;
};

static qc_status system_failed(const hidden_states *h, qc_job *job, const char *what, int error)
{
    return qc_fail(job, QC_E_IO, "temporary file in %s: %s: %s", h->folder, what, strerror(error));
}

/* Without a name from the start: however the run ends, nothing stays behind. */
static int open_unnamed(const char *folder)
{
    static const char name[] = "/qcore-XXXXXX";
    size_t n = strlen(folder) + sizeof name;
    char *path = malloc(n);
    if (!path) {
        errno = ENOMEM;
        return -1;
    }
    snprintf(path, n, "%s%s", folder, name);
    int fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    free(path);
    return fd;
}

static qc_status make_file(hidden_states *h, qc_job *job, uint64_t bytes, const char *folder)
{
    const char *fallback = getenv("TMPDIR");
    h->folder = strdup(folder ? folder : fallback && *fallback ? fallback : "/tmp");
    if (!h->folder)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a temporary file");
    h->fd = open_unnamed(h->folder);
    if (h->fd < 0)
        return qc_fail(job, QC_E_IO, "temporary file in %s: cannot be made: %s; TMPDIR may name another folder",
                       h->folder, strerror(errno));
    int error = reserve_file(h->fd, bytes);
    if (error == 0)
        return QC_OK;
    return qc_fail(job, QC_E_IO,
                   "temporary file in %s: no room for %llu MiB of hidden states: %s; TMPDIR may name another folder",
                   h->folder, (unsigned long long)(bytes >> 20) + 1, strerror(error));
}

static qc_status make_room(hidden_states *h, qc_job *job, uint64_t bytes, uint64_t room, const char *folder)
{
    if (bytes > room)
        return make_file(h, job, bytes, folder);
    h->rows = bytes <= SIZE_MAX ? malloc(bytes ? (size_t)bytes : 1) : NULL;
    return h->rows ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for the hidden states of %zu tokens", h->n_tokens);
}

qc_status hidden_new(qc_job *job, size_t n_tokens, size_t width, uint64_t room, const char *folder, hidden_states **out)
{
    uint64_t row_bytes, bytes;
    *out = NULL;
    if (!qc_mul_size(width, sizeof(float), &row_bytes) || !qc_mul_size(n_tokens, row_bytes, &bytes))
        return qc_fail(job, QC_E_LIMIT, "hidden states of %zu tokens do not fit in 64 bits", n_tokens);
    hidden_states *h = calloc(1, sizeof *h);
    if (!h)
        return qc_fail(job, QC_E_NOMEM, "out of memory for hidden states");
    *h = (hidden_states){.n_tokens = n_tokens, .row_bytes = (size_t)row_bytes, .fd = -1};
    qc_status status = make_room(h, job, bytes, room, folder);
    if (status == QC_OK)
        *out = h;
    else
        hidden_free(h);
    return status;
}

void hidden_free(hidden_states *h)
{
    if (!h)
        return;
    if (h->fd >= 0)
        close(h->fd);
    free(h->folder);
    free(h->rows);
    free(h);
}

size_t hidden_tokens(const hidden_states *h)
{
    return h->n_tokens;
}

uint64_t hidden_memory(const hidden_states *h)
{
    return h->rows ? (uint64_t)h->n_tokens * h->row_bytes : 0;
}

qc_status hidden_read(const hidden_states *h, qc_job *job, size_t first, size_t n, float *x)
{
    unsigned char *to = (unsigned char *)x;
    uint64_t at = (uint64_t)first * h->row_bytes;
    if (h->rows) {
        memcpy(to, h->rows + at, n * h->row_bytes);
        return QC_OK;
    }
    for (size_t left = n * h->row_bytes; left > 0;) {
        ssize_t got = pread(h->fd, to, left, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return system_failed(h, job, "cannot be read", got < 0 ? errno : EIO);
        to += got;
        at += (uint64_t)got;
        left -= (size_t)got;
    }
    return QC_OK;
}

qc_status hidden_write(hidden_states *h, qc_job *job, size_t first, size_t n, const float *x)
{
    const unsigned char *from = (const unsigned char *)x;
    uint64_t at = (uint64_t)first * h->row_bytes;
    if (h->rows) {
        memcpy(h->rows + at, from, n * h->row_bytes);
        return QC_OK;
    }
    for (size_t left = n * h->row_bytes; left > 0;) {
        ssize_t put = pwrite(h->fd, from, left, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return system_failed(h, job, "cannot be written", put < 0 ? errno : ENOSPC);
        from += put;
        at += (uint64_t)put;
        left -= (size_t)put;
    }
    return QC_OK;
}
