#include "core/names.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Which number the pattern wants here: its place in *n and the length of the placeholder in *skip; NULL: none. */
static uint64_t *placeholder(const char *pattern, name_numbers *n, size_t *skip)
{
    if (!strncmp(pattern, "{}", 2)) {
        *skip = 2;
        return &n->block;
    }
    if (!strncmp(pattern, "{e}", 3)) {
        *skip = 3;
        return &n->expert;
    }
    return NULL;
}

static const char *read_number(const char *s, uint64_t *value)
{
    const char *begin = s;
    for (*value = 0; *s >= '0' && *s <= '9' && s - begin < 9; s++)
        *value = *value * 10 + (uint64_t)(*s - '0');
    int leading_zero = *begin == '0' && s - begin > 1;
    return s == begin || leading_zero ? NULL : s;
}

int name_match(const char *pattern, const char *name, name_numbers *n)
{
    size_t skip;
    memset(n, 0, sizeof *n);
    while (*pattern) {
        uint64_t *number = placeholder(pattern, n, &skip);
        if (number) {
            name = read_number(name, number);
            if (!name)
                return 0;
            pattern += skip;
        } else if (*pattern++ != *name++) {
            return 0;
        }
    }
    return !*name;
}

int name_fill(const char *pattern, name_numbers n, char out[NAME_BYTES])
{
    size_t used = 0, skip;
    while (*pattern) {
        const uint64_t *number = placeholder(pattern, &n, &skip);
        int wrote = number ? snprintf(out + used, NAME_BYTES - used, "%" PRIu64, *number)
                           : snprintf(out + used, NAME_BYTES - used, "%c", *pattern);
        used += (size_t)wrote;
        if (used >= NAME_BYTES)
            return 0;
        pattern += number ? skip : 1;
    }
    out[used] = '\0';
    return 1;
}

int name_has_block(const char *pattern)
{
    return strstr(pattern, "{}") != NULL;
}

int name_has_expert(const char *pattern)
{
    return strstr(pattern, "{e}") != NULL;
}

int32_t name_block(const char *canonical)
{
    uint64_t block;
    if (strncmp(canonical, "blk.", 4) != 0)
        return -1;
    const char *end = read_number(canonical + 4, &block);
    return end && *end == '.' ? (int32_t)block : -1;
}

int name_compare(const char *a, const char *b)
{
    int32_t block_a = name_block(a), block_b = name_block(b);
    if (block_a != block_b)
        return block_a < block_b ? -1 : 1;
    return strcmp(a, b);
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

const char *list_next(const char *list, char item[NAME_BYTES])
{
    while (list && (is_blank(*list) || *list == ','))
        list++;
    if (!list || !*list)
        return NULL;
    size_t n = strcspn(list, ",");
    const char *next = list + n;
    while (n > 0 && is_blank(list[n - 1]))
        n--;
    if (n >= NAME_BYTES)
        n = NAME_BYTES - 1;
    memcpy(item, list, n);
    item[n] = '\0';
    return next;
}

int list_has(const char *list, const char *word)
{
    char item[NAME_BYTES];
    while ((list = list_next(list, item)))
        if (!strcmp(item, word))
            return 1;
    return 0;
}
