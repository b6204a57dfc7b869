/* Which kernels run: the op tables, filled from the backends that were found. */
#ifndef CORE_BACKENDS_H
#define CORE_BACKENDS_H

#include "core/registry.h"

typedef struct backend_choice {
    const char *name; /* this one over the portable one; NULL, "auto": every one that fits, by rank */
    const char *const *pins; /* "matrix.gemm=scalar": that entry from that backend, whatever else is chosen */
    size_t n_pins;
    int allow_inexact;
} backend_choice;

/* Opens the backends that are usable (and exact, unless allowed) and fills the tables; host->find serves them
 * afterwards. May be called again. */
qc_status registry_load_backends(registry *r, qc_job *job, const backend_choice *choice);

/* Entry i of all op tables after that, "matrix.gemm", and the backend that it is of (static); 0 past the last. */
int registry_op(const registry *r, size_t i, char name[64], const char **backend);

#endif
