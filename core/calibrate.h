/* What a calibration reads, for those who run the model themselves: step by step. statistics.h has the whole. */
#ifndef CORE_CALIBRATE_H
#define CORE_CALIBRATE_H

#include "core/plan.h"
#include "core/statistics.h"
#include "core/tokens.h"

/* The recipe's calibration text as windows of calibration.context tokens. sequences_free frees, also on failure. */
qc_status calibration_windows(qc_job *job, registry *r, const recipe *rec, const model *m, sequences *out);
uint64_t calibration_windows_bytes(const sequences *windows); /* memory held */

/* Notes in s what it comes from: names of the texts, and how many windows of them. */
qc_status calibration_datasets(qc_job *job, const recipe *rec, statistics *s, uint64_t n_windows);

/* What is recorded of this tensor's input: is it a linear of a block? Does an earlier tensor of that block read the same
 * input, as far as roles tell before the model runs? */
int calibration_is_linear(const model_tensor *t);
int calibration_is_shared(const model *m, const model_tensor *t);

/* What a Gram matrix of more columns than tokens knows is little more than those tokens: says how many the rounding
 * method wants, where there are fewer. */
void calibration_warn_of_few_tokens(const qc_host *host, registry *r, const plan *planned, double tokens);

#endif
