/* The tokenizer plugin of a model, and lists of ids that it fills. */
#include "core/tokens.h"
#include "core/job.h"
#include "core/names.h"
#include <stdlib.h>

struct tokenizer {
    const qc_host *host;
    const qc_tokenizer_desc *plugin;
    const char *id, *path; /* of the plugin, of the model: for messages */
    void *state;
    model_view metadata;
};

/* ---- opening ---- */

/* The plugin whose manifest has the metadata's tokenizer.ggml.model under `gguf`. */
static const plugin_entry *find_plugin(const registry *r, const char *name)
{
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        if (e->state == PLUGIN_USABLE && !strcmp(e->kind, "tokenizer") && list_has(entry_value(e, "gguf"), name))
            return e;
    }
    return NULL;
}

static qc_status refuse_kind(const tokenizer *t, qc_job *job, const char *name)
{
    return qc_fail(job, QC_E_UNSUPPORTED, "%s: no plugin encodes texts for its kind of tokenizer, '%.60s'", t->path,
                   name);
}

static qc_status open_plugin(tokenizer *t, qc_job *job, registry *r)
{
    char name[NAME_BYTES];
    const qc_text *kind = qc_metadata_text(&t->metadata.api, "tokenizer.ggml.model");
    const void *desc;
    if (!kind)
        return qc_fail(job, QC_E_INVALID,
                       "%s: its metadata has no tokenizer (tokenizer.ggml.model), so it cannot read texts", t->path);
    snprintf(name, sizeof name, "%.*s", (int)(kind->length < sizeof name ? kind->length : sizeof name - 1), kind->data);
    const plugin_entry *e = find_plugin(r, name);
    if (!e)
        return refuse_kind(t, job, name);
    qc_status status = registry_open(r, job, "tokenizer", e->id, &desc);
    if (status != QC_OK)
        return status;
    t->plugin = (const qc_tokenizer_desc *)desc;
    t->id = e->id;
    if (!t->plugin->open || !t->plugin->close || !t->plugin->special || !t->plugin->encode || !t->plugin->piece)
        return refuse_kind(t, job, name);
    status = t->plugin->open(job, &t->metadata.api, &t->state);
    if (status != QC_OK)
        job_add_context(job, "%s: tokenizer %s", t->path, t->id);
    return status;
}

qc_status tokenizer_open(qc_job *job, registry *r, const model *m, tokenizer **out)
{
    tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t)
        return job->fail(job, QC_E_NOMEM, "out of memory for a tokenizer");
    t->host = job->host;
    t->path = m->path;
    t->metadata = model_view_of(m);
    qc_status status = open_plugin(t, job, r);
    if (status == QC_OK)
        *out = t;
    else
        tokenizer_free(t);
    return status;
}

void tokenizer_free(tokenizer *t)
{
    if (t && t->state)
        t->plugin->close(t->host, t->state);
    free(t);
}

/* ---- using it ---- */

void tokenizer_special(const tokenizer *t, qc_special_tokens *out)
{
    *out = (qc_special_tokens){sizeof *out, QC_NO_TOKEN, QC_NO_TOKEN, 0, 0};
    t->plugin->special(t->state, out);
}

const char *tokenizer_piece(const tokenizer *t, uint32_t token, size_t *n)
{
    return t->plugin->piece(t->state, token, n);
}

typedef struct pusher {
    qc_tokens api; /* first: push gets it back */
    token_list *list;
    size_t most; /* that the list will hold */
} pusher;

static int grow(token_list *list, size_t n)
{
    size_t capacity = list->capacity < 2048 ? 4096 : 2 * list->capacity;
    while (capacity < list->n + n)
        capacity *= 2;
    uint32_t *more = capacity <= SIZE_MAX / sizeof *more ? realloc(list->ids, capacity * sizeof *more) : NULL;
    if (!more)
        return 0;
    list->ids = more;
    list->capacity = capacity;
    return 1;
}

/* When the list is full, the plugin is made to end: it returns what this returns. */
static qc_status push_ids(const qc_tokens *out, qc_job *job, const uint32_t *ids, size_t n)
{
    const pusher *p = (const pusher *)(const void *)out;
    token_list *list = p->list;
    if (job_cancelled()) /* texts may be long */
        return qc_fail(job, QC_E_CANCELLED, "interrupted");
    size_t room = p->most - list->n, taken = n < room ? n : room;
    if (taken > list->capacity - list->n && !grow(list, taken))
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu tokens", list->n + n);
    if (taken)
        memcpy(list->ids + list->n, ids, taken * sizeof *ids);
    list->n += taken;
    return taken < n || list->n == p->most ? QC_E_CANCELLED : QC_OK;
}

qc_status tokenizer_encode_first(const tokenizer *t, qc_job *job, const char *text, size_t n, uint32_t flags,
                                 size_t most, token_list *out)
{
    most = most && most < SIZE_MAX - out->n ? out->n + most : SIZE_MAX;
    const pusher p = {{sizeof p.api, push_ids}, out, most};
    size_t mark = job_mark(job);
    qc_status status = t->plugin->encode(job, t->state, text, n, flags, &p.api);
    job_release(job, mark);
    if (status == QC_E_CANCELLED && out->n == most) {
        job_forgive(job);
        return QC_OK;
    }
    if (status != QC_OK && status != QC_E_CANCELLED)
        job_add_context(job, "tokenizer %s", t->id);
    return status;
}

qc_status tokenizer_encode(const tokenizer *t, qc_job *job, const char *text, size_t n, uint32_t flags, token_list *out)
{
    return tokenizer_encode_first(t, job, text, n, flags, 0, out);
}
