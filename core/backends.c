/* Op tables: every backend lays what it does better over those of lower rank. */
#include "core/host.h"
#include "core/job.h"
#include "core/loader.h"
#include "core/registry_impl.h"
#include <stdlib.h>
#include <string.h>

/* Every table of this qcore, with the names of its members for messages. */
struct op_tables {
    qc_ops_row row;
    qc_ops_math math;
    qc_ops_matrix matrix;
};

static const char *const row_members[] = {"all_finite", "sum_squares", "squared_error", "round_activations"};

static const char *const math_members[] = {"exp", "silu", "softmax", "log_sum_exp", "rms_norm"};
static const char *const matrix_members[] = {"gemm", "gram", "cholesky"};

static const struct table {
    const char *id;
    size_t offset, size;
    const char *const *members;
} tables[] = {
    {QC_OPS_ROW, offsetof(struct op_tables, row), sizeof(qc_ops_row), row_members},
    {QC_OPS_MATH, offsetof(struct op_tables, math), sizeof(qc_ops_math), math_members},
    {QC_OPS_MATRIX, offsetof(struct op_tables, matrix), sizeof(qc_ops_matrix), matrix_members},
};

enum { N_TABLES = sizeof tables / sizeof tables[0] };

static qc_status check_complete(qc_job *job, const struct table *t, const void *table)
{
    typedef void (*any_fn)(void);
    for (size_t i = 0; (i + 2) * sizeof(any_fn) <= t->size; i++) {
        any_fn f;
        memcpy(&f, (const char *)table + (i + 1) * sizeof f, sizeof f);
        if (!f)
            return qc_fail(job, QC_E_UNSUPPORTED,
                           "no backend has %s of %s: the portable one is missing from the plugin folders",
                           t->members[i], t->id);
    }
    return QC_OK;
}

static int compare_rank(const void *a, const void *b)
{
    const qc_backend_desc *x = *(const qc_backend_desc *const *)a, *y = *(const qc_backend_desc *const *)b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return strcmp(x->base.id, y->base.id);
}

/* `exact = no` in the manifest spares runs that want exactness the loading of a large library. */
static int is_wanted(const plugin_entry *e, int allow_inexact)
{
    const char *exact = entry_value(e, "exact");
    return !strcmp(e->kind, "backend") && e->state == PLUGIN_USABLE &&
           (allow_inexact || !exact || strcmp(exact, "no") != 0);
}

/* The usable ones, lowest rank first. No recipe names a backend, so one that cannot be loaded stops no run. */
static qc_status open_backends(registry *r, qc_job *job, int allow_inexact, const qc_backend_desc **backends, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const plugin_entry *e = r->slots[i].entry;
        const void *desc;
        if (!is_wanted(e, allow_inexact))
            continue;
        qc_status status = registry_open(r, job, e->kind, e->id, &desc);
        if (status == QC_E_UNSUPPORTED) {
            job->host->log(job->host, QC_LOG_WARNING, job_message(job));
            job_clear(job);
            continue;
        }
        if (status != QC_OK)
            return status;
        backends[*n] = desc;
        *n += allow_inexact || !(backends[*n]->base.flags & QC_DESC_INEXACT);
    }
    if (*n)
        qsort(backends, *n, sizeof *backends, compare_rank);
    return QC_OK;
}

static qc_status fill_tables(const registry *r, struct op_tables *all, qc_job *job,
                             const qc_backend_desc *const *backends, size_t n)
{
    for (size_t k = 0; k < N_TABLES; k++) {
        const struct table *t = &tables[k];
        void *table = (char *)all + t->offset;
        const uint32_t size = (uint32_t)t->size;
        memset(table, 0, t->size);
        memcpy(table, &size, sizeof size);
        for (size_t i = 0; i < n; i++)
            backends[i]->overlay(cpu_level(r->cpu), t->id, table, t->size);
        qc_status status = check_complete(job, t, table);
        if (status != QC_OK)
            return status;
        if (!host_publish(job->host, t->id, table))
            return job->fail(job, QC_E_INTERNAL, "too many op tables");
    }
    return QC_OK;
}

qc_status registry_load_backends(registry *r, qc_job *job, int allow_inexact)
{
    size_t n = 0;
    struct op_tables *all = r->tables ? r->tables : malloc(sizeof *all);
    const qc_backend_desc **backends = calloc(r->n + 1, sizeof *backends);
    r->tables = all;
    if (!all || !backends) {
        free(backends);
        return job->fail(job, QC_E_NOMEM, "out of memory for op tables");
    }
    qc_status status = open_backends(r, job, allow_inexact, backends, &n);
    if (status == QC_OK)
        status = fill_tables(r, all, job, backends, n);
    if (status == QC_OK && !host_publish(job->host, QC_CPU_LEVEL, cpu_level(r->cpu)))
        status = job->fail(job, QC_E_INTERNAL, "too many op tables");
    free(backends);
    return status;
}
