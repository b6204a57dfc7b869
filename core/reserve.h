/* Room on a disk. */
#ifndef CORE_RESERVE_H
#define CORE_RESERVE_H

#include <stdint.h>

/* Room for all bytes of an open file now: a disk that is too full says so before the work. 0, or an error of errno. */
int reserve_file(int fd, uint64_t bytes);

#endif
