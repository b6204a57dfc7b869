/* Perplexity: exp of the mean of -log p over the scored tokens.
 *
 * Its standard error follows from that of the mean loss, m: exp(m) times it. Where there is a reference, both models saw
 * the same tokens, so their losses go up and down together and the difference is known far better than either: the error
 * of ln(PPL / PPL of the reference) is that of the mean of the differences, which is the same as
 * sqrt(s1^2 + s2^2 - 2 cov). */
#include "qcore/math.h"
#include "text.h"

typedef struct perplexity {
    loss_source source;
    size_t n;
    mean_error loss, reference, change; /* of losses */
    double difference_error; /* of the difference of perplexities */
} perplexity;

static qc_status create(qc_job *job, const qc_settings *settings, const qc_evaluation *e, void **state)
{
    (void)settings;
    perplexity *p = job->host->alloc(job->host, sizeof *p);
    *state = p;
    return p ? loss_source_open(job, e, &p->source) : qc_fail(job, QC_E_NOMEM, "out of memory");
}

static void destroy(const qc_host *host, void *state)
{
    host->free(host, state);
}

static qc_status score(qc_job *job, const void *state, const qc_scored *row, double *values)
{
    return loss_score(&((const perplexity *)state)->source, job, row, values);
}

static qc_status take(qc_job *job, void *state, const qc_scores *scores)
{
    perplexity *p = state;
    const double *losses = scores->values;
    (void)job;
    p->n = scores->n_rows;
    p->loss = mean_of(losses, 2, p->n);
    p->reference = mean_of(losses + 1, 2, p->n);
    p->change = mean_of_difference(losses, 2, p->n, 1.0, 1.0);
    p->difference_error = mean_of_difference(losses, 2, p->n, qc_exp(p->loss.mean), qc_exp(p->reference.mean)).error;
    return QC_OK;
}

static qc_status report(qc_job *job, const void *state, const qc_figures *out)
{
    const perplexity *p = state;
    double value = qc_exp(p->loss.mean), reference = qc_exp(p->reference.mean), ratio = qc_exp(p->change.mean);
    const struct {
        const char *name;
        double value, error;
        uint32_t flags;
    } figures[] = {
        {"value", value, value * p->loss.error, QC_FIGURE_MAIN},
        {"reference", reference, reference * p->reference.error, 0},
        {"difference", value - reference, p->difference_error, QC_FIGURE_MAIN},
        {"ratio", ratio, ratio * p->change.error, 0},
        {"ln_ratio", p->change.mean, p->change.error, 0},
    };
    size_t n = p->source.has_reference ? sizeof figures / sizeof *figures : 1;
    qc_status status = QC_OK;
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = qc_put_figure(out, job, figures[i].name, figures[i].value, figures[i].error, figures[i].flags);
    return status == QC_OK ? qc_put_figure(out, job, "tokens", (double)p->n, -1.0, QC_FIGURE_COUNT) : status;
}

const qc_metric_desc text_perplexity = {
    .base = {.size = sizeof(qc_metric_desc),
             .flags = QC_METRIC_WINDOWS | QC_METRIC_REFERENCE,
             .kind = QC_KIND_METRIC,
             .id = "perplexity"},
    .n_values = 2,
    .create = create,
    .destroy = destroy,
    .score = score,
    .take = take,
    .report = report,
};
