/* Characters below U+0300 never change, so only stretches of other ones, each with the character before it, are given
 * to utf8proc. A stretch ends before an ASCII character, with which nothing before it composes. */
#include "composing.h"
#include "utf8.h"
#include <string.h>
#include <utf8proc.h>

/* Normal form C makes at most three bytes of one (Unicode's annex 15); a character decomposes into at most four, and the
 * three bytes of U+1F82 into four already. U+0300 begins with byte 0xcc. */
enum { MOST_GROWTH = 3, MOST_POINTS = 16, FIRST_LEAD = 0xcc };

static const utf8proc_option_t OPTIONS = UTF8PROC_COMPOSE | UTF8PROC_STABLE;

/* U+11A7 composes with nothing, but utf8proc takes it for a final consonant that is not there, and drops it. */
enum { LONE_VOWEL = 0x11a7 };

typedef struct composing {
    qc_job *job;
    char *out;
    size_t n;
    int32_t *points; /* of one stretch, in scratch: [2 * capacity] */
    size_t capacity;
} composing;

static int is_composed(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= FIRST_LEAD)
            return 0;
    return 1;
}

/* Room for the points of n bytes, and as much again to sort them in. */
static qc_status reserve_points(composing *c, size_t n)
{
    size_t capacity = 2 * n + MOST_POINTS;
    if (capacity <= c->capacity)
        return QC_OK;
    if (capacity < 2 * c->capacity)
        capacity = 2 * c->capacity;
    c->points = capacity <= SIZE_MAX / 2 / sizeof *c->points
                    ? (int32_t *)c->job->scratch(c->job, 2 * capacity * sizeof *c->points)
                    : NULL;
    c->capacity = c->points ? capacity : 0;
    return c->points ? QC_OK : qc_fail(c->job, QC_E_NOMEM, "out of memory for a text of %zu bytes", n);
}

static void append(composing *c, const char *text, size_t n)
{
    memcpy(c->out + c->n, text, n);
    c->n += n;
}

static int class_of(int32_t point)
{
    return utf8proc_get_property(point)->combining_class;
}

/* Marks of one character by class, equal ones in their order. utf8proc sorts too, but in quadratic time. */
static void sort_marks(int32_t *marks, size_t n, int32_t *room)
{
    size_t sorted = 1, k = 0;
    while (sorted < n && class_of(marks[sorted - 1]) <= class_of(marks[sorted]))
        sorted++;
    if (sorted >= n)
        return;
    for (int class = 1; class < 256; class ++)
        for (size_t i = 0; i < n; i++)
            if (class_of(marks[i]) == class)
                room[k++] = marks[i];
    memcpy(marks, room, n * sizeof *marks);
}

static void sort_points(int32_t *points, size_t n, int32_t *room)
{
    size_t begin = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && class_of(points[i]) != 0)
            continue;
        sort_marks(points + begin, i - begin, room);
        begin = i + 1;
    }
}

static qc_status compose_points(composing *c, int32_t *points, utf8proc_ssize_t n)
{
    n = utf8proc_normalize_utf32(points, n, OPTIONS);
    if (n < 0)
        return qc_fail(c->job, QC_E_INTERNAL, "cannot normalize the text: %s", utf8proc_errmsg(n));
    for (utf8proc_ssize_t i = 0; i < n; i++)
        c->n += (size_t)utf8proc_encode_char(points[i], (utf8proc_uint8_t *)c->out + c->n);
    return QC_OK;
}

static qc_status compose_stretch(composing *c, const char *text, size_t n)
{
    utf8proc_ssize_t n_points = 0;
    int boundary = 0;
    if (reserve_points(c, n) != QC_OK || !c->points)
        return QC_E_NOMEM;
    for (size_t at = 0; at < n && n_points >= 0;) {
        uint32_t point;
        at += utf8_next(text + at, n - at, &point);
        n_points += utf8proc_decompose_char((int32_t)point, c->points + n_points, MOST_POINTS, OPTIONS, &boundary);
    }
    sort_points(c->points, (size_t)n_points, c->points + c->capacity);
    qc_status status = QC_OK;
    for (utf8proc_ssize_t begin = 0, end; begin < n_points && status == QC_OK; begin = end) {
        for (end = begin + 1; end < n_points && c->points[end] != LONE_VOWEL; end++)
            ;
        status = compose_points(c, c->points + begin, end - begin);
    }
    return status;
}

/* Where the stretch that begins at `at` ends: at the first ASCII character that another one follows. */
static size_t find_end(const char *text, size_t n, size_t at)
{
    while (at < n && (unsigned char)text[at] >= 0x80)
        at++;
    return at;
}

qc_status compose(qc_job *job, const char *text, size_t n, const char **out, size_t *out_n)
{
    *out = text;
    *out_n = n;
    if (is_composed(text, n))
        return QC_OK;
    composing c = {job, (char *)job->scratch(job, MOST_GROWTH * n + 16), 0, NULL, 0};
    qc_status status = QC_OK;
    if (!c.out)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a text");
    for (size_t at = 0, begin, end; at < n && status == QC_OK; at = end) {
        for (begin = at; begin < n && (unsigned char)text[begin] < 0x80; begin++)
            ;
        if (begin > at && begin < n)
            begin--;
        append(&c, text + at, begin - at);
        end = begin < n ? find_end(text, n, begin + 1) : n;
        if (end > begin)
            status = compose_stretch(&c, text + begin, end - begin);
    }
    *out = c.out;
    *out_n = c.n;
    return status;
}
