/* Every op table of this qcore, its entries one by one, and which backend each is of. */
#ifndef CORE_OP_TABLES_H
#define CORE_OP_TABLES_H

#include "qcore/ops.h"

typedef struct op_tables op_tables;

op_tables *op_tables_new(void);
void op_tables_free(op_tables *t);

/* Empties all entries. */
void op_tables_clear(op_tables *t);
/* Lets a backend lay its entries over those that are there. */
void op_tables_overlay(op_tables *t, const char *cpu, const qc_backend_desc *backend);
/* Takes one entry ("matrix.gemm") of a backend, whoever has it now. 1: done; 0: no such entry; -1: the backend has none. */
int op_tables_pin(op_tables *t, const char *entry, const char *cpu, const qc_backend_desc *backend);
/* Fails where an entry is empty; else host->find serves the tables. */
qc_status op_tables_publish(const op_tables *t, qc_job *job);

/* Entry i of all, in the tables' order: "matrix.gemm" into name, and its backend; 0 past the last. */
int op_tables_entry(const op_tables *t, size_t i, char name[64], const char **backend);

#endif
