#include "core/evaluate_impl.h"
#include "core/job.h"
#include "core/log.h"
#include <stdlib.h>

/* ---- opening: the text and its windows ---- */

int evaluator_is_base_file(qc_job *job, registry *r, const char *path)
{
    return base_file_is(job, r, path);
}

/* The text of the recipe, or that of the base file. */
static qc_status read_text(evaluator *e, qc_job *job)
{
    const recipe *r = e->recipe;
    size_t most = r->evaluate.tokens < SIZE_MAX ? (size_t)r->evaluate.tokens : 0;
    if (e->base && r->evaluate.text.n)
        log_say(job->host, QC_LOG_WARNING, "%s has windows of its own, which replace evaluate.text and context",
                r->evaluate.reference);
    if (e->base)
        return base_file_tokens(e->base, job, most, &e->text);
    if (r->evaluate.text.n == 0)
        return QC_OK;
    return tokenizer_read(e->tokenizer, job, (const char *const *)r->evaluate.text.items, r->evaluate.text.n, most,
                          &e->text);
}

static qc_status open_base(evaluator *e, qc_job *job)
{
    const recipe *r = e->recipe;
    if (e->reference || !r->evaluate.reference)
        return QC_OK;
    qc_status status = base_file_open(job, e->registry, r->evaluate.reference, &e->base);
    if (status != QC_OK)
        return status;
    if (r->evaluate.stride)
        return qc_fail(job, QC_E_INVALID, "%s has windows side by side: evaluate.stride cannot be had with it",
                       r->evaluate.reference);
    if (base_file_vocabulary(e->base) != e->n_vocab)
        return qc_fail(job, QC_E_INVALID, "%s and %s cannot be compared: %zu tokens of vocabulary, and %zu",
                       e->model->path, r->evaluate.reference, e->n_vocab, base_file_vocabulary(e->base));
    e->context = base_file_context(e->base);
    return QC_OK;
}

/* The first window is scored from its middle on, as llama.cpp scores every one. With a stride, a later window scores its
 * last `stride` tokens, which no earlier one did: every token after the first half window once, each behind at least
 * context - stride tokens; with stride = context the first of each window is left out, with nothing before it. The last
 * position of a window has nothing left to predict. */
static size_t first_scored(const evaluator *e, size_t window)
{
    size_t stride = (size_t)e->recipe->evaluate.stride;
    if (window == 0 || stride == 0)
        return e->context / 2;
    return stride < e->context ? e->context - 1 - stride : 0;
}

static qc_status cut_windows(evaluator *e, qc_job *job)
{
    sequences cut = {0};
    const text_list *texts = &e->recipe->evaluate.text;
    qc_status status = sequences_cut(e->tokenizer, job, &e->text, e->context, (size_t)e->recipe->evaluate.stride, &cut);
    if (status != QC_OK && !e->base)
        texts_add_context(job, (const char *const *)texts->items, texts->n);
    for (size_t i = 0; i < cut.n && status == QC_OK; i++)
        status = asked_add(&e->windows, job, cut.tokens + cut.starts[i], e->context, first_scored(e, i),
                           e->context - 1);
    sequences_free(&cut);
    return status;
}

/* Fails early for what would fail late, and counts what will be run. */
static qc_status try_metric(evaluator *e, qc_job *job, const metric_use *use)
{
    live_metric m;
    asked first = {0};
    qc_status status = metric_begin(&m, job, e, use);
    if (status == QC_OK && !metric_sees_windows(use))
        status = metric_ask(&m, job, &first);
    e->first_tokens += asked_tokens(&first);
    e->first_rows += first.n_rows;
    asked_free(&first);
    metric_end(&m, job->host);
    return status;
}

static qc_status open_all(evaluator *e, qc_job *job)
{
    int windows = 0;
    const place *at = &e->recipe->evaluate.at;
    qc_status status = e->n_vocab ? QC_OK : qc_fail(job, QC_E_INVALID, "%s: no token_embd.weight", e->model->path);
    if (status == QC_OK && e->context < 4)
        status = qc_fail(job, QC_E_INVALID, "evaluate.context is %zu, windows have at least 4 tokens", e->context);
    if (status == QC_OK)
        status = tokenizer_open(job, e->registry, e->model, &e->tokenizer);
    if (status == QC_OK)
        status = open_base(e, job);
    if (status == QC_OK)
        status = read_text(e, job);
    if (status != QC_OK) {
        job_add_place(job, at->file, at->line, at->column);
        return status;
    }
    status = metrics_choose(e, job);
    for (size_t i = 0; i < e->n_metrics; i++)
        windows |= metric_sees_windows(&e->metrics[i]);
    if (status == QC_OK && windows)
        status = cut_windows(e, job);
    for (size_t i = 0; i < e->n_metrics && status == QC_OK; i++)
        status = try_metric(e, job, &e->metrics[i]);
    return status;
}

