/* The op tables of one backend laid over zeros, as the core does it: what a backend leaves alone stays NULL. */
#ifndef BACKEND_TABLES_H
#define BACKEND_TABLES_H

#include "qcore/ops.h"
#include "test_host.h"
#include "test_plugin.h"

typedef struct backend_tables {
    const char *name;
    qc_ops_row row;
    qc_ops_math math;
    qc_ops_matrix matrix;
} backend_tables;

static inline const char *backend_cpu(const char *name)
{
    static const char *const cpus[][2] = {{"avx512", "x86-v4"}, {"avx2", "x86-v3"}, {"neon", "neon"}};
    for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++)
        if (!strcmp(name, cpus[i][0]))
            return cpus[i][1];
    return "reference";
}

/* 0 where this machine does not run it. */
static inline int backend_open(backend_tables *t, const char *name)
{
    memset(t, 0, sizeof *t);
    t->name = name;
    if (!test_cpu_runs(backend_cpu(name)))
        return 0;
    const qc_backend_desc *desc = (const qc_backend_desc *)(const void *)test_plugin_open(name)->descs[0];
    desc->overlay(backend_cpu(name), QC_OPS_ROW, &t->row, sizeof t->row);
    desc->overlay(backend_cpu(name), QC_OPS_MATH, &t->math, sizeof t->math);
    desc->overlay(backend_cpu(name), QC_OPS_MATRIX, &t->matrix, sizeof t->matrix);
    return 1;
}

#endif
