#include "core/quantize.h"
#include "core/forward.h"
#include "core/log.h"
#include "core/suggest.h"
#include "core/yaml.h"
#include <string.h>

/* What lies beyond the context that a model was made for it predicts badly, and no figure says why. */
static void warn_of_context(const session *s, const recipe *rec, const model *m)
{
    uint64_t most = model_count(m, "context_length", 0, 0);
    uint64_t calibration = rec->calibration.text.n ? rec->calibration.context : 0;
    uint64_t evaluation = rec->evaluate.text.n ? rec->evaluate.context : 0;
    uint64_t context = calibration > evaluation ? calibration : evaluation;
    if (most && context > most)
        log_say(s->host, QC_LOG_WARNING,
                "%s was made for contexts of up to %llu tokens: in windows of %llu its figures say little", m->path,
                (unsigned long long)most, (unsigned long long)context);
}

qc_status open_model(session *s, qc_job *job, const recipe *rec, const char *path, model **out)
{
    recipe other = *rec; /* shallow: nothing of it is freed */
    union {
        const char *shown;
        char *text;
    } name = {path};
    if (!path) {
        qc_status status = model_open(job, s->registry, rec, s->roles, out);
        if (status == QC_OK)
            warn_of_context(s, rec, *out);
        return status;
    }
    other.model.path = name.text;
    other.model.format = other.model.architecture = other.model.tokenizer = (plugin_use){0};
    return model_open(job, s->registry, &other, s->roles, out);
}

/* ---- statistics ---- */

static const char *const statistic_words[] = {"mean_square", "gram", "absmax",
                                              "samples"}; /* in the order of QC_STAT_* */

static qc_status add_word(qc_job *job, const recipe *rec, const char *word, uint32_t *wanted)
{
    for (uint32_t i = 0; i < 4; i++)
        if (!strcmp(statistic_words[i], word)) {
            *wanted |= 1u << i;
            return QC_OK;
        }
    return fail_at(job, rec->calibration.at, QC_E_INVALID,
                   "calibration.record: '%.60s' is no statistic; there are mean_square, gram, absmax, samples", word);
}

qc_status statistics_wanted(qc_job *job, registry *r, const recipe *rec, uint32_t *wanted)
{
    qc_status status = QC_OK;
    *wanted = 0;
    for (size_t i = 0; i < rec->quantize.n_methods && status == QC_OK; i++) {
        const void *desc;
        char where[300];
        status = registry_open(r, job, "method", rec->quantize.methods[i].id, &desc);
        if (status == QC_OK)
            *wanted |= ((const qc_method_desc *)desc)->statistics;
        else if (*place_text(rec->quantize.methods[i].at, where, sizeof where))
            job_add_context(job, "%s", where);
    }
    for (size_t i = 0; i < rec->calibration.record.n && status == QC_OK; i++)
        status = add_word(job, rec, rec->calibration.record.items[i], wanted);
    if (!*wanted)
        *wanted = QC_STAT_MEAN_SQUARE;
    return status;
}

static qc_status record(session *s, qc_job *job, const recipe *rec, const model *m, uint32_t wanted, statistics **out)
{
    uint64_t bytes, steps;
    const char *path = rec->calibration.output;
    qc_status status = path ? statistics_check_path(job, s->registry, rec, path, wanted) : QC_OK;
    if (status == QC_OK)
        status = statistics_forecast(job, s->registry, rec, m, wanted, &bytes, &steps);
    if (status == QC_OK)
        status = session_start_workers(s, job, 0);
    if (status != QC_OK)
        return status;
    session_show(s, steps);
    progress_set_unit(s->progress, "tokens", model_count(m, "block_count", 0, 1));
    progress_set_phase(s->progress, "calibration");
    status = statistics_record(pool_job(s->workers), s->registry, rec, m, wanted, s->progress, out);
    progress_clear(s->progress);
    status = session_worker_status(s, job, status);
    if (status == QC_OK && path)
        status = statistics_write(*out, job, s->registry, rec, path, wanted);
    return status;
}

