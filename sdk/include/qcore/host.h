/* What the host gives a plugin: qc_host for the whole process, qc_job for one call on one worker.
 *
 * Errors: return a status, and say why once with job->fail (or qc_fail below). The job keeps the first message; the
 * host adds plugin, tensor, file and recipe line. A plugin never prints, exits, aborts, signals or starts threads.
 */
#ifndef QCORE_HOST_H
#define QCORE_HOST_H

#include "qcore/abi.h"
#include <stdarg.h>
#include <stdio.h>

typedef struct qc_host qc_host;
typedef struct qc_job qc_job;
/* The settings of one plugin use; every name is typed and ranged by plugin.ini. */
typedef struct qc_settings qc_settings;

enum { QC_LOG_ERROR = 0, QC_LOG_WARNING = 1, QC_LOG_INFO = 2, QC_LOG_DEBUG = 3 };

/* Process-wide services. [any-thread] throughout. */
struct qc_host {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    void (*log)(const qc_host *host, int level, const char *message);
    /* 64-aligned, zeroed, long-lived; NULL when out of memory; owned: free. */
    void *(*alloc)(const qc_host *host, size_t bytes);
    void (*free)(const qc_host *host, void *p); /* NULL is fine */
    const void *(*find)(const qc_host *host, const char *id); /* op table or extension by id; NULL: unknown; static */
    /* A setting by name; the manifest has typed it, ranged it and given its default. Unknown names read 0 and "". */
    double (*number)(const qc_settings *settings, const char *name); /* int, float, bool */
    const char *(*text)(const qc_settings *settings, const char *name); /* borrowed, as long as the settings */
};

/* Work on items [begin, end) of a parallel_for, with the worker's own job. [job-thread] */
typedef qc_status (*qc_body)(void *arg, qc_job *job, size_t begin, size_t end);

/* One call on one worker. [job-thread] throughout: a job belongs to one thread at a time. */
struct qc_job {
    uint32_t size, worker; /* worker: 0 .. number of threads - 1 */
    const qc_host *host;
    uint64_t seed; /* of run seed, tensor and first row: never of thread or time */
    /* 64-aligned, not zeroed, gone after the call; NULL when out of memory. */
    void *(*scratch)(qc_job *job, size_t bytes);
    /* Runs body over [0, n) in pieces of `chunk` items, which the plugin fixes: never derived from the thread count. */
    qc_status (*parallel_for)(qc_job *job, size_t n, size_t chunk, qc_body body, void *arg);
    qc_status (*fail)(qc_job *job, qc_status code, const char *message); /* keeps the first message; returns code */
    qc_status (*progress)(qc_job *job, uint64_t done, uint64_t total); /* QC_E_CANCELLED when the user gave up */
    /* Since ABI 0.3. A figure that a method's prepare or transform came to ("damping", "alpha"), shown beside every
     * linear it holds for. Copied; a second one of that name replaces the first; elsewhere it does nothing. */
    void (*figure)(qc_job *job, const char *name, double value);
    /* Since ABI 0.3. Forgets a failure that this call can do without; the job's own status is the plugin's to return. */
    void (*forget)(qc_job *job);
};

/* printf-style job->fail. Returns code. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline qc_status
qc_fail(qc_job *job, qc_status code, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return job->fail(job, code, message);
}

/* job->figure, where the host has it. */
static inline void qc_tell_figure(qc_job *job, const char *name, double value)
{
    if (QC_HAS(job, qc_job, figure) && job->figure)
        job->figure(job, name, value);
}

/* job->forget, where the host has it: else the message stands, should something else fail later. */
static inline void qc_forget(qc_job *job)
{
    if (QC_HAS(job, qc_job, forget) && job->forget)
        job->forget(job);
}

/* n * size in *bytes; 0 (and *bytes untouched) when it does not fit. For every size that a file has a say in. */
static inline int qc_mul_size(uint64_t n, uint64_t size, uint64_t *bytes)
{
    if (size != 0 && n > UINT64_MAX / size)
        return 0;
    *bytes = n * size;
    return 1;
}

#endif
