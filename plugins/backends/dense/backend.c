/* The descriptor of a dense backend: DENSE_ID and DENSE_RANK are the build's. Built without flags of a CPU level. */
#include "dense.h"
#include <string.h>

static const struct entry {
    const char *id;
    const void *ops;
    size_t size;
} tables[] = {
    {QC_OPS_ROW, &dense_row, sizeof dense_row},
    {QC_OPS_MATH, &dense_math, sizeof dense_math},
    {QC_OPS_MATRIX, &dense_matrix, sizeof dense_matrix},
};

/* Every entry that both sides know; the table's own size member stays the host's. */
static void fill(void *table, size_t size, const struct entry *mine)
{
    const size_t first = offsetof(qc_ops_row, all_finite);
    size_t common = size < mine->size ? size : mine->size;
    if (common > first)
        memcpy((char *)table + first, (const char *)mine->ops + first, common - first);
}

static void overlay(const char *cpu, const char *table_id, void *table, size_t size)
{
    (void)cpu;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (!strcmp(table_id, tables[i].id))
            fill(table, size, &tables[i]);
}

static const qc_backend_desc backend = {
    .base = {.size = sizeof(qc_backend_desc), .kind = QC_KIND_BACKEND, .id = DENSE_ID},
    .rank = DENSE_RANK,
    .overlay = overlay,
};

QC_PLUGIN(&backend.base);
