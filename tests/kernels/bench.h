/* How long kernels take. */
#ifndef BENCH_H
#define BENCH_H

#include "list.h"

/* One line a kernel; csv: a file as well, or NULL. Exit status. */
int bench_all(const kernel_list *list, uint32_t seed, const char *csv);

#endif
