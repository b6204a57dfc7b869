#define _GNU_SOURCE /* sync_file_range */
#include "core/stream.h"
#include <fcntl.h>
#include <unistd.h>

/* The system keeps and drops whole runs of pages, of up to some MiB: one that reaches to where we are goes when we are past
 * its end, so each range is looked at from a little before it. */
enum { BEFORE = 8 << 20 };

int stream_is_large(uint64_t bytes)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 && bytes / (uint64_t)page > (uint64_t)pages / 2;
}

void stream_begin(int fd)
{
#if defined(POSIX_FADV_SEQUENTIAL)
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
#else
    (void)fd;
#endif
}

void stream_forget(int fd, uint64_t at, uint64_t n)
{
    uint64_t first = at > BEFORE ? at - BEFORE : 0;
#if defined(POSIX_FADV_DONTNEED)
    posix_fadvise(fd, (off_t)first, (off_t)(at + n - first), POSIX_FADV_DONTNEED);
#else
    (void)fd, (void)first, (void)n;
#endif
}

void stream_push(int fd, int is_large)
{
#if defined(POSIX_FADV_DONTNEED)
    if (is_large)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* writes what it cannot drop yet */
#endif
#if defined(SYNC_FILE_RANGE_WRITE)
    if (!is_large)
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
    (void)fd, (void)is_large;
}
