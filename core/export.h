/* The tensors of the output as its format will see them: canonical ones as they are, or under the family's own names,
 * stacked experts apart and heads in the family's own order. */
#ifndef CORE_EXPORT_H
#define CORE_EXPORT_H

#include "core/plan.h"

/* What becomes of one item of the plan. */
typedef struct export_item {
    model_tensor view; /* what rows to load, in the output's order: a shallow copy of the model's tensor */
    size_t first, n; /* tensors of the output: n equal cuts of the rows; 0: not written */
    uint32_t *order; /* [cols] of its only tensor, where the plan is ordered and its codes have a grid; or NULL */
} export_item;

typedef struct exports {
    export_item *items; /* as plan.items */
    size_t n_items;
    qc_tensor *tensors; /* names owned */
    size_t n_tensors, capacity;
} exports;

/* canonical: the format keeps canonical names. */
qc_status exports_make(qc_job *job, registry *r, const plan *plan, int canonical, exports *out);
void exports_free(exports *e);

#endif
