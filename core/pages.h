/* Large arrays straight from the system, which has them back at once: what malloc keeps for later would count against
 * run.memory. */
#ifndef CORE_PAGES_H
#define CORE_PAGES_H

#include <stddef.h>

void *pages_new(size_t bytes); /* zeroed; NULL when out of memory */
void pages_free(void *pages, size_t bytes); /* NULL is fine */

#endif
