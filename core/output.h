/* The output being written: its format's layout over the files of a target. */
#ifndef CORE_OUTPUT_H
#define CORE_OUTPUT_H

#include "core/plan.h"

typedef struct output output;

/* Lays out and reserves every file; headers are written. The output must not be one of the inputs. */
qc_status output_open(qc_job *job, registry *r, const plan *plan, output **out);
void output_free(output *o); /* removes what was not committed; NULL is fine */

/* The rows to load for an item, in the order that output_store takes them; NULL: this item is not written. */
const model_tensor *output_view(const output *o, size_t item);
uint32_t output_row_multiple(const output *o);
/* The column order of an item that the output keeps, to be filled before rows are stored; NULL: it keeps none. */
uint32_t *output_order(const output *o, size_t item);

int output_rearranges(const output *o); /* does the format store rows itself, in scratch of its own? */
/* Rows [row, row + n) of an item to their place; they belong to one matrix. [any-thread] */
qc_status output_store(const output *o, qc_job *job, size_t item, uint64_t row, size_t n, const void *src);

/* Syncs and gives the output its name. */
qc_status output_commit(output *o, qc_job *job);

uint64_t output_bytes(const output *o); /* of all files */

#endif