qc_status calibrate(session *s, qc_job *job, const recipe *rec, const model *m, uint32_t wanted, statistics **out)
{
    *out = NULL;
    if (rec->calibration.imatrix)
        return statistics_open(job, s->registry, rec, m, out);
    if (!rec->calibration.text.n)
        return QC_OK;
    int by_blocks = 0;
    qc_status status = blocks_wanted(job, s->registry, rec, &by_blocks);
    return status == QC_OK && !by_blocks ? record(s, job, rec, m, wanted, out) : status;
}

/* ---- one quantization ---- */

qc_status quantization_plan(quantization *q, qc_job *job)
{
    return plan_make(job, q->session->registry, q->recipe, q->model, q->statistics, &q->plan);
}

static int needs_copy(const quantization *q)
{
    return q->shared && q->statistics && pipeline_transforms(q->pipeline);
}

/* Threads after the plan: how many there can be hangs on what each will hold. */
static qc_status start_workers(quantization *q, qc_job *job)
{
    session *s = q->session;
    unsigned wanted = s->options->threads ? s->options->threads : q->recipe->run.threads, n = 0;
    uint64_t held = statistics_bytes(q->statistics) * (needs_copy(q) ? 2 : 1);
    qc_status status = q->blocks ? blocks_threads(q->blocks, job, wanted, &n)
                                 : pipeline_threads(q->pipeline, job, wanted, held, &n);
    if (status == QC_OK)
        status = session_start_workers(s, job, n);
    if (status != QC_OK)
        return status;
    q->threads = pool_threads(s->workers);
    session_show(s, q->blocks ? blocks_steps(q->blocks) : pipeline_bytes(q->pipeline));
    if (q->blocks)
        progress_set_unit(s->progress, "blocks", blocks_block_steps(q->blocks));
    return QC_OK;
}

static qc_status open_blocks(quantization *q, qc_job *job)
{
    int by_blocks = 0;
    qc_status status = QC_OK;
    if (!q->statistics)
        status = blocks_wanted(job, q->session->registry, q->recipe, &by_blocks);
    return status == QC_OK && by_blocks ? blocks_open(job, q->session->registry, q->pipeline, q->plan, &q->blocks)
                                        : status;
}

static qc_status run_all(quantization *q, qc_job *job)
{
    session *s = q->session;
    uint64_t blocks = model_count(q->model, "block_count", 0, 0);
    qc_status status = QC_OK;
    if (needs_copy(q)) {
        status = statistics_copy(q->statistics, job, &q->own);
        q->statistics = q->own;
    }
    for (uint32_t block = 0; q->statistics && block < blocks && status == QC_OK; block++)
        status = pipeline_transform(q->pipeline, job, q->statistics, block);
    if (status == QC_OK && q->own)
        status = pipeline_know_embedding(q->pipeline, job, q->own);
    return status == QC_OK ? pipeline_run(q->pipeline, job, NULL, q->plan->n_items, q->statistics, s->progress)
                           : status;
}

qc_status quantization_work(quantization *q, qc_job *job)
{
    session *s = q->session;
    qc_status status = output_open(job, s->registry, q->plan, &q->output);
    if (status == QC_OK)
        status = pipeline_new(job, s->registry, q->plan, q->output, &q->pipeline);
    if (status == QC_OK)
        status = open_blocks(q, job);
    if (status == QC_OK)
        status = start_workers(q, job);
    if (status != QC_OK)
        return status;
    qc_job *worker = pool_job(s->workers);
    status = q->blocks ? blocks_run(q->blocks, worker, s->progress) : run_all(q, worker);
    status = session_worker_status(s, job, status);
    if (status == QC_OK)
        status = output_commit(q->output, job);
    q->seconds = progress_seconds(s->progress);
    progress_clear(s->progress); /* or the report would begin in the bar's line */
    return status;
}

void quantization_free(quantization *q)
{
    blocks_free(q->blocks);
    pipeline_free(q->pipeline);
    output_free(q->output);
    plan_free(q->plan);
    statistics_free(q->own);
    q->blocks = NULL;
    q->own = NULL;
    q->pipeline = NULL;
    q->output = NULL;
    q->plan = NULL;
}
