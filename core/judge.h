/* What was lost: the metrics and the layer view of a model, as `evaluate:` has them. */
#ifndef CORE_JUDGE_H
#define CORE_JUDGE_H

#include "core/evaluate.h"
#include "core/layers.h"
#include "core/session.h"

typedef struct judgement {
    evaluation metrics;
    layer_view layers;
    int has_metrics, has_layers;
} judgement;

/* The layer view of `written` against `original`, over the first windows of the calibration's text or the evaluation's;
 * where the recipe has neither, or says layers: false, nothing is done. */
qc_status judge_layers(session *s, qc_job *job, const recipe *recipe, const model *original, const model *written,
                       judgement *out);
/* Fails for what would fail once the work is done: texts, metrics, a family that no plugin runs. m: the original. */
qc_status judge_foresee(session *s, qc_job *job, const recipe *recipe, const model *m);
/* The metrics of `m`, as an evaluator has them. */
qc_status judge_metrics(session *s, qc_job *job, evaluator *e, const model *m, judgement *out);

void judgement_free(judgement *j);
void judgement_print(const judgement *j, FILE *file);
void judgement_json(const judgement *j, json_out *out); /* members of an open object */

#endif
