#include "core/jsonout.h"
#include "core/units.h"
#include <assert.h>
#include <inttypes.h>
#include <math.h>

size_t utf8_length(const unsigned char *s)
{
    static const struct {
        unsigned char lead_mask, lead;
        uint32_t least;
    } forms[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    if (*s < 0x80)
        return 1;
    for (size_t n = 2; n <= 4; n++) {
        if ((*s & forms[n - 2].lead_mask) != forms[n - 2].lead)
            continue;
        uint32_t code = *s & (unsigned char)~forms[n - 2].lead_mask;
        for (size_t i = 1; i < n; i++) {
            if ((s[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (s[i] & 0x3fu);
        }
        int surrogate = code >= 0xd800 && code < 0xe000;
        return code >= forms[n - 2].least && code < 0x110000 && !surrogate ? n : 0;
    }
    return 0;
}

static void put_string(json_out *j, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('"', j->file);
    while (*s) {
        size_t n = utf8_length(s);
        if (n == 0)
            fputs("\\ufffd", j->file);
        else if (*s == '"' || *s == '\\')
            fprintf(j->file, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(j->file, "\\u%04x", (unsigned)*s);
        else
            fwrite(s, 1, n, j->file);
        s += n ? n : 1;
    }
    fputc('"', j->file);
}

static void new_line(json_out *j)
{
    fprintf(j->file, "\n%*s", (int)(2 * j->depth), "");
}

static void begin_value(json_out *j, const char *key)
{
    if (j->depth > 0) {
        if (j->filled[j->depth - 1])
            fputc(',', j->file);
        j->filled[j->depth - 1] = 1;
        new_line(j);
    }
    if (key) {
        put_string(j, key);
        fputs(": ", j->file);
    }
}

static void open_bracket(json_out *j, const char *key, char bracket)
{
    begin_value(j, key);
    fputc(bracket, j->file);
    assert(j->depth < JSON_MAX_DEPTH);
    j->filled[j->depth++] = 0;
}

static void close_bracket(json_out *j, char bracket)
{
    int filled = j->filled[--j->depth];
    if (filled)
        new_line(j);
    fputc(bracket, j->file);
    if (j->depth == 0)
        fputc('\n', j->file);
}

void put_json_object(json_out *j, const char *key)
{
    open_bracket(j, key, '{');
}

void put_json_end_object(json_out *j)
{
    close_bracket(j, '}');
}

void put_json_list(json_out *j, const char *key)
{
    open_bracket(j, key, '[');
}

void put_json_end_list(json_out *j)
{
    close_bracket(j, ']');
}

void put_json_text(json_out *j, const char *key, const char *value)
{
    begin_value(j, key);
    if (value)
        put_string(j, value);
    else
        fputs("null", j->file);
}

void put_json_count(json_out *j, const char *key, uint64_t value)
{
    begin_value(j, key);
    fprintf(j->file, "%" PRIu64, value);
}

void put_json_number(json_out *j, const char *key, double value)
{
    begin_value(j, key);
    if (!isfinite(value)) {
        fputs("null", j->file);
        return;
    }
    char text[NUMBER_TEXT];
    fputs(number_text(value, text), j->file);
}

void put_json_bool(json_out *j, const char *key, int value)
{
    begin_value(j, key);
    fputs(value ? "true" : "false", j->file);
}
