/* Finds <folder>/<name>/plugin.ini. What is unsafe is not read; what cannot be read stands in the list with the reason. */
#include "core/array.h"
#include "core/job.h"
#include "core/paths.h"
#include "core/registry_impl.h"
#include "core/safety.h"
#include <unistd.h>

enum { WHY_BYTES = 1200 };

static qc_status no_memory(qc_job *job)
{
    return job->fail(job, QC_E_NOMEM, "out of memory for the list of plugins");
}

/* Takes ownership. */
static qc_status add_manifest(qc_job *job, registry *r, manifest *m)
{
    if (!m || !array_reserve(&r->manifests, &r->manifest_capacity, r->n_manifests, sizeof *r->manifests)) {
        manifest_free(m);
        return no_memory(job);
    }
    r->manifests[r->n_manifests++] = m;
    return QC_OK;
}

static qc_status add_unreadable(qc_job *job, registry *r, const char *path, const char *name, plugin_state state,
                                const char *why)
{
    return add_manifest(job, r, manifest_unreadable(path, name, state, why));
}

/* The library beside a manifest that could be read. */
static void check_library(manifest *m, const char *folder)
{
    char why[WHY_BYTES];
    char *path = manifest_library(m);
    path_check result = path ? check_file(folder, path, why, sizeof why) : PATH_MISSING;
    for (size_t i = 0; result != PATH_SAFE && i < m->n_entries; i++) {
        m->entries[i].state = result == PATH_MISSING ? PLUGIN_BROKEN : PLUGIN_UNSAFE;
        m->entries[i].why = path ? strdup(why) : NULL;
    }
    free(path);
}

/* With what the job failed of. */
static qc_status add_as_broken(qc_job *job, registry *r, const char *path, const char *name)
{
    char why[WHY_BYTES];
    snprintf(why, sizeof why, "%s", job_message(job));
    job_clear(job);
    return add_unreadable(job, r, path, name, PLUGIN_BROKEN, why);
}

static qc_status read_manifest(qc_job *job, registry *r, const char *folder, const char *name, const char *path)
{
    manifest *m;
    qc_status status = manifest_read(job, path, &m);
    if (status == QC_E_NOMEM)
        return status;
    if (status != QC_OK)
        return add_as_broken(job, r, path, name);
    check_library(m, folder);
    return add_manifest(job, r, m);
}

/* One <folder>/<name>, if it holds a plugin.ini. */
static qc_status look_into(qc_job *job, registry *r, const char *folder, const char *name)
{
    char why[WHY_BYTES];
    char *inner = path_join(folder, name);
    char *path = inner ? path_join(inner, "plugin.ini") : NULL;
    qc_status status = QC_OK;
    if (!path) {
        status = no_memory(job);
    } else if (access(path, F_OK) == 0) {
        path_check result = check_folder(inner, why, sizeof why);
        if (result == PATH_SAFE)
            result = check_file(inner, path, why, sizeof why);
        status = result == PATH_SAFE ? read_manifest(job, r, inner, name, path)
                                     : add_unreadable(job, r, path, name, PLUGIN_UNSAFE, why);
    }
    free(path);
    free(inner);
    return status;
}

static qc_status discover_in(qc_job *job, registry *r, const char *folder)
{
    char why[WHY_BYTES];
    path_check result = check_folder(folder, why, sizeof why);
    if (result == PATH_MISSING)
        return QC_OK;
    if (result == PATH_UNSAFE)
        return add_unreadable(job, r, folder, folder, PLUGIN_UNSAFE, why);
    char **names;
    size_t n;
    qc_status status = list_folder(job, folder, &names, &n);
    if (status == QC_E_NOMEM)
        return status;
    if (status != QC_OK)
        return add_as_broken(job, r, folder, folder);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = look_into(job, r, folder, names[i]);
    path_list_free(names, n);
    return status;
}

/* A build or install folder stands for its lib/qcore/plugins. */
qc_status discover(qc_job *job, registry *r, const char *folder)
{
    char *within = path_join(folder, "lib/qcore/plugins");
    if (!within)
        return no_memory(job);
    qc_status status = discover_in(job, r, access(within, F_OK) == 0 ? within : folder);
    free(within);
    return status;
}
