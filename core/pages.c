#include "core/pages.h"
#include <sys/mman.h>

void *pages_new(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
#if defined(MADV_HUGEPAGE)
    madvise(pages, bytes, MADV_HUGEPAGE); /* fewer faults and misses; a system without them is no worse off */
#endif
    return pages;
}

void pages_free(void *pages, size_t bytes)
{
    if (pages)
        munmap(pages, bytes);
}
