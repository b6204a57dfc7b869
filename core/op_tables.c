#include "core/op_tables.h"
#include "core/host.h"
#include "core/job.h"
#include <stdlib.h>
#include <string.h>

typedef void (*any_fn)(void);

enum { MOST_MEMBERS = 16 };

static const char *const row_members[] = {"all_finite", "sum_squares", "squared_error", "round_activations"};
static const char *const math_members[] = {"exp", "silu", "softmax", "log_sum_exp", "rms_norm"};
static const char *const matrix_members[] = {"gemm", "gram", "cholesky"};

/* A table is its size and then functions, each the size of a pointer; members: their names. */
typedef struct table {
    union {
        uint32_t size;
        qc_ops_row row;
        qc_ops_math math;
        qc_ops_matrix matrix;
        any_fn slots[MOST_MEMBERS + 1]; /* [0] stands where the size is */
    } ops;
    const char *owner[MOST_MEMBERS]; /* ids of backends; static */
} table;

static const struct kind {
    const char *id, *word; /* of the interface; in entries' names */
    size_t size;
    const char *const *members;
} kinds[] = {
    {QC_OPS_ROW, "row", sizeof(qc_ops_row), row_members},
    {QC_OPS_MATH, "math", sizeof(qc_ops_math), math_members},
    {QC_OPS_MATRIX, "matrix", sizeof(qc_ops_matrix), matrix_members},
};

enum { N_TABLES = sizeof kinds / sizeof kinds[0] };

struct op_tables {
    table tables[N_TABLES];
};

static size_t n_members(const struct kind *k)
{
    return k->size / sizeof(any_fn) - 1;
}

static void clear(table *t, const struct kind *k)
{
    memset(t, 0, sizeof *t);
    t->ops.size = (uint32_t)k->size;
}

op_tables *op_tables_new(void)
{
    op_tables *t = malloc(sizeof *t);
    if (t)
        op_tables_clear(t);
    return t;
}

void op_tables_free(op_tables *t)
{
    free(t);
}

void op_tables_clear(op_tables *t)
{
    for (size_t k = 0; k < N_TABLES; k++)
        clear(&t->tables[k], &kinds[k]);
}

void op_tables_overlay(op_tables *t, const char *cpu, const qc_backend_desc *backend)
{
    for (size_t k = 0; k < N_TABLES; k++) {
        table *to = &t->tables[k];
        const table before = *to;
        backend->overlay(cpu, kinds[k].id, &to->ops, kinds[k].size);
        for (size_t i = 0; i < n_members(&kinds[k]); i++)
            if (to->ops.slots[i + 1] != before.ops.slots[i + 1])
                to->owner[i] = backend->base.id;
    }
}

/* The table and member that "matrix.gemm" names. */
static int find(const char *entry, size_t *kind, size_t *member)
{
    const char *dot = strchr(entry, '.');
    for (size_t k = 0; dot && k < N_TABLES; k++) {
        size_t n = strlen(kinds[k].word);
        if ((size_t)(dot - entry) != n || strncmp(entry, kinds[k].word, n) != 0)
            continue;
        for (size_t i = 0; i < n_members(&kinds[k]); i++)
            if (!strcmp(dot + 1, kinds[k].members[i])) {
                *kind = k;
                *member = i;
                return 1;
            }
    }
    return 0;
}

int op_tables_pin(op_tables *t, const char *entry, const char *cpu, const qc_backend_desc *backend)
{
    size_t k, i;
    table alone;
    if (!find(entry, &k, &i))
        return 0;
    clear(&alone, &kinds[k]);
    backend->overlay(cpu, kinds[k].id, &alone.ops, kinds[k].size);
    if (!alone.ops.slots[i + 1])
        return -1;
    t->tables[k].ops.slots[i + 1] = alone.ops.slots[i + 1];
    t->tables[k].owner[i] = backend->base.id;
    return 1;
}

qc_status op_tables_publish(const op_tables *t, qc_job *job)
{
    for (size_t k = 0; k < N_TABLES; k++) {
        for (size_t i = 0; i < n_members(&kinds[k]); i++)
            if (!t->tables[k].ops.slots[i + 1])
                return qc_fail(job, QC_E_UNSUPPORTED,
                               "no backend has %s of %s: the portable one is missing from the plugin folders",
                               kinds[k].members[i], kinds[k].id);
        if (!host_publish(job->host, kinds[k].id, &t->tables[k].ops))
            return job->fail(job, QC_E_INTERNAL, "too many op tables");
    }
    return QC_OK;
}

int op_tables_entry(const op_tables *t, size_t i, char name[64], const char **backend)
{
    for (size_t k = 0; k < N_TABLES; k++) {
        if (i < n_members(&kinds[k])) {
            snprintf(name, 64, "%s.%s", kinds[k].word, kinds[k].members[i]);
            *backend = t->tables[k].owner[i];
            return 1;
        }
        i -= n_members(&kinds[k]);
    }
    return 0;
}
