/* A pool of threads. What it computes does not depend on how many there are: pieces are cut as the caller said, and of
 * several failures the one of the lowest piece is reported. */
#include "core/job_impl.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_BYTES = 2 * 1024 * 1024 }; /* some systems give threads much less than the main one */

/* One parallel_for. Pieces are handed out in rising order, so all below a failing one were handed out before it. */
typedef struct task {
    qc_body body;
    void *arg;
    size_t n, chunk, n_chunks;
    uint64_t seed;
    const char *what;
    atomic_size_t next, lowest; /* lowest: failing piece; n_chunks: none */
    atomic_int cancelled;
    pthread_mutex_t lock; /* of what follows, with `lowest` */
    qc_status status;
    char message[JOB_MESSAGE_BYTES];
} task;

struct pool {
    struct job *jobs; /* jobs[0] is the caller's */
    pthread_t *threads; /* of jobs[1 ..] */
    unsigned n_threads;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    task *task;
    unsigned generation, busy;
    int ending;
    progress_fn progress;
    void *progress_arg;
};

/* Seeds of pieces: SplitMix64's finalizer over the call's seed and the piece. */
static uint64_t piece_seed(uint64_t seed, size_t index)
{
    uint64_t z = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void record_failure(task *t, struct job *j, size_t index, qc_status status)
{
    pthread_mutex_lock(&t->lock);
    if (index < atomic_load(&t->lowest)) {
        atomic_store(&t->lowest, index);
        t->status = status;
        memcpy(t->message, j->message, sizeof t->message);
        if (!j->failed)
            snprintf(t->message, sizeof t->message, "failed with status %d and no message", (int)status);
    }
    pthread_mutex_unlock(&t->lock);
    job_forget(j);
}

static void run_piece(task *t, struct job *j, size_t index)
{
    size_t begin = index * t->chunk;
    size_t end = t->n - begin < t->chunk ? t->n : begin + t->chunk;
    size_t mark = job_mark(&j->api);
    j->api.seed = piece_seed(t->seed, index);
    qc_status status = t->body(t->arg, &j->api, begin, end);
    if (status != QC_OK)
        record_failure(t, j, index, status);
    job_release(&j->api, mark);
}

/* Takes pieces until there are none left. */
static void run_pieces(task *t, struct job *j)
{
    for (;;) {
        size_t index = atomic_fetch_add(&t->next, 1);
        if (index >= t->n_chunks || index > atomic_load(&t->lowest))
            return;
        if (job_cancelled()) {
            atomic_store(&t->cancelled, 1);
            return;
        }
        run_piece(t, j, index);
    }
}

/* With the worker's job set up for this task and put back afterwards. */
static void work_on(task *t, struct job *j)
{
    uint64_t seed = j->api.seed;
    const char *what = j->what;
    int in_parallel = j->in_parallel;
    j->in_parallel = 1;
    j->what = t->what;
    run_pieces(t, j);
    j->api.seed = seed;
    j->what = what;
    j->in_parallel = in_parallel;
}

static void hand_out(pool *p, task *t)
{
    pthread_mutex_lock(&p->lock);
    p->task = t;
    p->generation++;
    p->busy = p->n_threads - 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_all(pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->busy)
        pthread_cond_wait(&p->idle, &p->lock);
    p->task = NULL;
    pthread_mutex_unlock(&p->lock);
}

static qc_status task_result(task *t, qc_job *job)
{
    if (atomic_load(&t->lowest) < t->n_chunks)
        return job->fail(job, t->status, t->message);
    if (atomic_load(&t->cancelled))
        return job->fail(job, QC_E_CANCELLED, "interrupted");
    return QC_OK;
}

qc_status pool_parallel_for(qc_job *job, size_t n, size_t chunk, qc_body body, void *arg)
{
    struct job *j = (struct job *)job;
    if (chunk == 0)
        return job->fail(job, QC_E_INTERNAL, "parallel_for with pieces of 0 items");
    if (n == 0)
        return QC_OK;
    task t = {.body = body, .arg = arg, .n = n, .chunk = chunk, .seed = job->seed, .what = j->what};
    t.n_chunks = n / chunk + (n % chunk != 0);
    atomic_init(&t.next, 0);
    atomic_init(&t.lowest, t.n_chunks);
    atomic_init(&t.cancelled, 0);
    pthread_mutex_init(&t.lock, NULL);

    int failed = j->failed; /* an earlier failure of the caller stays the first one */
    char earlier[JOB_MESSAGE_BYTES];
    memcpy(earlier, j->message, sizeof earlier);
    job_forget(j);
    int shared = !j->in_parallel && j->pool->n_threads > 1 && t.n_chunks > 1;
    if (shared)
        hand_out(j->pool, &t);
    work_on(&t, j);
    if (shared)
        wait_for_all(j->pool);
    j->failed = failed;
    memcpy(j->message, earlier, sizeof earlier);
    pthread_mutex_destroy(&t.lock);
    return task_result(&t, job);
}

static void *worker_main(void *arg)
{
    struct job *j = arg;
    pool *p = j->pool;
    unsigned seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->ending && p->generation == seen)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->ending)
            break;
        seen = p->generation;
        task *t = p->task;
        pthread_mutex_unlock(&p->lock);
        work_on(t, j);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            pthread_cond_signal(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Workers take no signals: the main thread does. Fewer threads than asked for are no failure, only slower. */
static unsigned start_threads(pool *p, unsigned n)
{
    unsigned started = 0;
    sigset_t all, before;
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0)
        return 0;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < n && pthread_create(&p->threads[started], &attr, worker_main, &p->jobs[started + 1]) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return started;
}

pool *pool_new(const qc_host *host, unsigned n_threads)
{
    if (n_threads == 0)
        n_threads = 1;
    pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->jobs = calloc(n_threads, sizeof *p->jobs);
    p->threads = calloc(n_threads, sizeof *p->threads);
    if (!p->jobs || !p->threads) {
        free(p->jobs);
        free(p->threads);
        free(p);
        return NULL;
    }
    for (unsigned i = 0; i < n_threads; i++)
        job_init(&p->jobs[i], p, host, i);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->n_threads = 1 + start_threads(p, n_threads - 1);
    return p;
}

void pool_free(pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->ending = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i + 1 < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    for (unsigned i = 0; i < p->n_threads; i++)
        job_end(&p->jobs[i]);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p->jobs);
    free(p->threads);
    free(p);
}

unsigned pool_threads(const pool *p)
{
    return p->n_threads;
}

qc_job *pool_job(pool *p)
{
    return &p->jobs[0].api;
}

void pool_set_progress(pool *p, progress_fn progress, void *arg)
{
    p->progress = progress;
    p->progress_arg = arg;
}

void pool_report(pool *p, const char *what, uint64_t done, uint64_t total)
{
    if (p->progress)
        p->progress(p->progress_arg, what, done, total);
}
