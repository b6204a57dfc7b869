/* Writes JSON, indented, one call a value. Strings are escaped; bytes that are no UTF-8 become U+FFFD. */
#ifndef CORE_JSONOUT_H
#define CORE_JSONOUT_H

#include <stdint.h>
#include <stdio.h>

enum { JSON_MAX_DEPTH = 32 };

typedef struct json_out {
    FILE *file;
    unsigned depth;
    unsigned char filled[JSON_MAX_DEPTH]; /* has the object or list of this depth a member yet? Deeper is a bug */
} json_out;

/* key: NULL in a list and for the outermost value. */
void put_json_object(json_out *j, const char *key);
void put_json_end_object(json_out *j);
void put_json_list(json_out *j, const char *key);
void put_json_end_list(json_out *j);
void put_json_text(json_out *j, const char *key, const char *value); /* NULL: null */
void put_json_count(json_out *j, const char *key, uint64_t value);
void put_json_number(json_out *j, const char *key, double value); /* not finite: null */
void put_json_bool(json_out *j, const char *key, int value);

/* Bytes of the UTF-8 sequence at s (zero-terminated), 0 where it is malformed (surrogates and overlong forms included). */
size_t utf8_length(const unsigned char *s);

#endif
