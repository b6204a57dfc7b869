#include "core/array.h"
#include "core/job.h"
#include "core/loader.h"
#include "core/log.h"
#include "core/registry_impl.h"
#include "core/suggest.h"
#include <stdlib.h>
#include <string.h>

/* Rows far beyond any model's; what a chunk of them needs still fits 64 bits. */
#define MAX_COLS ((uint64_t)1 << 40)
#define MAX_ROW_BYTES ((uint64_t)1 << 44)

static qc_status no_memory(qc_job *job)
{
    return job->fail(job, QC_E_NOMEM, "out of memory for the list of plugins");
}

/* ---- making it: manifests as discover.c found them ---- */

/* Kind, then id, then the order in which they were found. */
static int compare_slots(const void *a, const void *b)
{
    const slot *x = a, *y = b;
    int order = strcmp(x->entry->kind, y->entry->kind);
    if (!order)
        order = strcmp(x->entry->id, y->entry->id);
    return order ? order : x->found < y->found ? -1 : 1;
}

static void set_state(plugin_entry *e, plugin_state state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void set_state(plugin_entry *e, plugin_state state, const char *format, ...)
{
    char why[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    e->state = state;
    free(e->why);
    e->why = strdup(why); /* NULL when out of memory: still not usable */
}

/* Not usable for what its own manifest says. */
static void judge(const registry *r, plugin_entry *e)
{
    const manifest *m = e->manifest;
    char missing[32];
    if (e->state != PLUGIN_USABLE)
        return;
    if (!kind_of_word(e->kind))
        set_state(e, PLUGIN_SKIPPED, "kind '%s' is not known to this qcore", e->kind);
    else if (m->abi_major != QC_ABI_MAJOR || m->abi_minor > QC_ABI_MINOR)
        set_state(e, PLUGIN_BROKEN, "%s: needs ABI %u.%u, this qcore speaks %d.%d", m->path, m->abi_major, m->abi_minor,
                  QC_ABI_MAJOR, QC_ABI_MINOR);
    else if (m->cpu && !cpu_has(r->cpu, m->cpu, missing))
        set_state(e, PLUGIN_FILTERED, "needs CPU level %s, this one is taken for %s", missing, cpu_level(r->cpu));
}

/* First wins; one that this CPU cannot run takes no id. */
static void shadow_repeats(registry *r)
{
    const plugin_entry *first = NULL;
    for (size_t i = 0; i < r->n; i++) {
        plugin_entry *e = r->slots[i].entry;
        int same = first && !strcmp(first->kind, e->kind) && !strcmp(first->id, e->id);
        if (same && e->state != PLUGIN_UNSAFE && strcmp(e->kind, "plugin") != 0)
            set_state(e, PLUGIN_SHADOWED, "%s has the same id, and is found first", first->manifest->path);
        else if (!same)
            first = e->state == PLUGIN_FILTERED ? NULL : e;
    }
}

static qc_status collect_slots(registry *r, qc_job *job)
{
    size_t capacity = 0;
    for (size_t i = 0; i < r->n_manifests; i++)
        for (size_t k = 0; k < r->manifests[i]->n_entries; k++) {
            plugin_entry *e = &r->manifests[i]->entries[k];
            if (!array_reserve(&r->slots, &capacity, r->n, sizeof *r->slots))
                return no_memory(job);
            judge(r, e);
            r->slots[r->n] = (slot){e, i, r->n, NULL};
            r->n++;
        }
    if (r->n)
        qsort(r->slots, r->n, sizeof *r->slots, compare_slots);
    shadow_repeats(r);
    return QC_OK;
}

qc_status registry_new(qc_job *job, const char *const *folders, size_t n_folders, const char *cpu_mask, registry **out)
{
    *out = NULL;
    registry *r = calloc(1, sizeof *r);
    if (!r)
        return no_memory(job);
    r->cpu = cpu_detect();
    qc_status status = cpu_mask && *cpu_mask ? cpu_limit(job, &r->cpu, cpu_mask) : QC_OK;
    for (size_t i = 0; i < n_folders && status == QC_OK; i++)
        status = discover(job, r, folders[i]);
    if (status == QC_OK && r->n_manifests) {
        r->libraries = calloc(r->n_manifests, sizeof *r->libraries);
        status = r->libraries ? QC_OK : no_memory(job);
    }
    if (status == QC_OK)
        status = collect_slots(r, job);
    if (status == QC_OK)
        *out = r;
    else
        registry_free(r);
    return status;
}

void registry_free(registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        free(r->slots[i].desc);
    for (size_t i = 0; i < r->n_manifests; i++)
        manifest_free(r->manifests[i]);
    free(r->slots);
    free(r->manifests);
    free(r->libraries);
    op_tables_free(r->tables);
    free(r);
}

/* ---- asking it ---- */

size_t registry_count(const registry *r)
{
    return r->n;
}

const plugin_entry *registry_at(const registry *r, size_t i)
{
    return r->slots[i].entry;
}

const char *registry_cpu(const registry *r)
{
    return cpu_level(r->cpu);
}

/* The one that has the id, usable or not. */
static slot *find_slot(const registry *r, const char *kind, const char *id)
{
    slot *found = NULL;
    for (size_t i = 0; i < r->n; i++) {
        plugin_entry *e = r->slots[i].entry;
        if (strcmp(e->kind, kind) != 0 || strcmp(e->id, id) != 0)
            continue;
        if (e->state == PLUGIN_USABLE)
            return &r->slots[i];
        if (!found)
            found = &r->slots[i];
    }
    return found;
}

const plugin_entry *registry_entry(const registry *r, const char *kind, const char *id)
{
    const slot *s = find_slot(r, kind, id);
    return s && s->entry->state == PLUGIN_USABLE ? s->entry : NULL;
}

const char *entry_value(const plugin_entry *e, const char *key)
{
    for (size_t i = 0; i < e->n_keys; i++)
        if (!strcmp(e->keys[i], key))
            return e->values[i];
    return NULL;
}

size_t registry_unusable(const registry *r, const plugin_entry **first)
{
    size_t n = 0;
    *first = NULL;
    for (size_t i = 0; i < r->n; i++) {
        const plugin_entry *e = r->slots[i].entry;
        if (e->state != PLUGIN_BROKEN && e->state != PLUGIN_UNSAFE)
            continue;
        *first = n++ ? *first : e;
    }
    return n;
}

/* ---- opening ---- */

static const char *nearest_id(const registry *r, const char *kind, const char *id)
{
    const char *nearest = NULL;
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->slots[i].entry->kind, kind))
            nearest = suggest_better(id, nearest, r->slots[i].entry->id);
    return nearest;
}

