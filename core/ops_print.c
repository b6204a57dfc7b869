/* Which kernels run, as `qcore plugins` tells it. */
#include "core/backends.h"
#include "core/job.h"
#include "core/jsonout.h"
#include "core/manifest.h"
#include "core/plugins_print.h"
#include <string.h>

/* ---- one backend ---- */

/* Names of the entries that it has won, with commas; how many. */
static size_t list_won(const registry *r, const char *id, char *text, size_t room)
{
    char name[64];
    const char *owner;
    size_t won = 0, used = 0;
    *text = 0;
    for (size_t i = 0; registry_op(r, i, name, &owner); i++) {
        if (!owner || strcmp(owner, id) != 0)
            continue;
        if (used < room)
            used += (size_t)snprintf(text + used, room - used, "%s%s", won ? ", " : "", name);
        won++;
    }
    return won;
}

static size_t count_ops(const registry *r)
{
    char name[64];
    const char *owner;
    size_t n = 0;
    while (registry_op(r, n, name, &owner))
        n++;
    return n;
}

void backend_use(const registry *r, const plugin_entry *e, char *text, size_t room)
{
    char won[512];
    const char *exact = entry_value(e, "exact");
    size_t n = list_won(r, e->id, won, sizeof won), all = count_ops(r);
    if (e->state != PLUGIN_USABLE || all == 0)
        *text = 0;
    else if (n == all)
        snprintf(text, room, "in use: every kernel");
    else if (n)
        snprintf(text, room, "in use: %s", won);
    else if (exact && !strcmp(exact, "no"))
        snprintf(text, room, "not in use: inexact, wants run.exact: false");
    else
        snprintf(text, room, "not in use: another does all that it does, and better on this CPU");
}

/* ---- all kernels ---- */

/* The first encoding of a plugin stands for all: they share their sources. */
static int leads(const registry *r, size_t i)
{
    const plugin_entry *e = registry_at(r, i);
    if (strcmp(e->kind, "encoding") != 0 || e->state != PLUGIN_USABLE)
        return 0;
    for (size_t k = 0; k < i; k++) {
        const plugin_entry *before = registry_at(r, k);
        if (before->manifest == e->manifest && !strcmp(before->kind, "encoding") && before->state == PLUGIN_USABLE)
            return 0;
    }
    return 1;
}

static void put_pair(json_out *j, const char *name, const char *value)
{
    if (j)
        put_json_text(j, name, value);
    else
        printf("  %-24s %s\n", name, value);
}

static qc_status put_variants(registry *r, qc_job *job, json_out *j)
{
    for (size_t i = 0; i < registry_count(r); i++) {
        const char *level;
        if (!leads(r, i))
            continue;
        qc_status status = registry_variant(r, job, registry_at(r, i)->id, &level);
        if (status != QC_OK)
            return status;
        put_pair(j, registry_at(r, i)->manifest->name, level);
    }
    return QC_OK;
}

static void put_ops(const registry *r, json_out *j)
{
    char name[64];
    const char *owner;
    for (size_t i = 0; registry_op(r, i, name, &owner); i++)
        put_pair(j, name, owner);
}

qc_status print_ops(registry *r, qc_job *job, int json)
{
    json_out out = {.file = stdout}, *j = json ? &out : NULL;
    if (j) {
        put_json_object(j, NULL);
        put_json_text(j, "cpu", registry_cpu(r));
        put_json_object(j, "kernels");
    } else {
        puts("kernel                     backend");
    }
    put_ops(r, j);
    if (j) {
        put_json_end_object(j);
        put_json_object(j, "encodings");
    } else {
        puts("\nencodings of               built for");
    }
    qc_status status = put_variants(r, job, j);
    if (j) {
        put_json_end_object(j);
        put_json_end_object(j);
    } else {
        printf("\nCPU level %s; one kernel of another backend: --ops matrix.gemm=scalar\n", registry_cpu(r));
    }
    return status;
}
