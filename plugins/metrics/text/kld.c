/* KL divergence to the reference: sum of p (log p - log q) over the vocabulary, p the reference's probabilities; S.
 * Kullback and R. A. Leibler, On Information and Sufficiency, 1951. With x and y the two rows of logits (or
 * log-probabilities) and X, Y the logarithms of their sums of exponentials,
 *
 *     sum p (log p - log q)  =  sum p (x - y)  -  (X - Y) sum p
 *
 * which needs one exponential a token. Rounding may leave a mean just below 0 where there is no difference: shown as it is.
 *
 * Values of a row: the divergence; 1 where both would say the same token; the change of the true token's probability. */
#include "qcore/encoding.h"
#include "qcore/math.h"
#include "text.h"
#include <math.h>
#include <stdlib.h>

enum { DIVERGENCE, SAME_TOP, CHANGE, N_VALUES, PIECE = 1024 };

typedef struct kld {
    loss_source source;
    size_t n;
    mean_error divergence, change, square_change;
    double same_top, largest, p99_9, p99, median, smallest;
} kld;

static qc_status create(qc_job *job, const qc_settings *settings, const qc_evaluation *e, void **state)
{
    (void)settings;
    kld *k = job->host->alloc(job->host, sizeof *k);
    *state = k;
    return k ? loss_source_open(job, e, &k->source) : qc_fail(job, QC_E_NOMEM, "out of memory");
}

static void destroy(const qc_host *host, void *state)
{
    host->free(host, state);
}

/* Sums in QC_LANES lanes: element i in lane i mod QC_LANES. */
typedef struct sums {
    double p[QC_LANES], p_times_rest[QC_LANES];
} sums;

/* Probabilities of one piece of the reference's row; those that were cut off are 0. Padded with zeros to whole lanes. */
static void probabilities(const loss_source *s, const float *x, double norm, size_t n, float *p)
{
    float shift = (float)norm, floor = s->floor;
    for (size_t i = 0; i < n; i++)
        p[i] = x[i] - shift;
    s->math->exp(p, p, n);
    if (floor < 0.0f)
        for (size_t i = 0; i < n; i++)
            p[i] = x[i] > floor ? p[i] : 0.0f;
}

static void add_piece(sums *s, const float *p, const float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + QC_LANES <= n; i += QC_LANES)
        for (size_t l = 0; l < QC_LANES; l++) {
            double weight = (double)p[i + l];
            s->p[l] += weight;
            s->p_times_rest[l] += weight * ((double)x[i + l] - (double)y[i + l]);
        }
    for (size_t l = 0; i + l < n; l++) {
        double weight = (double)p[i + l];
        s->p[l] += weight;
        s->p_times_rest[l] += weight * ((double)x[i + l] - (double)y[i + l]);
    }
}

