/* Jobs and the thread pool: the core's own qc_job, its scratch arena, its first-failure slot. */
#ifndef CORE_JOB_H
#define CORE_JOB_H

#include "qcore/host.h"

typedef struct pool pool;

/* A pool of n_threads workers (the caller's thread is worker 0, so 1 starts none). NULL when out of memory. */
pool *pool_new(const qc_host *host, unsigned n_threads);
void pool_free(pool *p);
unsigned pool_threads(const pool *p);

/* The job of the thread that made the pool. Core functions take a qc_job and fail through it, as plugins do. */
qc_job *pool_job(pool *p);

/* The first message since the last job_clear, "" if none; borrowed until then. */
const char *job_message(const qc_job *job);
void job_clear(qc_job *job); /* forgets the failure and gives scratch back to the job's arena */

void job_forgive(qc_job *job); /* forgets the failure alone: what failed can be done without */

/* Scratch taken after a mark goes back at job_release: for loops inside one call. */
size_t job_mark(const qc_job *job);
void job_release(qc_job *job, size_t mark);

/* Puts "where: " before the job's message, as errors travel up to those who know tensor, file or recipe line. */
void job_add_context(qc_job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts " (FILE:LINE:COLUMN)" behind it; line 0: nowhere, nothing. */
void job_add_place(qc_job *job, const char *file, unsigned line, unsigned column);

/* Figures that a plugin has told since they were last forgotten. */
typedef struct job_figure {
    char name[24];
    double value;
} job_figure;

const job_figure *job_figures(const qc_job *job, size_t *n);
void job_forget_figures(qc_job *job);

/* Set from the signal handler: every parallel_for and progress then ends with QC_E_CANCELLED. Async-signal-safe. */
void job_cancel_all(void);
int job_cancelled(void);

/* What progress of the whole run looks like is the program's business: called from any worker, rarely blocking. */
typedef void (*progress_fn)(void *arg, const char *what, uint64_t done, uint64_t total);
void pool_set_progress(pool *p, progress_fn progress, void *arg); /* NULL: none. [main-thread] */
void job_set_task(qc_job *job, const char *what); /* `what` of this job's progress, and of its parallel_for; borrowed */

#endif
