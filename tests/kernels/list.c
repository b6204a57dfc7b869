/* Levels of the CPU from the lowest up, each as if it were the CPU's highest: the plugins are found and asked as the
 * program does, and whatever differs from what was there before is a kernel to check. */
#include "list.h"
#include "core/cpu.h"
#include "core/host.h"
#include "core/job.h"
#include "core/manifest.h"
#include "test_host.h"
#include <stdarg.h>
#include <stdlib.h>

static const char *const levels[] = {"generic", "x86-v2", "x86-v3", "x86-v4", "neon", "dotprod", "sve2"};

typedef struct op_table {
    const char *name, *id;
    const member *members;
    size_t size;
} op_table;

static const op_table op_tables[] = {
    {"ops.row", QC_OPS_ROW, row_members, sizeof(qc_ops_row)},
    {"ops.math", QC_OPS_MATH, math_members, sizeof(qc_ops_math)},
    {"ops.matrix", QC_OPS_MATRIX, matrix_members, sizeof(qc_ops_matrix)},
};

enum { N_TABLES = sizeof op_tables / sizeof *op_tables, MOST_SLOTS = 32 };

/* Any table: its size, then functions. */
typedef union any_table {
    uint32_t size;
    any_fn slot[MOST_SLOTS];
} any_table;

static void *grown(void *items, size_t n, size_t size)
{
    void *p = realloc(items, (n + 1) * size);
    if (!p) {
        fprintf(stderr, "check_kernels: out of memory\n");
        exit(2);
    }
    return p;
}

static void *keep(kernel_list *list, void *p)
{
    list->kept = grown(list->kept, list->n_kept, sizeof(void *));
    list->kept[list->n_kept++] = p;
    return p;
}

void list_note(kernel_list *list, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t i = 0; i < list->n_notes; i++)
        if (!strcmp(list->notes[i], text))
            return;
    list->notes = grown(list->notes, list->n_notes, sizeof *list->notes);
    list->notes[list->n_notes] = grown(NULL, strlen(text), 1);
    strcpy(list->notes[list->n_notes++], text);
}

static int is_listed(const kernel_list *list, const kernel *k)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].fn == k->fn && !strcmp(list->items[i].name, k->name))
            return 1;
    return 0;
}

static const member *member_of_slot(const member *members, size_t slot)
{
    for (; members->name; members++)
        if (members->slot == slot)
            return members;
    return NULL;
}

void list_table(kernel_list *list, const char *prefix, const char *level, const member *members, const void *table,
                const void *reference, size_t size, const void *side, const void *reference_side, unsigned effort)
{
    any_table mine = {0}, theirs = {0};
    memcpy(&mine, table, size);
    memcpy(&theirs, reference, size);
    for (size_t slot = 0; slot < size / sizeof(any_fn); slot++) {
        const member *m = member_of_slot(members, slot);
        kernel k = {.level = level,
                    .member = m,
                    .fn = mine.slot[slot],
                    .reference = theirs.slot[slot],
                    .side = side,
                    .reference_side = reference_side,
                    .effort = effort};
        if (!m && slot > 0)
            list_note(list, "! %s has a member at byte %zu that no check knows", prefix, slot * sizeof(any_fn));
        if (!m)
            continue;
        snprintf(k.name, sizeof k.name, "%s.%s", prefix, m->name);
        k.definition = m->definition && (m->needs == 0 || theirs.slot[m->needs]) ? m->definition : k.reference;
        if (!k.reference && k.fn)
            list_note(list, "! %s has %s at level %s, but no reference has it", prefix, m->name, level);
        if (!k.fn)
            list_note(list, "%s is NULL", k.name);
        if (!k.fn || !k.definition || is_listed(list, &k))
            continue;
        list->items = grown(list->items, list->n, sizeof *list->items);
        list->items[list->n++] = k;
    }
}

/* ---- backends ---- */

static test_host matrix_host; /* whose job matrix kernels are called with */

static void list_backend(kernel_list *list, const qc_backend_desc *backend, const char *level, unsigned effort)
{
    static any_table definitions[N_TABLES];
    if (backend->base.flags & QC_DESC_INEXACT) {
        list_note(list, "backend %s is inexact: matrix_test.c has how near it comes", backend->base.id);
        return;
    }
    for (size_t t = 0; t < N_TABLES; t++) {
        any_table mine = {0};
        mine.size = (uint32_t)op_tables[t].size;
        backend->overlay(level, op_tables[t].id, &mine, op_tables[t].size);
        if (backend->rank == 0)
            definitions[t] = mine;
        list_table(list, op_tables[t].name, backend->base.id, op_tables[t].members, &mine, &definitions[t],
                   op_tables[t].size, &matrix_host.job, &matrix_host.job, effort);
    }
}