qc_status evaluator_open(qc_job *job, registry *r, const recipe *rec, const model *judged, const model *reference,
                         evaluator **out)
{
    *out = NULL;
    evaluator *e = calloc(1, sizeof *e);
    if (!e)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    e->registry = r;
    e->recipe = rec;
    e->model = judged;
    e->reference = reference;
    e->context = rec->evaluate.context < SIZE_MAX / 64 ? (size_t)rec->evaluate.context : 0;
    e->n_vocab = model_vocabulary(judged);
    qc_status status = reference ? vocabulary_check(job, judged, reference) : QC_OK;
    if (status == QC_OK)
        status = open_all(e, job);
    if (status == QC_OK)
        *out = e;
    else
        evaluator_free(e);
    return status;
}

void evaluator_free(evaluator *e)
{
    if (!e)
        return;
    metrics_free(e);
    asked_free(&e->windows);
    hidden_free(e->reference_hidden);
    forward_free(e->reference_forward);
    base_file_free(e->base);
    token_list_free(&e->text);
    tokenizer_free(e->tokenizer);
    free(e);
}

/* ---- a model ---- */

uint64_t evaluator_steps(const evaluator *e, const model *m)
{
    uint64_t blocks = model_count(m, "block_count", 0, 1), tokens = asked_tokens(&e->windows);
    int runs_reference = evaluator_runs_reference(e),
        is_reference = runs_reference && m == e->reference && e->recipe->run.matmul == MATMUL_EXACT;
    uint64_t steps = (e->first_tokens + (is_reference ? 0 : tokens)) * blocks + e->windows.n_rows + e->first_rows;
    if (runs_reference && !e->reference_forward)
        steps += tokens * model_count(e->reference, "block_count", 0, 1);
    return steps;
}

/* One model under evaluation. */
typedef struct run {
    evaluator *evaluator;
    qc_job *job;
    forward *forward;
    progress *shown;
    live_metric *metrics;
} run;

/* What scorers wrote goes to the metrics. */
static qc_status take(const run *r, const asked *a, live_metric *m, const double *values)
{
    const qc_scores scores = {sizeof scores, a->sequences.n, a->n_rows, a->first_row, a->next, values};
    return metric_status(m->use, r->job, m->use->desc->take(r->job, m->state, &scores));
}

/* Hidden states of the sequences; *made: owned, NULL where the reference's are the model's own. */
static qc_status run_sequences(const run *r, const asked *a, const hidden_states **out, hidden_states **made)
{
    const evaluator *e = r->evaluator;
    *made = NULL;
    *out = r->forward == e->reference_forward && a == &e->windows ? e->reference_hidden : NULL;
    if (*out)
        return QC_OK;
    qc_status status = forward_run(r->forward, r->job, &a->sequences, NULL, r->shown, made);
    *out = *made;
    return status;
}

/* Runs the sequences, then scores their rows for n metrics that share them. */
static qc_status score_for(const run *r, const asked *a, const logits_source *reference, live_metric *const *metrics,
                           scorer *scorers, size_t n)
{
    const evaluator *e = r->evaluator;
    size_t n_slab = score_slab(e->n_vocab, e->recipe->run.memory);
    logits_source own = {.forward = r->forward};
    hidden_states *made;
    qc_status status = run_sequences(r, a, &own.hidden, &made);
    if (status == QC_OK)
        status = score_rows(a, r->job, e->n_vocab, &own, reference, scorers, n, n_slab, r->shown);
    hidden_free(made);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = take(r, a, metrics[i], scorers[i].values);
    return status;
}

/* As above, with scorers made for it. */
static qc_status score_together(const run *r, const asked *a, const logits_source *reference,
                                live_metric *const *metrics, size_t n)
{
    scorer *scorers = calloc(n, sizeof *scorers);
    qc_status status = QC_OK;
    if (!scorers)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory");
    for (size_t i = 0; i < n && status == QC_OK; i++) {
        const qc_metric_desc *desc = metrics[i]->use->desc;
        scorers[i] = (scorer){desc, metrics[i]->state, calloc(a->n_rows + 1, desc->n_values * sizeof(double)),
                              metrics[i]->view.has_reference};
        if (!scorers[i].values)
            status = qc_fail(r->job, QC_E_NOMEM, "out of memory for %zu scored tokens", a->n_rows);
    }
    if (status == QC_OK)
        status = score_for(r, a, reference, metrics, scorers, n);
    for (size_t i = 0; i < n; i++)
        free(scorers[i].values);
    free(scorers);
    return status;
}

