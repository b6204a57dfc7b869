/* Arrays that grow. */
#ifndef CORE_ARRAY_H
#define CORE_ARRAY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Room for one more item after the first n; 0 when out of memory. array: the address of a `T *` variable, copied as
 * bytes because its type is not void *. */
static inline int array_reserve(void *array, size_t *capacity, size_t n, size_t item_size)
{
    void *items;
    if (n < *capacity)
        return 1;
    size_t more = *capacity ? 2 * *capacity : 16;
    memcpy(&items, array, sizeof items);
    items = more <= SIZE_MAX / item_size ? realloc(items, more * item_size) : NULL;
    if (!items)
        return 0;
    memcpy(array, &items, sizeof items);
    *capacity = more;
    return 1;
}

#endif
