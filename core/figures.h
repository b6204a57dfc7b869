/* What metrics report becomes figures of an evaluation (evaluate.h). */
#ifndef CORE_FIGURES_H
#define CORE_FIGURES_H

#include "core/evaluate.h"

/* label: what the metric is called here: its id, and "tasks#2" where it is asked for twice. */
qc_status figures_collect(qc_job *job, const qc_metric_desc *metric, const void *state, const char *label,
                          evaluation *into);

#endif
