#include "core/evaluate_impl.h"
#include "core/job.h"

size_t model_vocabulary(const model *m)
{
    const model_tensor *t = model_find(m, "output.weight");
    if (!t)
        t = model_find(m, "token_embd.weight");
    return t ? (size_t)t->n_rows : 0;
}

static const qc_meta *token_texts(const model *m)
{
    const qc_meta *tokens = model_meta(m, "tokenizer.ggml.tokens");
    return tokens && tokens->type == QC_TEXT && tokens->is_array ? tokens : NULL;
}

qc_status vocabulary_check(qc_job *job, const model *m, const model *other)
{
    size_t n = model_vocabulary(m), n_other = model_vocabulary(other);
    const qc_meta *tokens = token_texts(m), *other_tokens = token_texts(other);
    if (m == other)
        return QC_OK;
    if (n != n_other)
        return qc_fail(job, QC_E_INVALID, "%s and %s cannot be compared: %zu tokens of vocabulary, and %zu", m->path,
                       other->path, n, n_other);
    if (!tokens || !other_tokens)
        return QC_OK;
    const qc_text *a = tokens->data, *b = other_tokens->data;
    for (uint64_t i = 0; i < tokens->count && i < other_tokens->count; i++)
        if (a[i].length != b[i].length || (a[i].length && memcmp(a[i].data, b[i].data, a[i].length) != 0))
            return qc_fail(job, QC_E_INVALID,
                           "%s and %s cannot be compared: token %llu is '%.*s' in the one, '%.*s' in the other",
                           m->path, other->path, (unsigned long long)i, (int)(a[i].length < 40 ? a[i].length : 40),
                           a[i].data, (int)(b[i].length < 40 ? b[i].length : 40), b[i].data);
    return QC_OK;
}

int evaluator_runs_reference(const evaluator *e)
{
    for (size_t i = 0; i < e->n_metrics && e->reference; i++)
        if (metric_sees_reference(e, &e->metrics[i]))
            return 1;
    return 0;
}

/* Slabs of logits come off first; where a reference runs beside, each model has half. */
qc_status evaluator_open_forward(const evaluator *e, qc_job *job, const model *m, int quantized, forward **out)
{
    uint64_t memory = e->recipe->run.memory, rows = score_slab(e->n_vocab, memory);
    uint64_t slabs = rows * e->n_vocab * sizeof(float) * (e->reference || e->base ? 2 : 1);
    memory = memory > 2 * slabs ? memory - slabs : memory / 2;
    int both = evaluator_runs_reference(e);
    if (both)
        memory /= 2;
    qc_status status = (quantized ? forward_open_quantized : forward_open)(job, e->registry, m, memory, NULL, out);
    if (status == QC_OK && forward_vocabulary(*out) != e->n_vocab)
        status = qc_fail(job, QC_E_INVALID, "%s has logits for %zu tokens, %zu are wanted", m->path,
                         forward_vocabulary(*out), e->n_vocab);
    if (status == QC_E_LIMIT && both)
        job_add_context(job, "%s (two models run side by side, each in half of run.memory)", m->path);
    return status;
}

qc_status evaluator_run_reference(evaluator *e, qc_job *job, progress *shown)
{
    qc_status status = QC_OK;
    if (!e->reference || e->reference_forward || !evaluator_runs_reference(e))
        return QC_OK;
    status = evaluator_open_forward(e, job, e->reference, 0, &e->reference_forward);
    if (status == QC_OK && e->windows.n_rows)
        status = forward_run(e->reference_forward, job, &e->windows.sequences, NULL, shown, &e->reference_hidden);
    if (status == QC_OK)
        return QC_OK;
    forward_free(e->reference_forward);
    e->reference_forward = NULL;
    job_add_context(job, "the reference");
    return status;
}
