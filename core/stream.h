/* Files of weights go through the system's cache once: hints, so that disk and CPU share the time, and so that a run on
 * files that are more than memory can keep does not push everything else out of it. None of them can fail. */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include <stdint.h>

enum { STREAM_BYTES = 16 << 20 };

/* More than half of the machine's memory: by the time it is read again, its beginning is gone anyway. */
int stream_is_large(uint64_t bytes);

void stream_begin(int fd); /* will be read from its beginning to its end */
void stream_forget(int fd, uint64_t at,
                   uint64_t n); /* and these bytes not again: what is cached of them is given back */

/* After every STREAM_BYTES that were written: they start on their way to the disk; of large files, those that have
 * arrived are given back. */
void stream_push(int fd, int is_large);

#endif
