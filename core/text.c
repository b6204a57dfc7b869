#include "core/text.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 1 << 16 };

/* Room for all bytes to the end, of pipes too, and for one beyond the most that there may be. 0: out of memory. */
static int read_all(FILE *file, size_t most, char **text, size_t *n)
{
    size_t room = 0;
    do {
        room = room ? 2 * room : FIRST_BYTES;
        room = room > most ? most + 1 : room;
        char *grown = realloc(*text, room);
        if (!grown)
            return 0;
        *text = grown;
        *n += fread(*text + *n, 1, room - *n, file);
    } while (*n == room && room <= most);
    return 1;
}

qc_status text_read(qc_job *job, const char *path, size_t most, char **text, size_t *n)
{
    *text = NULL;
    *n = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return qc_fail(job, QC_E_IO, "%s: %s", path, strerror(errno));
    int fits = read_all(file, most, text, n);
    qc_status status = !fits          ? qc_fail(job, QC_E_NOMEM, "out of memory for %s", path)
                       : ferror(file) ? qc_fail(job, QC_E_IO, "%s: %s", path, strerror(errno))
                       : *n > most    ? qc_fail(job, QC_E_LIMIT, "%s: more than %zu bytes", path, most)
                                      : QC_OK;
    fclose(file);
    return status;
}

int text_to_count(const char *text, uint64_t *value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return 0;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    *value = n;
    return errno == 0 && *end == 0;
}

int text_to_double(const char *text, double *value)
{
    char *end;
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return 0;
    *value = strtod(text, &end);
    return *end == 0 && end != text && isfinite(*value);
}

int text_to_bool(const char *text, int *value)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++)
        if (!strcmp(text, words[i])) {
            *value = i % 2;
            return 1;
        }
    return 0;
}

static const struct {
    const char *name;
    double bytes;
} byte_units[] = {{"", 1},      {"B", 1},      {"KB", 1e3},      {"MB", 1e6},         {"GB", 1e9},
                  {"TB", 1e12}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {"TiB", 1099511627776.0}};

int text_to_bytes(const char *text, uint64_t *value)
{
    char number[32];
    double n;
    size_t digits = strspn(text, ".0123456789");
    if (digits == 0 || digits >= sizeof number)
        return 0;
    memcpy(number, text, digits);
    number[digits] = 0;
    const char *unit = text + digits + strspn(text + digits, " ");
    for (size_t i = 0; i < sizeof byte_units / sizeof *byte_units; i++)
        if (!strcmp(unit, byte_units[i].name) && text_to_double(number, &n) && n * byte_units[i].bytes < 9e18) {
            *value = (uint64_t)(n * byte_units[i].bytes);
            return 1;
        }
    return 0;
}
