#include "core/chunk.h"
#include <pthread.h>
#include <stdlib.h>

struct preparation {
    pthread_mutex_t lock;
    void *prepared;
    int made;
    uint64_t left; /* chunks that will still ask */
};

static preparation *find(const pipeline *p, const chunk *c)
{
    return &p->preparations[c->work->first_matrix + c->matrix];
}

qc_status preparations_new(pipeline *p, qc_job *job)
{
    if (!p->method || !p->method->prepare)
        return QC_OK;
    p->preparations = p->n_matrices <= SIZE_MAX / sizeof *p->preparations
                          ? calloc((size_t)p->n_matrices + 1, sizeof *p->preparations)
                          : NULL;
    if (!p->preparations)
        return qc_fail(job, QC_E_NOMEM, "out of memory for what the method prepares");
    for (size_t i = 0; i < p->n_works; i++) {
        const work *w = &p->works[i];
        uint64_t bytes = p->method->memory && is_rounded(w) ? p->method->memory(p->state, w->from.cols) : 0;
        p->most_prepared = bytes > p->most_prepared ? bytes : p->most_prepared;
        for (uint64_t k = 0; is_rounded(w) && k < w->n_matrices; k++) {
            pthread_mutex_init(&p->preparations[w->first_matrix + k].lock, NULL);
            p->preparations[w->first_matrix + k].left = w->chunks_each;
        }
    }
    return QC_OK;
}

static void release(const pipeline *p, preparation *one)
{
    if (one->made && p->method->release)
        p->method->release(p->host, one->prepared);
    one->made = 0;
    one->prepared = NULL;
}

void preparations_free(pipeline *p)
{
    for (uint64_t i = 0; p->preparations && i < p->n_matrices; i++) {
        release(p, &p->preparations[i]);
        pthread_mutex_destroy(&p->preparations[i].lock);
    }
    free(p->preparations);
    p->preparations = NULL;
}

qc_status preparation_take(const pipeline *p, qc_job *job, const chunk *c, const qc_input *input, const void **prepared)
{
    *prepared = NULL;
    if (!p->preparations)
        return QC_OK;
    preparation *one = find(p, c);
    qc_status status = QC_OK;
    pthread_mutex_lock(&one->lock);
    if (!one->made) {
        status = p->method->prepare(job, p->state, input, c->work->item->to.desc, NULL, &one->prepared);
        one->made = status == QC_OK;
    }
    *prepared = one->prepared;
    pthread_mutex_unlock(&one->lock);
    return status;
}

void preparation_done(const pipeline *p, const chunk *c)
{
    if (!p->preparations)
        return;
    preparation *one = find(p, c);
    pthread_mutex_lock(&one->lock);
    if (--one->left == 0)
        release(p, one);
    pthread_mutex_unlock(&one->lock);
}
