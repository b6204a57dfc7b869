#include "buffers.h"
#include "qcore/number.h"
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* An arena a buffer:   | forbidden | ARENA bytes | forbidden |
 *                                  ^ AT_START             ^ AT_END */
enum { ARENA = 32 << 20, MARGIN = 64 };

static unsigned char *arenas;
static size_t page;

static unsigned char *arena(size_t i)
{
    return arenas + page + i * (ARENA + page);
}

int buffers_begin(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    void *all = mmap(NULL, page + MOST_BUFFERS * (ARENA + page), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return 0;
    arenas = all;
    for (size_t i = 0; i < MOST_BUFFERS; i++)
        if (mprotect(arena(i), ARENA, PROT_READ | PROT_WRITE) != 0)
            return 0;
    return 1;
}

size_t type_size(buffer_type type)
{
    static const size_t sizes[] = {1, 2, 4, 4, 8, 1};
    return sizes[type];
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + page - 1) / page * page;
}

/* Inputs are surrounded by what is NaN as a float and -1 as a number. */
static unsigned char around(const buffer *b, unsigned char fill)
{
    return b->use == BUFFER_READ ? 0xff : fill;
}

static int place_one(buffer *b, size_t i, placement where, unsigned char fill)
{
    const size_t shift = b->type == TYPE_PRIVATE ? 0 : type_size(b->type);
    b->at = NULL;
    b->region_bytes = whole_pages(b->bytes + 2 * MARGIN + shift);
    b->region = where == AT_END ? arena(i) + ARENA - b->region_bytes : arena(i);
    if (b->region_bytes > ARENA)
        return 0;
    if (!b->from && b->use != BUFFER_WRITE)
        return 1;
    memset(b->region, around(b, fill), b->region_bytes);
    b->at = where == AT_START ? b->region
            : where == AT_END ? b->region + b->region_bytes - b->bytes
                              : b->region + MARGIN + shift;
    if (b->from && b->bytes)
        memcpy(b->at, b->from, b->bytes);
    return b->use != BUFFER_READ || mprotect(b->region, b->region_bytes, PROT_READ) == 0;
}

int buffers_place(buffer *b, size_t n, placement where, unsigned char fill)
{
    int placed = 1;
    for (size_t i = 0; i < n; i++)
        placed &= place_one(&b[i], i, where, fill);
    if (!placed)
        buffers_open(b, n);
    return placed;
}

void buffers_open(const buffer *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b[i].at && b[i].use == BUFFER_READ)
            mprotect(b[i].region, b[i].region_bytes, PROT_READ | PROT_WRITE);
}

ptrdiff_t buffer_spilt(const buffer *b, unsigned char fill)
{
    if (!b->at || b->use == BUFFER_READ)
        return 0;
    const unsigned char *end = b->at + b->bytes, *region_end = b->region + b->region_bytes;
    for (const unsigned char *p = end; p < region_end; p++)
        if (*p != fill)
            return p - b->at;
    for (const unsigned char *p = b->at; p > b->region; p--)
        if (p[-1] != fill)
            return p - 1 - b->at;
    return 0;
}

/* The nearest one: two arenas share the page between them. */
void buffers_say(const buffer *b, size_t n, const void *address, char *text, size_t size)
{
    const uintptr_t to = (uintptr_t)address;
    size_t least = ARENA / 2;
    snprintf(text, size, "at %p, in none of its buffers", address);
    for (size_t i = 0; i < n; i++) {
        const uintptr_t begin = (uintptr_t)b[i].at, end = begin + b[i].bytes;
        const size_t away = to < begin ? begin - to : to >= end ? to - end + 1 : 0;
        if (!b[i].at || away >= least)
            continue;
        least = away;
        if (away > 0)
            snprintf(text, size, "%zu bytes %s %s", away, to < begin ? "before" : "past the end of", b[i].name);
        else
            snprintf(text, size, "byte %zu of %s%s", (size_t)(to - begin), b[i].name,
                     b[i].use == BUFFER_READ ? ", an input, is written to" : "");
    }
}

static int counts(const buffer *b, size_t i)
{
    return b->lanes == 0 || i % QC_LANES < b->lanes;
}

static int is_nan(buffer_type type, const unsigned char *at)
{
    float f;
    double d;
    memcpy(&f, at, sizeof f);
    if (type == TYPE_FLOATS)
        return f != f;
    if (type != TYPE_DOUBLES)
        return 0;
    memcpy(&d, at, sizeof d);
    return d != d;
}

ptrdiff_t buffer_differs(const buffer *b, const void *got, const void *want)
{
    const size_t size = type_size(b->type);
    const unsigned char *x = got, *y = want;
    if (b->type == TYPE_PRIVATE || b->bytes == 0 || !memcmp(got, want, b->bytes))
        return -1;
    for (size_t i = 0; i < b->bytes / size; i++, x += size, y += size)
        if (counts(b, i) && memcmp(x, y, size) != 0 && !(is_nan(b->type, x) && is_nan(b->type, y)))
            return (ptrdiff_t)i;
    return -1;
}

static void say_value(buffer_type type, const unsigned char *at, char *text, size_t size)
{
    int16_t s;
    int32_t i;
    float f;
    double d;
    switch (type) {
    case TYPE_FLOATS:
        memcpy(&f, at, sizeof f);
        snprintf(text, size, "%a", (double)f);
        return;
    case TYPE_DOUBLES:
        memcpy(&d, at, sizeof d);
        snprintf(text, size, "%a", d);
        return;
    case TYPE_INTS:
        memcpy(&i, at, sizeof i);
        snprintf(text, size, "%d", (int)i);
        return;
    case TYPE_SHORTS:
        memcpy(&s, at, sizeof s);
        snprintf(text, size, "%d", s);
        return;
    default:
        snprintf(text, size, "0x%02x", *at);
    }
}

void buffer_say_element(const buffer *b, size_t i, const void *got, const void *want, char *text, size_t size)
{
    const size_t at = i * type_size(b->type);
    char x[40], y[40];
    say_value(b->type, (const unsigned char *)got + at, x, sizeof x);
    say_value(b->type, (const unsigned char *)want + at, y, sizeof y);
    snprintf(text, size, "%s[%zu] is %s, not %s", b->name, i, x, y);
}
