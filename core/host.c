#include "core/host.h"
#include "core/log.h"
#include "core/settings.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, MAX_OBJECTS = 64 };

struct host {
    qc_host api; /* first: a qc_host * is a struct host * */
    log_sink sink;
    void *sink_arg;
    int level;
    pthread_mutex_t lock; /* of the sink */
    struct {
        const char *id;
        const void *object;
    } objects[MAX_OBJECTS];
    size_t n_objects;
};

static struct host *own(const qc_host *host)
{
    union {
        const qc_host *shown; /* const to plugins; the sink's lock is ours to take */
        struct host *own;
    } host_of = {host};
    return host_of.own;
}

static void host_log(const qc_host *host, int level, const char *message)
{
    struct host *h = own(host);
    if (level > h->level)
        return;
    pthread_mutex_lock(&h->lock);
    h->sink(h->sink_arg, level, message);
    pthread_mutex_unlock(&h->lock);
}

static void *host_alloc(const qc_host *host, size_t bytes)
{
    (void)host;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = bytes ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
    void *p = aligned_alloc(ALIGNMENT, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

static void host_release(const qc_host *host, void *p)
{
    (void)host;
    free(p);
}

static const void *host_find(const qc_host *host, const char *id)
{
    const struct host *h = own(host);
    for (size_t i = 0; i < h->n_objects; i++)
        if (!strcmp(h->objects[i].id, id))
            return h->objects[i].object;
    return NULL;
}

int host_publish(const qc_host *host, const char *id, const void *object)
{
    struct host *h = own(host);
    size_t i = 0;
    while (i < h->n_objects && strcmp(h->objects[i].id, id) != 0)
        i++;
    if (i == MAX_OBJECTS)
        return 0;
    h->objects[i].id = id;
    h->objects[i].object = object;
    if (i == h->n_objects)
        h->n_objects++;
    return 1;
}

void host_set_log(qc_host *host, log_sink sink, void *arg)
{
    own(host)->sink = sink ? sink : log_to_stderr;
    own(host)->sink_arg = arg;
}

void host_set_log_level(qc_host *host, int level)
{
    own(host)->level = level;
}

qc_host *host_new(void)
{
    struct host *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->api = (qc_host){sizeof h->api, QC_ABI_MAJOR, QC_ABI_MINOR,    host_log,     host_alloc,
                       host_release,  host_find,    settings_number, settings_text};
    h->sink = log_to_stderr;
    h->level = QC_LOG_WARNING;
    pthread_mutex_init(&h->lock, NULL);
    return &h->api;
}

void host_free(qc_host *host)
{
    if (!host)
        return;
    pthread_mutex_destroy(&own(host)->lock);
    free(host);
}
