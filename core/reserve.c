#include "core/reserve.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* 0 too where the file system cannot reserve. */
static int reserve_blocks(int fd, off_t bytes)
{
    int error = 0;
#if !defined(__APPLE__)
    do
        error = bytes > 0 ? posix_fallocate(fd, 0, bytes) : 0;
    while (error == EINTR);
#else
    (void)fd;
    (void)bytes;
#endif
    return error == EINVAL || error == EOPNOTSUPP ? 0 : error;
}

int reserve_file(int fd, uint64_t bytes)
{
    if (bytes > INT64_MAX)
        return EFBIG;
    int error = reserve_blocks(fd, (off_t)bytes);
    if (error == 0 && ftruncate(fd, (off_t)bytes) != 0)
        error = errno;
    return error;
}
