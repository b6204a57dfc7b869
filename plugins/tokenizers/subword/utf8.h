/* UTF-8, code point by code point. */
#ifndef SUBWORD_UTF8_H
#define SUBWORD_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the sound character that text begins with, its code point in *c; 0 where the first byte begins none. n > 0. */
static inline size_t utf8_next(const char *text, size_t n, uint32_t *c)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)text[0];
    *c = first;
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || n < length)
        return 0;
    *c = first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)text[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (next & 0x3f);
    }
    return *c < least[length] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000) ? 0 : length;
}

/* Bytes up to the first that is broken. */
static inline size_t utf8_sound(const char *text, size_t n)
{
    uint32_t c;
    size_t at = 0, length = 1;
    for (; at < n && length > 0; at += length)
        length = utf8_next(text + at, n - at, &c);
    return at;
}

#endif
