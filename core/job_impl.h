/* What job.c and pool.c share: the inside of a job. */
#ifndef CORE_JOB_IMPL_H
#define CORE_JOB_IMPL_H

#include "core/job.h"
#include <signal.h>

enum { JOB_MESSAGE_BYTES = 2048 };

/* Scratch is a stack over several blocks; `start` counts the bytes in use below a block, so a mark is one number. */
typedef struct arena_block {
    unsigned char *data;
    size_t size, used, start;
} arena_block;

typedef struct arena {
    arena_block *blocks;
    size_t n, capacity, current;
} arena;

enum { MAX_FIGURES = 16 };

struct job {
    qc_job api; /* first: a qc_job * is a struct job * */
    struct pool *pool;
    arena arena;
    const char *what;
    int failed, in_parallel; /* in_parallel: inside a parallel_for already, so another runs inline */
    char message[JOB_MESSAGE_BYTES];
    job_figure figures[MAX_FIGURES];
    size_t n_figures;
};

void job_init(struct job *j, struct pool *p, const qc_host *host, uint32_t worker);
void job_end(struct job *j);
void job_forget(struct job *j); /* the failure only */

qc_status pool_parallel_for(qc_job *job, size_t n, size_t chunk, qc_body body, void *arg);
void pool_report(struct pool *p, const char *what, uint64_t done, uint64_t total);

#endif
