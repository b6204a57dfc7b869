/* One quantization: statistics, plan, work, output. What `qcore -c` does once and `qcore compare` once a scheme. */
#ifndef CORE_QUANTIZE_H
#define CORE_QUANTIZE_H

#include "core/blocks.h"
#include "core/pipeline.h"
#include "core/session.h"

typedef struct quantization {
    session *session;
    const recipe *recipe;
    const model *model;
    statistics *statistics; /* or NULL; factors of channels scale it */
    int shared; /* it is for others too: factors scale a copy */
    statistics *own; /* the copy; freed here */
    plan *plan;
    output *output;
    pipeline *pipeline;
    block_run *blocks; /* NULL: statistics, if any, are all there before */
    double seconds; /* of the work */
    unsigned threads;
} quantization;

/* session, recipe, model and statistics are set; makes the plan. */
qc_status quantization_plan(quantization *q, qc_job *job);
/* The work, up to the output under its name. */
qc_status quantization_work(quantization *q, qc_job *job);
void quantization_free(quantization *q);

/* The model that a recipe reads, or, of the same recipe, another path (NULL: the recipe's). */
qc_status open_model(session *s, qc_job *job, const recipe *recipe, const char *path, model **out);

/* What methods of the recipe and calibration.record want recorded: QC_STAT_*. */
qc_status statistics_wanted(qc_job *job, registry *r, const recipe *recipe, uint32_t *wanted);

/* Statistics as the recipe's calibration has them: read, or recorded (and saved where calibration.output says so); NULL
 * where it has none, or where they are recorded block by block while the model is quantized. */
qc_status calibrate(session *s, qc_job *job, const recipe *recipe, const model *m, uint32_t wanted, statistics **out);

#endif
