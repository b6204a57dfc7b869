#include "core/array.h"
#include "core/evaluate_impl.h"
#include "core/job.h"
#include "core/text.h"
#include <errno.h>
#include <sys/stat.h>

enum { MOST_FILE = 1 << 28 };

qc_status metric_status(const metric_use *use, qc_job *job, qc_status status)
{
    if (status == QC_OK || status == QC_E_CANCELLED)
        return status;
    job_add_context(job, "metric %s", use->entry->id);
    job_add_place(job, use->at.file, use->at.line, use->at.column);
    return status;
}

/* ---- which metrics ---- */

static char *make_label(const evaluator *e, const char *id)
{
    size_t same = 0, size = strlen(id) + 24;
    char *label = malloc(size);
    for (size_t i = 0; i < e->n_metrics; i++)
        same += !strcmp(e->metrics[i].entry->id, id);
    if (label && same)
        snprintf(label, size, "%s#%zu", id, same + 1);
    else if (label)
        snprintf(label, size, "%s", id);
    return label;
}

static qc_status check_needs(const evaluator *e, qc_job *job, const metric_use *m)
{
    if (metric_sees_windows(m) && e->text.n == 0)
        return qc_fail(job, QC_E_INVALID, "looks at a text, and evaluate.text names none");
    if (m->desc->base.flags & QC_METRIC_NEEDS_REFERENCE && !metric_sees_reference(e, m))
        return qc_fail(job, QC_E_INVALID, "compares with a reference, and evaluate.reference names none");
    return QC_OK;
}

static qc_status add_metric(evaluator *e, qc_job *job, const plugin_use *use)
{
    const void *desc;
    if (!array_reserve(&e->metrics, &e->metric_capacity, e->n_metrics, sizeof *e->metrics))
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    metric_use *m = &e->metrics[e->n_metrics];
    *m = (metric_use){.at = use->at, .label = NULL};
    qc_status status = registry_open(e->registry, job, "metric", use->id, &desc);
    if (status != QC_OK) {
        job_add_place(job, use->at.file, use->at.line, use->at.column);
        return status;
    }
    m->desc = desc;
    m->entry = registry_entry(e->registry, "metric", use->id);
    m->label = make_label(e, use->id);
    e->n_metrics++;
    if (!m->label)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    status = settings_new(job, m->entry, (const char *const *)use->names, (const char *const *)use->values,
                          use->n_settings, &m->settings);
    if (status == QC_OK)
        return metric_status(m, job, check_needs(e, job, m));
    job_add_place(job, use->at.file, use->at.line, use->at.column); /* which metric it is has been said */
    return status;
}

/* Metrics whose manifest says `default = text`, then those with `default = reference`. */
static qc_status add_defaults(evaluator *e, qc_job *job, const char *word)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < registry_count(e->registry) && status == QC_OK; i++) {
        const plugin_entry *entry = registry_at(e->registry, i);
        const char *said = entry_value(entry, "default");
        const plugin_use use = {.id = entry->id};
        if (entry->state == PLUGIN_USABLE && !strcmp(entry->kind, "metric") && said && !strcmp(said, word))
            status = add_metric(e, job, &use);
    }
    return status;
}

qc_status metrics_choose(evaluator *e, qc_job *job)
{
    const use_list *uses = &e->recipe->evaluate.metrics;
    qc_status status = QC_OK;
    for (size_t i = 0; i < uses->n && status == QC_OK; i++)
        status = add_metric(e, job, &uses->items[i]);
    if (status == QC_OK && uses->n == 0 && e->text.n == 0)
        return qc_fail(job, QC_E_INVALID, "nothing to evaluate: evaluate names neither a text nor metrics");
    if (status == QC_OK && uses->n == 0)
        status = add_defaults(e, job, "text");
    if (status == QC_OK && uses->n == 0 && (e->reference || e->base))
        status = add_defaults(e, job, "reference");
    if (status == QC_OK && e->n_metrics == 0)
        return qc_fail(job, QC_E_UNSUPPORTED, "no plugin has a metric for a text (see qcore plugins)");
    return status;
}

