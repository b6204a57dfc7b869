/* Which backends run: all that fit, by rank, or one that was asked for. */
#include "core/backends.h"
#include "core/host.h"
#include "core/job.h"
#include "core/loader.h"
#include "core/registry_impl.h"
#include "core/suggest.h"
#include <stdlib.h>
#include <string.h>

/* The backends in use, lowest rank first. */
typedef struct chosen {
    const qc_backend_desc **items;
    size_t n;
} chosen;

static int compare_rank(const void *a, const void *b)
{
    const qc_backend_desc *x = *(const qc_backend_desc *const *)a, *y = *(const qc_backend_desc *const *)b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return strcmp(x->base.id, y->base.id);
}

/* `exact = no` in the manifest spares runs that want exactness the loading of a large library. */
static int is_exact(const plugin_entry *e)
{
    const char *exact = entry_value(e, "exact");
    return !exact || strcmp(exact, "no") != 0;
}

/* No recipe names them all, so one that cannot be loaded stops no run. */
static qc_status open_backends(registry *r, qc_job *job, int allow_inexact, chosen *c)
{
    for (size_t i = 0; i < r->n; i++) {
        const plugin_entry *e = r->slots[i].entry;
        const void *desc;
        if (strcmp(e->kind, "backend") != 0 || e->state != PLUGIN_USABLE || (!allow_inexact && !is_exact(e)))
            continue;
        qc_status status = registry_open(r, job, e->kind, e->id, &desc);
        if (status == QC_E_UNSUPPORTED) {
            job->host->log(job->host, QC_LOG_WARNING, job_message(job));
            job_clear(job);
            continue;
        }
        if (status != QC_OK)
            return status;
        c->items[c->n] = desc;
        c->n += allow_inexact || !(c->items[c->n]->base.flags & QC_DESC_INEXACT);
    }
    if (c->n)
        qsort(c->items, c->n, sizeof *c->items, compare_rank);
    return QC_OK;
}

static const qc_backend_desc *find_chosen(const chosen *c, const char *id)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->items[i]->base.id, id))
            return c->items[i];
    return NULL;
}

/* Why a backend that was named is not among those that were opened. */
static qc_status refuse(registry *r, qc_job *job, const char *id)
{
    const char *nearest = NULL;
    const void *desc;
    for (size_t i = 0; i < r->n; i++) {
        const plugin_entry *e = r->slots[i].entry;
        if (strcmp(e->kind, "backend") != 0)
            continue;
        nearest = suggest_better(id, nearest, e->id);
        if (!strcmp(e->id, id) && e->state != PLUGIN_USABLE)
            return qc_fail(job, QC_E_UNSUPPORTED, "backend %s: %s", id, e->why);
        if (!strcmp(e->id, id) && is_exact(e) && registry_open(r, job, e->kind, id, &desc) != QC_OK)
            return QC_E_UNSUPPORTED; /* as was said before, when it stopped nothing */
        if (!strcmp(e->id, id))
            return qc_fail(job, QC_E_INVALID,
                           "backend %s: its bits depend on the machine; run.exact: false allows that", id);
    }
    if (nearest)
        return qc_fail(job, QC_E_INVALID, "no backend '%s'; did you mean '%s'?", id, nearest);
    return qc_fail(job, QC_E_INVALID, "no backend '%s' (see qcore plugins list --kind backend)", id);
}

/* Every entry from the highest rank that has it, or from the one named, over the definitions: rank 0. */
static qc_status lay(registry *r, qc_job *job, const chosen *c, const char *name)
{
    if (name && !find_chosen(c, name))
        return refuse(r, job, name);
    for (size_t i = 0; i < c->n; i++)
        if (!name || c->items[i]->rank == 0 || !strcmp(c->items[i]->base.id, name))
            op_tables_overlay(r->tables, cpu_level(r->cpu), c->items[i]);
    return QC_OK;
}

/* "matrix.gemm=scalar" */
static qc_status pin(registry *r, qc_job *job, const chosen *c, const char *text)
{
    char entry[64];
    const char *equals = strchr(text, '='), *id = equals ? equals + 1 : "";
    if (!equals || !*id || (size_t)(equals - text) >= sizeof entry)
        return qc_fail(job, QC_E_INVALID, "ops: '%.80s' is no TABLE.ENTRY=BACKEND, as matrix.gemm=scalar", text);
    snprintf(entry, sizeof entry, "%.*s", (int)(equals - text), text);
    const qc_backend_desc *backend = find_chosen(c, id);
    if (!backend)
        return refuse(r, job, id);
    int pinned = op_tables_pin(r->tables, entry, cpu_level(r->cpu), backend);
    if (pinned < 0)
        return qc_fail(job, QC_E_INVALID, "ops: backend %s has no %s", id, entry);
    return pinned ? QC_OK : qc_fail(job, QC_E_INVALID, "ops: no entry '%s' (see qcore plugins show --ops)", entry);
}

static qc_status load(registry *r, qc_job *job, const backend_choice *choice, chosen *c)
{
    const char *name = choice->name && strcmp(choice->name, "auto") != 0 ? choice->name : NULL;
    qc_status status = open_backends(r, job, choice->allow_inexact, c);
    if (status == QC_OK)
        status = lay(r, job, c, name);
    for (size_t i = 0; i < choice->n_pins && status == QC_OK; i++)
        status = pin(r, job, c, choice->pins[i]);
    if (status == QC_OK)
        status = op_tables_publish(r->tables, job);
    if (status == QC_OK && !host_publish(job->host, QC_CPU_LEVEL, cpu_level(r->cpu)))
        status = job->fail(job, QC_E_INTERNAL, "too many op tables");
    return status;
}

qc_status registry_load_backends(registry *r, qc_job *job, const backend_choice *choice)
{
    chosen c = {.items = calloc(r->n + 1, sizeof *c.items)};
    r->tables = r->tables ? r->tables : op_tables_new();
    qc_status status = QC_E_NOMEM;
    if (c.items && r->tables) {
        op_tables_clear(r->tables);
        status = load(r, job, choice, &c);
    } else {
        job->fail(job, QC_E_NOMEM, "out of memory for op tables");
    }
    free(c.items);
    return status;
}

int registry_op(const registry *r, size_t i, char name[64], const char **backend)
{
    return r->tables ? op_tables_entry(r->tables, i, name, backend) : 0;
}
