/* Reading a file of a qc_source front to back: buffered, bounded by the file's length, little-endian.
 *
 * The first error sticks: later reads give zeros and move nothing, so a parser checks `status` once per item, and
 * before any size it was told is used. Every message begins with the file's name. */
#ifndef QCORE_READER_H
#define QCORE_READER_H

#include "qcore/model.h"

#define QC_READER_WINDOW 65536

typedef struct qc_reader {
    qc_job *job;
    const qc_source *src;
    uint32_t file;
    qc_status status;
    uint64_t at, length; /* next byte to read; bytes of the file */
    uint64_t window_at; /* window holds window_n bytes of the file from here */
    size_t window_n;
    unsigned char *window;
} qc_reader;

/* Points a zeroed or used reader at the beginning of a file. The window lives in the job's scratch. */
static inline qc_status qc_reader_open(qc_reader *r, qc_job *job, const qc_source *src, uint32_t file)
{
    r->job = job;
    r->src = src;
    r->file = file;
    r->status = QC_OK;
    r->at = r->window_at = 0;
    r->window_n = 0;
    r->length = src->length(src, file);
    if (!r->window)
        r->window = (unsigned char *)job->scratch(job, QC_READER_WINDOW);
    if (!r->window)
        r->status = job->fail(job, QC_E_NOMEM, "out of memory for a read buffer");
    return r->status;
}

static inline uint64_t qc_reader_left(const qc_reader *r)
{
    return r->length - r->at;
}

/* printf-style; "FILE: " goes in front. Returns the status that sticks: the first. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline qc_status
qc_reader_fail(qc_reader *r, qc_status code, const char *format, ...)
{
    if (r->status != QC_OK)
        return r->status;
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return r->status = qc_fail(r->job, code, "%.100s: %s", r->src->name(r->src, r->file), message);
}

/* Are n more bytes there? Fails where not. */
static inline int qc_reader_has(qc_reader *r, uint64_t n)
{
    if (r->status == QC_OK && n > qc_reader_left(r))
        qc_reader_fail(r, QC_E_CORRUPT, "cut short: %llu bytes wanted at byte %llu, the file has %llu",
                       (unsigned long long)n, (unsigned long long)r->at, (unsigned long long)r->length);
    return r->status == QC_OK;
}

static inline void qc_reader_skip(qc_reader *r, uint64_t n)
{
    if (qc_reader_has(r, n))
        r->at += n;
}

/* Bytes of the window from r->at on, filled anew where it is used up. There is at least one byte left in the file. */
static inline size_t qc_reader_fill(qc_reader *r)
{
    if (r->at >= r->window_at && r->at - r->window_at < r->window_n)
        return r->window_n - (size_t)(r->at - r->window_at);
    uint64_t left = qc_reader_left(r);
    size_t n = left < QC_READER_WINDOW ? (size_t)left : QC_READER_WINDOW;
    r->window_n = 0;
    r->status = r->src->read_at(r->src, r->job, r->file, r->at, n, r->window);
    if (r->status != QC_OK)
        return 0;
    r->window_at = r->at;
    return r->window_n = n;
}

static inline void qc_read_bytes(qc_reader *r, void *dst, size_t n)
{
    unsigned char *to = (unsigned char *)dst;
    if (!qc_reader_has(r, n))
        return;
    while (n > 0) {
        size_t here = qc_reader_fill(r);
        if (here == 0)
            return;
        if (here > n)
            here = n;
        memcpy(to, r->window + (r->at - r->window_at), here);
        r->at += here;
        to += here;
        n -= here;
    }
}

/* A little-endian number of n_bytes (1 .. 8); 0 after an error. */
static inline uint64_t qc_read_number(qc_reader *r, size_t n_bytes)
{
    unsigned char bytes[8] = {0};
    uint64_t value = 0;
    qc_read_bytes(r, bytes, n_bytes);
    for (size_t i = n_bytes; r->status == QC_OK && i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static inline uint32_t qc_read_u32(qc_reader *r)
{
    return (uint32_t)qc_read_number(r, 4);
}

static inline uint64_t qc_read_u64(qc_reader *r)
{
    return qc_read_number(r, 8);
}

#endif
