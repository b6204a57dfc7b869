#include "core/loader.h"
#include "core/log.h"
#include "core/paths.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DESCRIPTORS = 1024 };
#define SWAPPED_MAGIC 0x51435031u

static unsigned version_part(uint32_t version, int shift)
{
    return version >> shift & 0xff;
}

/* Field by field: what is said must make sense whatever the plugin's age. */
static qc_status check_stamp(qc_job *job, const char *path, const qc_stamp *s)
{
    if (s->magic == SWAPPED_MAGIC || (s->magic == QC_ABI_MAGIC && s->big_endian != QC_BIG_ENDIAN))
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: built for %s-endian machines, this one is not", path,
                       QC_BIG_ENDIAN ? "little" : "big");
    if (s->magic != QC_ABI_MAGIC)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: not a qcore plugin: %s begins with 0x%08x instead of 0x%08x", path,
                       QC_PLUGIN_SYMBOL, (unsigned)s->magic, QC_ABI_MAGIC);
    if (s->abi_major != QC_ABI_MAJOR)
        return qc_fail(job, QC_E_UNSUPPORTED,
                       "%s: plugin speaks ABI %u.%u (SDK %u.%u.%u), this qcore speaks %d.%d: rebuild it", path,
                       s->abi_major, s->abi_minor, version_part(s->sdk_version, 16), version_part(s->sdk_version, 8),
                       version_part(s->sdk_version, 0), QC_ABI_MAJOR, QC_ABI_MINOR);
    if (s->ptr_bytes != sizeof(void *))
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: built with pointers of %u bytes, this qcore's have %zu", path,
                       s->ptr_bytes, sizeof(void *));
    if (s->long_bytes != sizeof(long))
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: built with `long` of %u bytes, this qcore's has %zu", path,
                       s->long_bytes, sizeof(long));
    return QC_OK;
}

static qc_status check_list(qc_job *job, const char *path, const qc_plugin *p)
{
    if (p->size < sizeof *p)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: %s has %u bytes, at least %zu are needed", path, QC_PLUGIN_SYMBOL,
                       (unsigned)p->size, sizeof *p);
    if (p->n_descs == 0 || p->n_descs > MAX_DESCRIPTORS || !p->descs)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: %s lists %u descriptors", path, QC_PLUGIN_SYMBOL,
                       (unsigned)p->n_descs);
    for (uint32_t i = 0; i < p->n_descs; i++) {
        const qc_desc *d = p->descs[i];
        if (!d || d->size < sizeof *d || !d->kind || !d->id)
            return qc_fail(job, QC_E_UNSUPPORTED, "%s: descriptor %u has no size, kind or id", path, (unsigned)i);
    }
    return QC_OK;
}

const qc_desc *find_descriptor(const qc_plugin *plugin, const char *kind, const char *id)
{
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (!strcmp(plugin->descs[i]->kind, kind) && !strcmp(plugin->descs[i]->id, id))
            return plugin->descs[i];
    return NULL;
}

static const plugin_entry *promised(const manifest *m, const qc_desc *d)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        const char *kind = kind_of_word(m->entries[i].kind);
        if (kind && !strcmp(kind, d->kind) && !strcmp(m->entries[i].id, d->id))
            return &m->entries[i];
    }
    return NULL;
}

/* The library is the authority; a manifest that says otherwise would have fooled every check made without it. */
static qc_status check_agreement(qc_job *job, const char *path, const manifest *m, const qc_plugin *p)
{
    for (uint32_t i = 0; i < p->n_descs; i++) {
        const qc_desc *d = p->descs[i];
        if (!kind_is_known(d->kind))
            log_say(job->host, QC_LOG_INFO, "%s: %s %s is of a kind that this qcore does not know; skipped", path,
                    d->kind, d->id);
        else if (!promised(m, d))
            return qc_fail(job, QC_E_UNSUPPORTED, "%s: carries %s %s, of which %s says nothing", path, d->kind, d->id,
                           m->path);
    }
    for (size_t i = 0; i < m->n_entries; i++) {
        const plugin_entry *e = &m->entries[i];
        const char *kind = kind_of_word(e->kind);
        if (kind && !find_descriptor(p, kind, e->id))
            return qc_fail(job, QC_E_UNSUPPORTED, "%s: promises [%s:%s], but %s has no %s of that id (first: %s %s)",
                           m->path, e->kind, e->id, path, kind, p->descs[0]->kind, p->descs[0]->id);
    }
    return QC_OK;
}

static qc_status open_at(qc_job *job, const manifest *m, const char *path, const qc_plugin **out)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        return qc_fail(job, QC_E_UNSUPPORTED, "cannot be loaded: %s", why ? why : path);
    }
    const qc_plugin *plugin = dlsym(handle, QC_PLUGIN_SYMBOL);
    if (!plugin)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: not a qcore plugin: it has no symbol %s", path, QC_PLUGIN_SYMBOL);
    qc_status status = check_stamp(job, path, &plugin->stamp);
    if (status == QC_OK)
        status = check_list(job, path, plugin);
    if (status == QC_OK)
        status = check_agreement(job, path, m, plugin);
    if (status == QC_OK)
        *out = plugin;
    return status;
}

qc_status library_open(qc_job *job, const manifest *m, const qc_plugin **out)
{
    char *path = manifest_library(m);
    *out = NULL;
    qc_status status = path ? open_at(job, m, path, out) : job->fail(job, QC_E_NOMEM, "out of memory");
    free(path);
    return status;
}
