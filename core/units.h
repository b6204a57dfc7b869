/* Sizes and shares for people. */
#ifndef CORE_UNITS_H
#define CORE_UNITS_H

#include <stdint.h>

enum { BYTES_TEXT = 32 };

/* 0 where there is no whole. */
static inline double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

const char *bytes_text(uint64_t bytes, char text[BYTES_TEXT]); /* "3.18 MiB"; returns text */

#endif
