/* Changes that parsers fear: flipped bits, absurd lengths, cut, repeated and foreign pieces. */
#include "fuzz.h"
#include <string.h>

uint64_t fuzz_next(fuzz_random *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state;
}

size_t fuzz_below(fuzz_random *r, size_t n)
{
    return (size_t)(fuzz_next(r) >> 11) % n;
}

static void flip_bit(fuzz_random *r, unsigned char *data, size_t size)
{
    size_t at = fuzz_below(r, size);
    data[at] = (unsigned char)(data[at] ^ 1u << fuzz_below(r, 8));
}

static void set_byte(fuzz_random *r, unsigned char *data, size_t size)
{
    data[fuzz_below(r, size)] = (unsigned char)fuzz_next(r);
}

/* A 1, 2, 4 or 8 byte number that is on the edge of something, or next to what was there. */
static void set_number(fuzz_random *r, unsigned char *data, size_t size)
{
    static const uint64_t edges[] = {0,          1,          2,          7,          0x7f,           0x80,
                                     0xff,       0x7fff,     0xffff,     0x10000,    0x7fffffff,     0x80000000,
                                     0xffffffff, 1ull << 32, 1ull << 62, 1ull << 63, UINT64_MAX - 1, UINT64_MAX};
    size_t n = (size_t)1 << fuzz_below(r, 4), n_edges = sizeof edges / sizeof *edges;
    if (n > size)
        return;
    unsigned char *at = data + fuzz_below(r, size - n + 1);
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;)
        value = value << 8 | at[i];
    size_t pick = fuzz_below(r, n_edges + 4);
    value = pick < n_edges ? edges[pick] : pick % 2 ? value + 1 : value - 1;
    for (size_t i = 0; i < n; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

/* In text: a digit, or a character that JSON gives a meaning. */
static void set_character(fuzz_random *r, unsigned char *data, size_t size)
{
    static const char characters[] = "0123456789-+.eE\"\\{}[],: \n";
    data[fuzz_below(r, size)] = (unsigned char)characters[fuzz_below(r, sizeof characters - 1)];
}

static void cut_end(fuzz_random *r, size_t *size)
{
    *size = fuzz_below(r, *size) + 1;
}

static void remove_piece(fuzz_random *r, unsigned char *data, size_t *size)
{
    size_t at = fuzz_below(r, *size), n = fuzz_below(r, (*size - at < 64 ? *size - at : 64) + 1);
    memmove(data + at, data + at + n, *size - at - n);
    *size -= n;
}

static void insert_piece(fuzz_random *r, unsigned char *data, size_t *size, size_t room, const unsigned char *from,
                         size_t from_size)
{
    size_t most = from_size < room - *size ? from_size : room - *size;
    size_t n = fuzz_below(r, (most < 128 ? most : 128) + 1), at = fuzz_below(r, *size + 1);
    unsigned char piece[128];
    memcpy(piece, from + fuzz_below(r, from_size - n + 1), n);
    memmove(data + at + n, data + at, *size - at);
    memcpy(data + at, piece, n);
    *size += n;
}

/* The beginning of this, the end of the other. */
static void splice(fuzz_random *r, unsigned char *data, size_t *size, size_t room, const fuzz_input *other)
{
    size_t at = fuzz_below(r, *size + 1), from = fuzz_below(r, other->size + 1), n = other->size - from;
    n = n < room - at ? n : room - at;
    if (n > 0)
        memcpy(data + at, other->data + from, n);
    *size = at + n;
}

void fuzz_mutate(fuzz_random *r, unsigned char *data, size_t *size, size_t room, const fuzz_input *other)
{
    for (size_t changes = 1 + fuzz_below(r, 4); changes > 0 && *size > 0; changes--) {
        switch (fuzz_below(r, 12)) {
        case 0:
        case 1:
            flip_bit(r, data, *size);
            break;
        case 2:
            set_byte(r, data, *size);
            break;
        case 3:
        case 4:
        case 5:
            set_number(r, data, *size);
            break;
        case 6:
        case 7:
            set_character(r, data, *size);
            break;
        case 8:
            cut_end(r, size);
            break;
        case 9:
            remove_piece(r, data, size);
            break;
        case 10:
            insert_piece(r, data, size, room, data, *size);
            break;
        default:
            splice(r, data, size, room, other);
        }
    }
}
