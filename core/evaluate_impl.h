/* The inside of an evaluator, shared by evaluate.c and evaluate_*.c. */
#ifndef CORE_EVALUATE_IMPL_H
#define CORE_EVALUATE_IMPL_H

#include "core/evaluate.h"
#include "core/figures.h"
#include "core/score.h"

/* A metric that the recipe asks for. */
typedef struct metric_use {
    const plugin_entry *entry;
    const qc_metric_desc *desc;
    qc_settings *settings;
    place at; /* file NULL: nobody named it */
    char *label; /* in figures */
} metric_use;

struct evaluator {
    registry *registry;
    const recipe *recipe;
    const model *model; /* whose tokenizer it is */
    tokenizer *tokenizer;
    metric_use *metrics;
    size_t n_metrics, metric_capacity;
    token_list text; /* none: no text */
    size_t context, n_vocab;
    asked windows; /* none: no metric looks at them */
    uint64_t first_tokens, first_rows; /* of the sequences that metrics ask for in their first round */
    /* What models are held against: a model, or a base file, or neither. */
    const model *reference;
    forward *reference_forward;
    hidden_states *reference_hidden; /* of the windows */
    base_file *base;
};

static inline int metric_sees_windows(const metric_use *m)
{
    return (m->desc->base.flags & QC_METRIC_WINDOWS) != 0;
}

/* A base file has rows for windows only. */
static inline int metric_sees_reference(const evaluator *e, const metric_use *m)
{
    return m->desc->base.flags & QC_METRIC_REFERENCE && (e->reference || (e->base && metric_sees_windows(m)));
}

/* ---- evaluate_metrics.c ---- */

/* The metrics of the recipe, or those that are for everybody. */
qc_status metrics_choose(evaluator *e, qc_job *job);
void metrics_free(evaluator *e);

/* A metric at work on one model. */
typedef struct live_metric {
    qc_evaluation view; /* first: its functions get the evaluator back */
    const evaluator *evaluator;
    const metric_use *use;
    void *state;
} live_metric;

qc_status metric_begin(live_metric *m, qc_job *job, const evaluator *e, const metric_use *use);
void metric_end(live_metric *m, const qc_host *host);
/* What it asks for in its next round. */
qc_status metric_ask(live_metric *m, qc_job *job, asked *out);
/* Says in a failure which metric it was, and where it was asked for. */
qc_status metric_status(const metric_use *use, qc_job *job, qc_status status);

/* ---- evaluate_reference.c ---- */

size_t model_vocabulary(const model *m); /* rows of the output; 0: none */
/* Are the two models' tokens the same? The message names both. */
qc_status vocabulary_check(qc_job *job, const model *m, const model *other);
int evaluator_runs_reference(const evaluator *e); /* does any metric look at it? */
/* A model's forward pass, in its share of run.memory; quantized: inputs in 8 bits. */
qc_status evaluator_open_forward(const evaluator *e, qc_job *job, const model *m, int quantized, forward **out);
/* The reference's hidden states of the windows, the first time. */
qc_status evaluator_run_reference(evaluator *e, qc_job *job, progress *shown);

#endif