/* The definitions first. */
static int list_backends(kernel_list *list, registry *r, qc_job *job, const char *level, unsigned effort)
{
    for (int others = 0; others < 2; others++)
        for (size_t i = 0; i < registry_count(r); i++) {
            const plugin_entry *e = registry_at(r, i);
            const void *desc;
            if (strcmp(e->kind, "backend") != 0 || e->state != PLUGIN_USABLE)
                continue;
            if (registry_open(r, job, e->kind, e->id, &desc) != QC_OK)
                return 0;
            if ((((const qc_backend_desc *)desc)->rank != 0) == others)
                list_backend(list, desc, level, effort);
        }
    return 1;
}

/* ---- encodings ---- */

static int list_encodings(kernel_list *list, registry *r, qc_job *job, const char *level, unsigned effort)
{
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        const void *desc;
        char prefix[80];
        qc_coder coder;
        if (strcmp(e->kind, "encoding") != 0 || e->state != PLUGIN_USABLE)
            continue;
        if (registry_open(r, job, e->kind, e->id, &desc) != QC_OK)
            return 0;
        const qc_encoding_desc *d = desc;
        if (registry_coder(r, job, e->id, d->block_cols ? d->block_cols : 32, &coder) != QC_OK)
            return 0;
        encoding_side *sides = keep(list, grown(NULL, 1, sizeof *sides)); /* two */
        any_table *reference = keep(list, grown(NULL, 0, sizeof *reference));
        memset(reference, 0, sizeof *reference);
        memcpy(reference, d->reference,
               d->reference->size < sizeof *reference ? d->reference->size : sizeof *reference);
        sides[0] = (encoding_side){d, (const qc_ops_encoding *)(const void *)reference};
        sides[1] = (encoding_side){d, coder.ops};
        snprintf(prefix, sizeof prefix, "%.30s.%.40s", e->manifest->name, e->id);
        list_table(list, prefix, "reference", encoding_members, reference, reference, sizeof(qc_ops_encoding),
                   &sides[0], &sides[0], effort);
        list_table(list, prefix, level, encoding_members, coder.ops, reference, sizeof(qc_ops_encoding), &sides[1],
                   &sides[0], effort);
    }
    return 1;
}

/* ---- all ---- */

static int list_level(kernel_list *list, qc_job *job, const char *const *folders, size_t n_folders, const char *level,
                      unsigned effort)
{
    registry *r;
    if (registry_new(job, folders, n_folders, level, &r) != QC_OK)
        return 0;
    keep(list, r);
    return list_backends(list, r, job, level, effort) && list_encodings(list, r, job, level, effort);
}

static int compare_kernels(const void *a, const void *b)
{
    const kernel *x = a, *y = b;
    const char *end_x = strrchr(x->name, '.'), *end_y = strrchr(y->name, '.');
    const size_t n = (size_t)(end_x - x->name), m = (size_t)(end_y - y->name);
    const int table = n == m ? strncmp(x->name, y->name, n) : strcmp(x->name, y->name);
    if (table)
        return table;
    return x->member == y->member ? 0 : x->member < y->member ? -1 : 1;
}

/* By table, member, and level as they were found. */
static void sort(kernel_list *list)
{
    for (size_t i = 1; i < list->n; i++) {
        const kernel k = list->items[i];
        size_t at = i;
        for (; at > 0 && compare_kernels(&list->items[at - 1], &k) > 0; at--)
            list->items[at] = list->items[at - 1];
        list->items[at] = k;
    }
}

int list_kernels(const char *const *folders, size_t n_folders, unsigned effort, kernel_list *list)
{
    qc_host *host = host_new();
    pool *p = host ? pool_new(host, 1) : NULL;
    qc_job *job = p ? pool_job(p) : NULL;
    const cpu here = cpu_detect();
    char missing[32];
    keep(list, host);
    keep(list, p);
    test_host_begin(&matrix_host);
    for (size_t i = 0; job && i < sizeof levels / sizeof *levels; i++) {
        if (!cpu_has(here, levels[i], missing))
            list_note(list, "this CPU has no %s", levels[i]);
        else if (!list_level(list, job, folders, n_folders, levels[i], effort)) {
            fprintf(stderr, "check_kernels: %s\n", job_message(job));
            return 0;
        }
    }
    list_gptq(list, effort);
    sort(list);
    return job != NULL;
}