static double fold(double *lanes)
{
    for (size_t half = QC_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

static double divergence(const loss_source *s, const qc_scored *row, double reference_norm, double norm)
{
    float p[PIECE];
    sums total = {{0}, {0}};
    for (size_t at = 0; at < row->n_vocab; at += PIECE) {
        size_t n = row->n_vocab - at < PIECE ? row->n_vocab - at : PIECE;
        probabilities(s, row->reference + at, reference_norm, n, p);
        add_piece(&total, p, row->reference + at, row->logits + at, n);
    }
    return fold(total.p_times_rest) - (reference_norm - norm) * fold(total.p);
}

static qc_status score(qc_job *job, const void *state, const qc_scored *row, double *values)
{
    const loss_source *s = &((const kld *)state)->source;
    if (!row->reference || row->next >= row->n_vocab)
        return qc_fail(job, QC_E_INTERNAL, "a row without reference or next token cannot be scored");
    double norm = loss_norm(s, row), reference_norm = loss_reference_norm(s, row);
    values[DIVERGENCE] = divergence(s, row, reference_norm, norm);
    values[SAME_TOP] = qc_argmax(row->logits, row->n_vocab) == qc_argmax(row->reference, row->n_vocab);
    values[CHANGE] = qc_exp((double)row->logits[row->next] - norm) -
                     qc_exp((double)row->reference[row->next] - reference_norm);
    return QC_OK;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* At share * (n - 1) of the sorted values, between neighbours by a straight line. n > 0 */
static double quantile(const double *sorted, size_t n, double share)
{
    double at = share * (double)(n - 1);
    size_t below = (size_t)at;
    if (below + 1 >= n)
        return sorted[n - 1];
    double past = at - (double)below;
    return (1.0 - past) * sorted[below] + past * sorted[below + 1];
}

static void take_quantiles(kld *k, double *sorted)
{
    qsort(sorted, k->n, sizeof *sorted, compare);
    k->largest = sorted[k->n - 1];
    k->p99_9 = quantile(sorted, k->n, 0.999);
    k->p99 = quantile(sorted, k->n, 0.99);
    k->median = quantile(sorted, k->n, 0.5);
    k->smallest = sorted[0];
}

static qc_status take(qc_job *job, void *state, const qc_scores *scores)
{
    kld *k = state;
    const double *values = scores->values;
    k->n = scores->n_rows;
    if (k->n == 0)
        return QC_OK;
    double *copy = job->host->alloc(job->host, k->n * sizeof *copy);
    if (!copy)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu values", k->n);
    for (size_t i = 0; i < k->n; i++)
        copy[i] = values[i * N_VALUES + CHANGE] * values[i * N_VALUES + CHANGE];
    k->square_change = mean_of(copy, 1, k->n);
    for (size_t i = 0; i < k->n; i++)
        copy[i] = values[i * N_VALUES + DIVERGENCE];
    take_quantiles(k, copy);
    job->host->free(job->host, copy);
    k->divergence = mean_of(values + DIVERGENCE, N_VALUES, k->n);
    k->change = mean_of(values + CHANGE, N_VALUES, k->n);
    k->same_top = mean_of(values + SAME_TOP, N_VALUES, k->n).mean;
    return QC_OK;
}

static qc_status report(qc_job *job, const void *state, const qc_figures *out)
{
    const kld *k = state;
    double rest = k->n > 1 ? (double)(k->n - 1) : 1.0, rms = sqrt(k->square_change.mean);
    const struct {
        const char *name;
        double value, error;
        uint32_t flags;
    } figures[] = {
        {"mean", k->divergence.mean, k->divergence.error, QC_FIGURE_MAIN},
        {"max", k->largest, -1.0, 0},
        {"p99_9", k->p99_9, -1.0, 0},
        {"p99", k->p99, -1.0, 0},
        {"median", k->median, -1.0, 0},
        {"min", k->smallest, -1.0, 0},
        {"same_top", k->same_top, sqrt(k->same_top * (1.0 - k->same_top) / rest), QC_FIGURE_MAIN | QC_FIGURE_PERCENT},
        {"delta_p_mean", k->change.mean, k->change.error, QC_FIGURE_PERCENT},
        {"delta_p_rms", rms, rms > 0.0 ? 0.5 / rms * k->square_change.error : 0.0, QC_FIGURE_PERCENT},
    };
    qc_status status = QC_OK;
    for (size_t i = 0; i < sizeof figures / sizeof *figures && status == QC_OK; i++)
        status = qc_put_figure(out, job, figures[i].name, figures[i].value, figures[i].error, figures[i].flags);
    return status;
}

const qc_metric_desc text_kld = {
    .base = {.size = sizeof(qc_metric_desc),
             .flags = QC_METRIC_WINDOWS | QC_METRIC_REFERENCE | QC_METRIC_NEEDS_REFERENCE,
             .kind = QC_KIND_METRIC,
             .id = "kld"},
    .n_values = N_VALUES,
    .create = create,
    .destroy = destroy,
    .score = score,
    .take = take,
    .report = report,
};
