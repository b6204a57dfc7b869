/* Sizes and shares for people, numbers for programs. */
#ifndef CORE_UNITS_H
#define CORE_UNITS_H

#include <stdint.h>

enum { BYTES_TEXT = 32, NUMBER_TEXT = 40 };

/* 0 where there is no whole. */
static inline double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

const char *bytes_text(uint64_t bytes, char text[BYTES_TEXT]); /* "3.18 MiB"; returns text */
/* In 9 digits, or in as many as give the same number back; finite. Returns text. */
const char *number_text(double value, char text[NUMBER_TEXT]);

#endif