/* All metrics of the windows look at the same rows. */
static qc_status run_windows(const run *r)
{
    evaluator *e = r->evaluator;
    const logits_source reference = {e->reference_forward, e->reference_hidden, e->base};
    size_t n = 0;
    int looks = 0;
    live_metric **metrics = calloc(e->n_metrics + 1, sizeof *metrics);
    if (!metrics)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory");
    for (size_t i = 0; i < e->n_metrics; i++)
        if (metric_sees_windows(&e->metrics[i])) {
            metrics[n++] = &r->metrics[i];
            looks |= r->metrics[i].view.has_reference;
        }
    qc_status status = n ? score_together(r, &e->windows, looks ? &reference : NULL, metrics, n) : QC_OK;
    free(metrics);
    return status;
}

/* One round of a metric that asks for sequences; *more: was there one? */
static qc_status run_round(const run *r, live_metric *m, int *more)
{
    asked a = {0};
    hidden_states *hidden = NULL;
    forward *f = r->evaluator->reference_forward;
    qc_status status = metric_ask(m, r->job, &a);
    *more = a.sequences.n > 0;
    if (status == QC_OK && *more && m->view.has_reference)
        status = forward_run(f, r->job, &a.sequences, NULL, r->shown, &hidden);
    const logits_source reference = {f, hidden, NULL};
    if (status == QC_OK && *more)
        status = score_together(r, &a, hidden ? &reference : NULL, &m, 1);
    hidden_free(hidden);
    asked_free(&a);
    return status;
}

static qc_status run_metrics(const run *r, evaluation *out)
{
    evaluator *e = r->evaluator;
    qc_status status = QC_OK;
    for (size_t i = 0; i < e->n_metrics && status == QC_OK; i++)
        status = metric_begin(&r->metrics[i], r->job, e, &e->metrics[i]);
    if (status == QC_OK)
        status = run_windows(r);
    for (size_t i = 0; i < e->n_metrics; i++)
        for (int more = !metric_sees_windows(&e->metrics[i]); more && status == QC_OK;)
            status = run_round(r, &r->metrics[i], &more);
    for (size_t i = 0; i < e->n_metrics && status == QC_OK; i++) {
        const metric_use *use = &e->metrics[i];
        status = figures_collect(r->job, use->desc, r->metrics[i].state, use->label, out);
        status = metric_status(use, r->job, status);
    }
    for (size_t i = 0; i < e->n_metrics; i++)
        metric_end(&r->metrics[i], r->job->host);
    return status;
}

/* Its forward pass: the reference's, where it is the reference. The reference's own is always exact. */
static qc_status open_forward(run *r, const model *m)
{
    evaluator *e = r->evaluator;
    qc_status status = evaluator_run_reference(e, r->job, r->shown);
    const int quantized = e->recipe->run.matmul == MATMUL_QUANTIZED;
    if (status == QC_OK && e->reference_forward && m == e->reference && !quantized)
        r->forward = e->reference_forward;
    return status == QC_OK && !r->forward ? evaluator_open_forward(e, r->job, m, quantized, &r->forward) : status;
}

qc_status evaluator_run(evaluator *e, qc_job *job, const model *m, progress *shown, evaluation *out)
{
    run r = {.evaluator = e, .job = job, .shown = shown};
    *out = (evaluation){.n_tokens = e->text.n,
                        .n_windows = e->windows.sequences.n,
                        .quantized = e->recipe->run.matmul == MATMUL_QUANTIZED};
    qc_status status = vocabulary_check(job, m, e->reference ? e->reference : e->model);
    if (status == QC_OK)
        status = open_forward(&r, m);
    if (status == QC_OK && !(r.metrics = calloc(e->n_metrics + 1, sizeof *r.metrics)))
        status = qc_fail(job, QC_E_NOMEM, "out of memory");
    if (status == QC_OK)
        status = run_metrics(&r, out);
    free(r.metrics);
    if (r.forward != e->reference_forward)
        forward_free(r.forward);
    out->seconds = progress_seconds(shown);
    if (status != QC_OK)
        evaluation_free(out);
    return status;
}
