#include "core/units.h"
#include <stdio.h>
#include <stdlib.h>

const char *bytes_text(uint64_t bytes, char text[BYTES_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        value /= 1024;
    snprintf(text, BYTES_TEXT, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return text;
}

const char *number_text(double value, char text[NUMBER_TEXT])
{
    int digits = 9;
    do
        snprintf(text, NUMBER_TEXT, "%.*g", digits, value);
    while (strtod(text, NULL) != value && digits++ < 17);
    return text;
}
