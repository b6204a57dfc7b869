#include "core/judge.h"
#include "core/forward.h"
#include "core/log.h"
#include "core/tokens.h"

enum { LAYER_TOKENS = 8192, N_WORST = 10 }; /* enough to tell outputs' errors to a few per cent */

/* No more than the recipe reads of that text; a whole window. */
static uint64_t layer_tokens(uint64_t asked, uint64_t context)
{
    uint64_t most = asked && asked < LAYER_TOKENS ? asked : LAYER_TOKENS;
    return context > most ? context : most;
}

/* Windows of the text that the layers are held against. */
static qc_status layer_windows(session *s, qc_job *job, const recipe *rec, const model *m, sequences *out)
{
    const text_list *texts = rec->calibration.text.n ? &rec->calibration.text : &rec->evaluate.text;
    uint64_t context = rec->calibration.text.n ? rec->calibration.context : rec->evaluate.context;
    uint64_t asked = rec->calibration.text.n ? rec->calibration.tokens : rec->evaluate.tokens;
    tokenizer *t = NULL;
    token_list tokens = {0};
    qc_status status = tokenizer_open(job, s->registry, m, &t);
    if (status == QC_OK)
        status = tokenizer_read(t, job, (const char *const *)texts->items, texts->n,
                                (size_t)layer_tokens(asked, context), &tokens);
    if (status == QC_OK)
        status = sequences_cut(t, job, &tokens, (size_t)context, 0, out);
    token_list_free(&tokens);
    tokenizer_free(t);
    return status;
}

static size_t n_blocks(const model *m)
{
    return (size_t)model_count(m, "block_count", 0, 1);
}

qc_status judge_layers(session *s, qc_job *job, const recipe *rec, const model *original, const model *written,
                       judgement *out)
{
    sequences windows = {0};
    if (rec->evaluate.layers == 0 || !(rec->calibration.text.n || rec->evaluate.text.n))
        return QC_OK;
    qc_status status = layer_windows(s, job, rec, original, &windows);
    if (status == QC_OK)
        status = session_start_workers(s, job, 0);
    if (status == QC_OK) {
        session_show(s, windows.starts[windows.n] * n_blocks(original));
        progress_set_unit(s->progress, "tokens", n_blocks(original));
        progress_set_phase(s->progress, "layers");
        status = layers_compare(pool_job(s->workers), s->registry, rec, original, written, &windows, s->progress,
                                &out->layers);
        progress_clear(s->progress);
        status = session_worker_status(s, job, status);
        out->has_layers = status == QC_OK;
    }
    sequences_free(&windows);
    return status;
}

qc_status judge_foresee(session *s, qc_job *job, const recipe *rec, const model *m)
{
    evaluator *e = NULL;
    forward *f = NULL;
    if (!rec->evaluate.at.file)
        return QC_OK;
    if (rec->evaluate.reference)
        log_say(s->host, QC_LOG_WARNING, "evaluate.reference is for qcore eval: a run compares with its own model, %s",
                m->path);
    qc_status status = evaluator_open(job, s->registry, rec, m, m, &e);
    evaluator_free(e);
    if (status == QC_OK)
        status = forward_open(job, s->registry, m, rec->run.memory, NULL, &f);
    forward_free(f);
    return status;
}

qc_status judge_metrics(session *s, qc_job *job, evaluator *e, const model *m, judgement *out)
{
    qc_status status = session_start_workers(s, job, 0);
    if (status != QC_OK)
        return status;
    session_show(s, evaluator_steps(e, m));
    progress_set_unit(s->progress, "tokens", n_blocks(m));
    progress_set_phase(s->progress, "evaluation");
    status = evaluator_run(e, pool_job(s->workers), m, s->progress, &out->metrics);
    progress_clear(s->progress);
    status = session_worker_status(s, job, status);
    out->has_metrics = status == QC_OK;
    return status;
}

void judgement_free(judgement *j)
{
    layers_free(&j->layers);
    evaluation_free(&j->metrics);
    j->has_layers = j->has_metrics = 0;
}

void judgement_print(const judgement *j, FILE *file)
{
    if (j->has_layers) {
        putc('\n', file);
        layers_print(&j->layers, N_WORST, file);
    }
    if (j->has_metrics) {
        putc('\n', file);
        evaluation_print(&j->metrics, file);
    }
}

void judgement_json(const judgement *j, json_out *out)
{
    if (j->has_layers)
        layers_json(&j->layers, out);
    if (j->has_metrics)
        evaluation_json(&j->metrics, out);
}
