/* What the user sees while a run is under way: a bar on a terminal, a line now and then elsewhere. On stderr. */
#ifndef CORE_PROGRESS_H
#define CORE_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

typedef struct progress progress;

typedef struct progress_unit {
    const char *name; /* NULL: steps are bytes, shown as MB/s */
    uint64_t steps; /* of one unit */
} progress_unit;

progress *progress_new(uint64_t total, int quiet); /* NULL: out of memory; all calls take NULL and do nothing */
void progress_free(progress *p); /* clears the bar */
/* Steps are not bytes: `steps` of them are one `unit` ("tokens"), whose rate is shown. */
void progress_set_unit(progress *p, const char *unit, uint64_t steps);
/* What is being done ("calibration"), where a run does one thing after another; borrowed. */
void progress_set_phase(progress *p, const char *phase);
void progress_clear(progress *p); /* makes room for a line of something else. [any-thread] */

/* So many more bytes (or steps) are done, of tensor `what`. [any-thread] */
void progress_step(progress *p, const char *what, uint64_t steps);

double progress_seconds(const progress *p); /* since progress_new */

/* One bar of at most `width` columns; for a terminal and for tests. */
void progress_bar(char *line, size_t size, unsigned width, const char *what, uint64_t done, uint64_t total,
                  double seconds, const progress_unit *unit);

#endif
