/* What is known of the inputs of linears: read from a file (an imatrix, or statistics that calibration saved) or recorded
 * by a calibration. Every entry is checked against the model's tensors. */
#ifndef CORE_STATISTICS_H
#define CORE_STATISTICS_H

#include "core/jsonout.h"
#include "core/model.h"
#include "core/progress.h"
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

/* ---- recording (calibrate.c) ---- */

/* Runs the model over the recipe's calibration text and records `wanted` (QC_STAT_*) of every input; shared inputs are
 * kept once. Fails above run.memory with the number needed. */
qc_status statistics_record(qc_job *job, registry *r, const recipe *recipe, const model *model, uint32_t wanted,
                            progress *shown, statistics **out);
/* What a recording would need of memory, and how many steps its progress has. */
qc_status statistics_forecast(qc_job *job, registry *r, const recipe *recipe, const model *model, uint32_t wanted,
                              uint64_t *bytes, uint64_t *steps);
/* All that is known of inputs, for a run whose factors scale it while others want it as it was. */
qc_status statistics_copy(const statistics *from, qc_job *job, statistics **out);
uint32_t statistics_known(const statistics *s); /* QC_STAT_* that every entry has */

/* Writes `which` of them (QC_STAT_*) under `path`: the format is chosen by the name. What a format cannot hold (all but
 * column mean squares in llama.cpp's older layout) is refused. */
qc_status statistics_write(const statistics *s, qc_job *job, registry *r, const recipe *recipe, const char *path,
                           uint32_t which);

/* Fails where the name or the place of such a file would be refused in the end, when all has been recorded. */
qc_status statistics_check_path(qc_job *job, registry *r, const recipe *recipe, const char *path, uint32_t which);

/* What was recorded, for people and for programs. */
void statistics_print(const statistics *s, FILE *file);
void statistics_json(const statistics *s, json_out *out); /* keys of an object that is open */

#endif
