/* The loss of rare and of frequent tokens: low bits hurt rare ones first, which a mean over all of a text hides. A token is
 * as rare as the evaluation's own text has it; buckets end at powers of 4: seen once, 2-4 times, 5-16, 17-64, ... */
#include "text.h"

enum { N_BUCKETS = 17 }; /* the last one ends beyond 2^32 */

typedef struct bucket {
    size_t n;
    mean_error loss, change;
} bucket;

typedef struct token_losses {
    loss_source source;
    uint32_t *seen; /* [n_vocab]: how often a token is in the text */
    size_t n_vocab;
    bucket buckets[N_BUCKETS];
} token_losses;

static qc_status create(qc_job *job, const qc_settings *settings, const qc_evaluation *e, void **state)
{
    (void)settings;
    token_losses *t = job->host->alloc(job->host, sizeof *t);
    *state = t;
    if (!t)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    t->n_vocab = e->n_vocab;
    t->seen = job->host->alloc(job->host, (e->n_vocab + 1) * sizeof *t->seen);
    if (!t->seen)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu counts", e->n_vocab);
    for (size_t i = 0; i < e->n_tokens; i++)
        if (e->tokens[i] < e->n_vocab && t->seen[e->tokens[i]] < UINT32_MAX)
            t->seen[e->tokens[i]]++;
    return loss_source_open(job, e, &t->source);
}

static void destroy(const qc_host *host, void *state)
{
    token_losses *t = state;
    if (t)
        host->free(host, t->seen);
    host->free(host, t);
}

static qc_status score(qc_job *job, const void *state, const qc_scored *row, double *values)
{
    return loss_score(&((const token_losses *)state)->source, job, row, values);
}

/* The most times that tokens of a bucket are seen. */
static uint64_t bucket_end(size_t b)
{
    return (uint64_t)1 << 2 * b;
}

static size_t bucket_of(const token_losses *t, uint32_t token)
{
    size_t b = 0;
    uint32_t seen = token < t->n_vocab ? t->seen[token] : 0;
    while (b + 1 < N_BUCKETS && seen > bucket_end(b))
        b++;
    return b;
}

/* The losses of one bucket's rows, pairs, in `pairs`; returns how many rows. */
static size_t gather(const token_losses *t, const qc_scores *scores, size_t b, double *pairs)
{
    size_t n = 0;
    for (size_t i = 0; i < scores->n_rows; i++)
        if (bucket_of(t, scores->next[i]) == b) {
            pairs[2 * n] = scores->values[2 * i];
            pairs[2 * n + 1] = scores->values[2 * i + 1];
            n++;
        }
    return n;
}

static qc_status take(qc_job *job, void *state, const qc_scores *scores)
{
    token_losses *t = state;
    double *pairs = job->host->alloc(job->host, (2 * scores->n_rows + 1) * sizeof *pairs);
    if (!pairs)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu values", 2 * scores->n_rows);
    for (size_t b = 0; b < N_BUCKETS; b++) {
        bucket *into = &t->buckets[b];
        into->n = gather(t, scores, b, pairs);
        into->loss = mean_of(pairs, 2, into->n);
        into->change = mean_of_difference(pairs, 2, into->n, 1.0, 1.0);
    }
    job->host->free(job->host, pairs);
    return QC_OK;
}

static qc_status report_bucket(qc_job *job, const token_losses *t, size_t b, const qc_figures *out)
{
    char range[48], name[64];
    const bucket *from = &t->buckets[b];
    unsigned long long end = bucket_end(b), begin = b ? bucket_end(b - 1) + 1 : 1;
    if (b == 0)
        snprintf(range, sizeof range, "seen_1");
    else
        snprintf(range, sizeof range, "seen_%llu_%llu", begin, end);
    snprintf(name, sizeof name, "%s.loss", range);
    qc_status status = qc_put_figure(out, job, name, from->loss.mean, from->loss.error, 0);
    snprintf(name, sizeof name, "%s.change", range);
    if (status == QC_OK && t->source.has_reference)
        status = qc_put_figure(out, job, name, from->change.mean, from->change.error, 0);
    snprintf(name, sizeof name, "%s.tokens", range);
    return status == QC_OK ? qc_put_figure(out, job, name, (double)from->n, -1.0, QC_FIGURE_COUNT) : status;
}

static qc_status report(qc_job *job, const void *state, const qc_figures *out)
{
    const token_losses *t = state;
    qc_status status = QC_OK;
    for (size_t b = 0; b < N_BUCKETS && status == QC_OK; b++)
        if (t->buckets[b].n)
            status = report_bucket(job, t, b, out);
    return status;
}

const qc_metric_desc text_tokens = {
    .base = {.size = sizeof(qc_metric_desc),
             .flags = QC_METRIC_WINDOWS | QC_METRIC_REFERENCE,
             .kind = QC_KIND_METRIC,
             .id = "tokens"},
    .n_values = 2,
    .create = create,
    .destroy = destroy,
    .score = score,
    .take = take,
    .report = report,
};
