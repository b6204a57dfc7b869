#include "core/selector.h"
#include "core/text.h"
#include <stdio.h>
#include <string.h>

const char selector_help[] =
    "a number, a range 0-3, first_N, last_N, first_eighth, last_eighth (also half, third, quarter, sixteenth), middle "
    "or every_third";

static const struct {
    const char *name;
    uint64_t parts;
} parts[] = {{"half", 2}, {"third", 3}, {"quarter", 4}, {"eighth", 8}, {"sixteenth", 16}};

static int parse_part(const char *text, int last, selector *out)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(text, parts[i].name)) {
            out->kind = last ? SELECT_LAST_PART : SELECT_FIRST_PART;
            out->a = parts[i].parts;
            return 1;
        }
    out->kind = last ? SELECT_LAST : SELECT_FIRST;
    return text_to_count(text, &out->a);
}

static int parse_range(const char *text, selector *out)
{
    char first[24];
    const char *dash = strchr(text, '-');
    size_t n = dash ? (size_t)(dash - text) : strlen(text);
    if (n >= sizeof first)
        return 0;
    snprintf(first, sizeof first, "%.*s", (int)n, text);
    out->kind = SELECT_RANGE;
    if (!text_to_count(first, &out->a))
        return 0;
    out->b = out->a;
    return !dash || (text_to_count(dash + 1, &out->b) && out->b >= out->a);
}

int selector_parse(const char *text, selector *out)
{
    *out = (selector){.kind = SELECT_EVERY_THIRD, .a = 8};
    if (!strcmp(text, "every_third"))
        return 1;
    out->kind = SELECT_MIDDLE;
    if (!strcmp(text, "middle"))
        return 1;
    if (!strncmp(text, "first_", 6))
        return parse_part(text + 6, 0, out);
    if (!strncmp(text, "last_", 5))
        return parse_part(text + 5, 1, out);
    return parse_range(text, out);
}

/* (n_parts - 1) * n / n_parts, without overflow. */
static uint64_t last_part(uint64_t n, uint64_t n_parts)
{
    return n - n / n_parts - (n % n_parts != 0);
}

int selector_hits(const selector *s, uint64_t i, uint64_t n)
{
    switch (s->kind) {
    case SELECT_RANGE:
        return i >= s->a && i <= s->b;
    case SELECT_FIRST:
        return i < s->a;
    case SELECT_LAST:
        return i >= n || n - i <= s->a;
    case SELECT_FIRST_PART:
        return i < n / s->a;
    case SELECT_LAST_PART:
        return i >= last_part(n, s->a);
    case SELECT_MIDDLE:
        return i >= n / s->a && i < last_part(n, s->a);
    case SELECT_EVERY_THIRD:
        return i >= n / s->a && (i - n / s->a) % 3 == 2;
    }
    return 0;
}