void metrics_free(evaluator *e)
{
    for (size_t i = 0; i < e->n_metrics; i++) {
        settings_free(e->metrics[i].settings);
        free(e->metrics[i].label);
    }
    free(e->metrics);
}

/* ---- what a metric may use ---- */

static const evaluator *evaluator_of(const qc_evaluation *view)
{
    return ((const live_metric *)(const void *)view)->evaluator;
}

static qc_status encode(const qc_evaluation *view, qc_job *job, const char *text, size_t n, uint32_t flags,
                        const qc_tokens *out)
{
    token_list ids = {0};
    qc_status status = tokenizer_encode(evaluator_of(view)->tokenizer, job, text, n, flags, &ids);
    if (status == QC_OK && ids.n)
        status = out->push(out, job, ids.ids, ids.n);
    token_list_free(&ids);
    return status;
}

static const char *piece(const qc_evaluation *view, uint32_t token, size_t *n)
{
    return tokenizer_piece(evaluator_of(view)->tokenizer, token, n);
}

static qc_status read_file(const qc_evaluation *view, qc_job *job, const char *path, char **data, size_t *n)
{
    struct stat st;
    char *text = NULL;
    (void)view;
    *data = NULL;
    *n = 0;
    if (stat(path, &st) != 0)
        return qc_fail(job, QC_E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size > MOST_FILE)
        return qc_fail(job, QC_E_LIMIT, "%s: not a file, or one of more than %d bytes", path, MOST_FILE);
    qc_status status = text_read(job, path, (size_t)st.st_size, &text, n);
    *data = status == QC_OK ? job->host->alloc(job->host, *n + 1) : NULL;
    if (*data && *n)
        memcpy(*data, text, *n);
    free(text);
    return status == QC_OK && !*data ? qc_fail(job, QC_E_NOMEM, "%s: out of memory", path) : status;
}

/* ---- a metric at work ---- */

qc_status metric_begin(live_metric *m, qc_job *job, const evaluator *e, const metric_use *use)
{
    m->evaluator = e;
    m->use = use;
    m->state = NULL;
    m->view = (qc_evaluation){.size = sizeof m->view,
                              .has_reference = metric_sees_reference(e, use),
                              .n_vocab = e->n_vocab,
                              .context = e->context,
                              .tokens = e->text.ids,
                              .n_tokens = e->text.n,
                              .encode = encode,
                              .piece = piece,
                              .read_file = read_file,
                              .reference_floor = e->base && metric_sees_windows(use) ? BASE_FILE_FLOOR : 0.0f};
    tokenizer_special(e->tokenizer, &m->view.special);
    return metric_status(use, job, use->desc->create(job, use->settings, &m->view, &m->state));
}

void metric_end(live_metric *m, const qc_host *host)
{
    if (m->state)
        m->use->desc->destroy(host, m->state);
    m->state = NULL;
}

typedef struct asking {
    qc_ask api; /* first: what the metric sees */
    asked *into;
    size_t n_vocab;
} asking;

static qc_status add_sequence(const qc_ask *ask, qc_job *job, const uint32_t *tokens, size_t n, size_t first)
{
    const asking *a = (const asking *)(const void *)ask;
    for (size_t i = 0; i < n; i++)
        if (tokens[i] >= a->n_vocab)
            return qc_fail(job, QC_E_INTERNAL, "token %u of a sequence is beyond the vocabulary of %zu", tokens[i],
                           a->n_vocab);
    return asked_add(a->into, job, tokens, n, first, n);
}

qc_status metric_ask(live_metric *m, qc_job *job, asked *out)
{
    const asking a = {{sizeof a.api, add_sequence}, out, m->evaluator->n_vocab};
    return metric_status(m->use, job, m->use->desc->ask(job, m->state, &a.api));
}
