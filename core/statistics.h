/* What an importance file says of the inputs of linears. Every entry is checked against the model's tensors. */
#ifndef CORE_STATISTICS_H
#define CORE_STATISTICS_H

#include "core/model.h"
#include "qcore/method.h"

typedef struct statistics statistics;

/* The file named by calibration.imatrix, either layout; *out is NULL where the recipe names none. */
qc_status statistics_open(qc_job *job, registry *r, const recipe *recipe, const model *model, statistics **out);
void statistics_free(statistics *s);

/* Known input of one matrix of a tensor (an expert's; 0 of plain tensors), or NULL. s may be NULL. */
const qc_input *statistics_input(const statistics *s, const char *tensor, uint64_t matrix);

size_t statistics_entries(const statistics *s); /* tensors that the file knows something of */
uint64_t statistics_bytes(const statistics *s); /* memory held */
const char *statistics_dataset(const statistics *s); /* the first one, or NULL */
uint64_t statistics_chunks(const statistics *s); /* 0: not said */

#endif