/* A manifest that could not be read in a folder of that name is most likely the one that was meant. */
static qc_status unknown_id(const registry *r, qc_job *job, const char *kind, const char *id)
{
    const slot *unread = find_slot(r, "plugin", id);
    if (unread)
        return qc_fail(job, QC_E_UNSUPPORTED, "no %s '%s': %s", kind, id, unread->entry->why);
    const char *nearest = nearest_id(r, kind, id);
    if (nearest)
        return qc_fail(job, QC_E_INVALID, "no %s '%s'; did you mean '%s'?", kind, id, nearest);
    return qc_fail(job, QC_E_INVALID, "no %s '%s' (see: qcore plugins list --kind %s)", kind, id, kind);
}

static qc_status open_library(registry *r, qc_job *job, size_t manifest_index)
{
    const qc_plugin **library = &r->libraries[manifest_index];
    return *library ? QC_OK : library_open(job, r->manifests[manifest_index], library);
}

static qc_status open_slot(registry *r, qc_job *job, slot *s)
{
    plugin_entry *e = s->entry;
    if (e->state != PLUGIN_USABLE)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s %s cannot be used: %s", e->kind, e->id,
                       e->why ? e->why : "out of memory");
    if (s->desc)
        return QC_OK;
    qc_status status = open_library(r, job, s->manifest_index);
    if (status == QC_OK)
        status = descriptor_copy(job, e, r->libraries[s->manifest_index], r->cpu, &s->desc);
    if (status == QC_E_UNSUPPORTED) {
        set_state(e, PLUGIN_BROKEN, "%s", job_message(job));
        job_add_context(job, "%s %s cannot be used", e->kind, e->id);
    }
    return status;
}

qc_status registry_open(registry *r, qc_job *job, const char *kind, const char *id, const void **desc)
{
    slot *s = find_slot(r, kind, id);
    *desc = NULL;
    if (!s)
        return unknown_id(r, job, kind, id);
    qc_status status = open_slot(r, job, s);
    if (status == QC_OK)
        *desc = s->desc;
    return status;
}

/* Bytes of a row; 0 where 64 bits do not count them. */
static int row_size(const qc_encoding_desc *d, uint64_t cols, uint64_t *bytes)
{
    if (d->block_cols)
        return qc_mul_size(cols / d->block_cols, d->block_bytes, bytes);
    if (cols > UINT32_MAX || !qc_mul_size(cols, d->code_bits, bytes))
        return 0;
    *bytes = d->block_bytes + (*bytes + 7) / 8;
    return 1;
}

qc_status registry_coder(registry *r, qc_job *job, const char *encoding, uint64_t cols, qc_coder *coder)
{
    const void *desc;
    uint64_t row_bytes;
    qc_status status = registry_open(r, job, "encoding", encoding, &desc);
    if (status != QC_OK || !desc)
        return status;
    const loaded_encoding *l = desc;
    if (cols == 0 || cols > SIZE_MAX || (l->desc.block_cols && cols % l->desc.block_cols))
        return qc_fail(job, QC_E_INVALID, "rows of %llu weights cannot be %s, whose blocks have %u",
                       (unsigned long long)cols, encoding, l->desc.block_cols);
    if (cols > MAX_COLS || !row_size(&l->desc, cols, &row_bytes) || row_bytes > MAX_ROW_BYTES)
        return qc_fail(job, QC_E_LIMIT, "rows of %llu weights are too long", (unsigned long long)cols);
    *coder = (qc_coder){.size = sizeof *coder,
                        .block_cols = l->desc.block_cols ? l->desc.block_cols : (uint32_t)cols,
                        .cols = (size_t)cols,
                        .row_bytes = (size_t)row_bytes,
                        .desc = &l->desc,
                        .ops = &l->ops};
    return QC_OK;
}

qc_status registry_variant(registry *r, qc_job *job, const char *encoding, const char **level)
{
    const void *desc;
    qc_status status = registry_open(r, job, "encoding", encoding, &desc);
    *level = status == QC_OK && desc ? ((const loaded_encoding *)desc)->variant : NULL;
    return status;
}
