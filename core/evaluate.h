/* Metrics over models: what `evaluate:` of a recipe and `qcore eval` ask for. */
#ifndef CORE_EVALUATE_H
#define CORE_EVALUATE_H

#include "core/forward.h"
#include "core/jsonout.h"

typedef struct figure {
    char *metric, *name; /* "kld", "mean" */
    double value, error; /* standard error; negative: none */
    uint32_t flags; /* QC_FIGURE_* */
} figure;

typedef struct evaluation {
    figure *figures; /* in the recipe's order of metrics */
    size_t n_figures, capacity;
    size_t n_tokens, n_windows; /* of the text; 0: none */
    double seconds;
    int quantized; /* inputs in 8 bits met weights as they are stored */
} evaluation;

/* What stays the same while several models are held against one reference: the text's tokens, the reference's hidden
 * states of the windows. */
typedef struct evaluator evaluator;

/* judged: any of the models to be judged, for its tokenizer; reference: NULL: none, or as the recipe's evaluate.reference
 * names a base file of llama.cpp. Text, windows and metrics are the recipe's. */
qc_status evaluator_open(qc_job *job, registry *r, const recipe *recipe, const model *judged, const model *reference,
                         evaluator **out);
void evaluator_free(evaluator *e);
/* Is it a file of logits (a base file of llama.cpp), not a model? Says nothing where it can be neither. */
int evaluator_is_base_file(qc_job *job, registry *r, const char *path);

/* All metrics of the recipe on one model. Fails where its vocabulary is not the reference's. */
qc_status evaluator_run(evaluator *e, qc_job *job, const model *model, progress *shown, evaluation *out);
/* How much there will be to do, in steps of the progress. */
uint64_t evaluator_steps(const evaluator *e, const model *model);

void evaluation_free(evaluation *e);
const figure *evaluation_figure(const evaluation *e, const char *metric, const char *name); /* NULL: none */
void evaluation_print(const evaluation *e, FILE *file); /* a table for people */
void evaluation_json(const evaluation *e, json_out *out); /* members of an open object */
const char *figure_text(const figure *f, char *text, size_t size); /* "12.345 ± 0.067", "98.2 % ± 0.3 %" */

#endif
