/* Which kernels there are on this machine. */
#ifndef LIST_H
#define LIST_H

#include "check.h"

typedef struct kernel_list {
    kernel *items;
    size_t n;
    char **notes; /* what is not checked, and why; members that no check knows begin with "! " */
    size_t n_notes;
    void **kept; /* what the kernels point to, as long as the program runs */
    size_t n_kept;
} kernel_list;

/* Everything that the plugins in these folders have for the levels of this CPU. Prints why, and 0, where that fails. */
int list_kernels(const char *const *folders, size_t n_folders, unsigned effort, kernel_list *list);

/* Kernels of gptq, where it was built with this program. */
void list_gptq(kernel_list *list, unsigned effort);

/* Adds what is not NULL and not there yet at a lower level. */
void list_table(kernel_list *list, const char *prefix, const char *level, const member *members, const void *table,
                const void *reference, size_t size, const void *side, const void *reference_side, unsigned effort);
void list_note(kernel_list *list, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
