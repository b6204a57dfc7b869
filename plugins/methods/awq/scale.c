/* The search for channel factors: of every candidate, some rows of each reader are scaled, rounded to the encoding that
 * they will have, and scaled back; the candidate with the least error of the output over the samples wins.
 *
 *     loss = sum over readers of |E X'|^2 / |W X'|^2,     E = round(W diag(c)) diag(1/c) - W
 *
 * Candidates: rms(x)^alpha (0: no factors; it comes first and wins ties), and rms(x)^alpha rms(w)^-(1 - alpha), of which
 * how the checkpoint scaled its channels makes no difference (see equalize).
 */
#include "awq.h"

enum { GROUP_ROWS = 64 };

/* Rows of a reader, evenly spaced. */
typedef struct sampled {
    const qc_end *end;
    size_t n_rows, n_groups;
    float *w; /* [n_rows][cols] */
} sampled;

typedef struct search {
    const awq_state *s;
    const qc_axis *axis;
    double *input, *weight; /* logarithms of rms by channel */
    sampled *readers; /* those that will be rounded */
    size_t n_readers, n_groups, n_candidates;
    double *error; /* [candidates + 1][groups]; the last is of all weights 0 */
} search;

/* Two rounds: alpha from 0 to 1, the weights having no say; then alpha short of 1, which would be the same again. */
static size_t count_candidates(const awq_state *s)
{
    return s->grid + 1 + (s->by_weights ? s->grid : 0);
}

static void exponents(const search *f, size_t candidate, double *alpha, double *beta)
{
    size_t grid = f->s->grid;
    int falls = candidate > grid;
    *alpha = (double)(falls ? candidate - grid - 1 : candidate) / (double)grid;
    *beta = falls ? 1.0 - *alpha : 0.0;
}

static qc_status candidate_factors(const search *f, qc_job *job, size_t candidate, float *factor)
{
    double alpha, beta, *log_factor = (double *)job->scratch(job, f->axis->n_channels * sizeof *log_factor);
    if (!log_factor)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu factors", f->axis->n_channels);
    exponents(f, candidate, &alpha, &beta);
    for (size_t i = 0; i < f->axis->n_channels; i++)
        log_factor[i] = alpha * f->input[i] - beta * f->weight[i];
    qc_channel_factors(log_factor, f->axis->n_channels, factor);
    return QC_OK;
}

/* ---- the error of some rows ---- */

typedef struct trial {
    float *factor, *column, *importance; /* by channel; by column */
    float *scaled, *error, *output;
    void *bytes;
} trial;

static qc_status trial_new(const search *f, qc_job *job, const qc_linear *linear, size_t n, trial *t)
{
    size_t cols = linear->cols;
    *t = (trial){.factor = (float *)job->scratch(job, f->axis->n_channels * sizeof(float)),
                 .column = (float *)job->scratch(job, cols * sizeof(float)),
                 .importance = (float *)job->scratch(job, cols * sizeof(float)),
                 .scaled = (float *)job->scratch(job, n * cols * sizeof(float)),
                 .error = (float *)job->scratch(job, n * cols * sizeof(float)),
                 .output = (float *)job->scratch(job, n * f->axis->input->n_samples * sizeof(float)),
                 .bytes = job->scratch(job, n * linear->coder->row_bytes)};
    int complete = t->factor && t->column && t->importance && t->scaled && t->error && t->output && t->bytes;
    return complete ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %s", n, linear->name);
}

static void scale_columns(const search *f, const sampled *r, trial *t)
{
    size_t cols = r->end->linear->cols;
    for (size_t col = 0; col < cols; col++) {
        uint32_t channel = qc_channel_of(r->end, col);
        float c = channel < f->axis->n_channels ? t->factor[channel] : 1.0f;
        double mean_square = (double)f->axis->input->mean_square[col] / ((double)c * (double)c);
        t->column[col] = c;
        t->importance[col] = awq_importance(mean_square, f->s->power);
    }
}

/* What rounding with a candidate's factors does to rows of w, as they are without them. */
static qc_status round_trial(const search *f, qc_job *job, const sampled *r, size_t candidate, const float *w, size_t n,
                             trial *t)
{
    const qc_coder *coder = r->end->linear->coder;
    size_t cols = r->end->linear->cols;
    qc_status status = candidate_factors(f, job, candidate, t->factor);
    if (status != QC_OK)
        return status;
    scale_columns(f, r, t);
    for (size_t i = 0, row = 0; row < n; row++)
        for (size_t col = 0; col < cols; col++, i++)
            t->scaled[i] = w[i] * t->column[col];
    status = qc_encode_rows(job, coder, t->bytes, t->scaled, t->importance, n);
    if (status == QC_OK)
        status = qc_decode_rows(job, coder, t->error, t->bytes, n);
    for (size_t i = 0, row = 0; status == QC_OK && row < n; row++)
        for (size_t col = 0; col < cols; col++, i++)
            t->error[i] = t->error[i] / t->column[col] - w[i];
    return status;
}

static const sampled *reader_of(const search *f, size_t *group)
{
    const sampled *r = f->readers;
    for (; *group >= r->n_groups; r++)
        *group -= r->n_groups;
    return r;
}

/* One candidate, one group of rows. */
static qc_status try_group(void *arg, qc_job *job, size_t begin, size_t end)
{
    const search *f = (const search *)arg;
    size_t candidate = begin / f->n_groups, group = begin % f->n_groups;
    const sampled *r = reader_of(f, &group);
    const qc_linear *linear = r->end->linear;
    const qc_input *input = f->axis->input;
    const size_t first = group * GROUP_ROWS, cols = linear->cols;
    const size_t n = r->n_rows - first < GROUP_ROWS ? r->n_rows - first : GROUP_ROWS;
    const float *w = r->w + first * cols, *error = w;
    trial t;
    (void)end;
    qc_status status = trial_new(f, job, linear, n, &t);
    if (status == QC_OK && candidate < f->n_candidates) {
        status = round_trial(f, job, r, candidate, w, n, &t);
        error = t.error;
    }
    if (status == QC_OK)
        status = f->s->matrix->gemm(job, n, input->n_samples, cols, error, cols, input->samples, cols, 1, t.output,
                                    input->n_samples);
    double sum = 0.0;
    for (size_t row = 0; status == QC_OK && row < n; row++)
        sum += f->s->row->sum_squares(t.output + row * input->n_samples, NULL, input->n_samples);
    f->error[begin] = sum;
    return status;
}

/* ---- rows and levels ---- */

static qc_status take_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const sampled *r = (const sampled *)arg;
    size_t cols = r->end->linear->cols, rows = r->end->linear->rows;
    qc_status status = QC_OK;
    for (size_t i = begin; i < end && status == QC_OK; i++)
        status = r->end->rows(r->end, job, i * rows / r->n_rows, 1, r->w + i * cols);
    return status == QC_OK ? qc_check_weights(job, r->w + begin * cols, end - begin, cols) : status;
}

static qc_status sample_reader(qc_job *job, const awq_state *s, const qc_end *end, sampled *r)
{
    size_t rows = end->linear->rows, cols = end->linear->cols;
    *r = (sampled){.end = end, .n_rows = rows < s->rows ? rows : s->rows};
    r->n_groups = (r->n_rows + GROUP_ROWS - 1) / GROUP_ROWS;
    r->w = (float *)job->scratch(job, r->n_rows * cols * sizeof *r->w);
    if (!r->w)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %s", r->n_rows, end->linear->name);
    return job->parallel_for(job, r->n_rows, QC_LANES, take_rows, r);
}

/* Adds what the sampled rows say of the weights' mean squares. */
static qc_status add_weights(const search *f, qc_job *job, const sampled *r)
{
    size_t cols = r->end->linear->cols;
    double *column = (double *)job->scratch(job, cols * sizeof *column);
    if (!column)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu columns", cols);
    memset(column, 0, cols * sizeof *column);
    for (size_t i = 0, row = 0; row < r->n_rows; row++)
        for (size_t col = 0; col < cols; col++, i++)
            column[col] += (double)r->w[i] * (double)r->w[i];
    return qc_channel_add_weights(job, f->axis, r->end, column, f->weight);
}

/* All that candidates need; *known: 0 where there is nothing to search by. */
static qc_status search_new(qc_job *job, const awq_state *s, const qc_axis *axis, search *f, int *known)
{
    size_t n = axis->n_channels;
    int has_weight = 0;
    *f = (search){.s = s,
                  .axis = axis,
                  .input = (double *)job->scratch(job, n * sizeof(double)),
                  .weight = (double *)job->scratch(job, n * sizeof(double)),
                  .readers = (sampled *)job->scratch(job, axis->n_readers * sizeof(sampled)),
                  .n_candidates = count_candidates(s)};
    if (!f->input || !f->weight || !f->readers)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu channels", n);
    memset(f->weight, 0, n * sizeof *f->weight);
    qc_status status = qc_channel_input(job, axis, f->input);
    for (size_t i = 0; i < axis->n_readers && status == QC_OK; i++) {
        if (!qc_end_is_rounded(axis->readers[i]))
            continue;
        sampled *r = &f->readers[f->n_readers++];
        status = sample_reader(job, s, axis->readers[i], r);
        f->n_groups += r->n_groups;
        if (status == QC_OK)
            status = add_weights(f, job, r);
    }
    if (status == QC_OK)
        status = qc_channel_logs(job, f->input, n, known);
    if (status == QC_OK)
        status = qc_channel_logs(job, f->weight, n, &has_weight);
    *known = *known && has_weight;
    return status;
}

/* ---- the choice ---- */

/* Of a candidate, over all readers, each in units of its own output. */
static double loss_of(const search *f, size_t candidate)
{
    double loss = 0.0;
    for (size_t i = 0, group = 0; i < f->n_readers; i++) {
        double error = 0.0, output = 0.0;
        for (size_t k = 0; k < f->readers[i].n_groups; k++, group++) {
            error += f->error[candidate * f->n_groups + group];
            output += f->error[f->n_candidates * f->n_groups + group];
        }
        loss += output > 0.0 ? error / output : 0.0;
    }
    return loss;
}

static qc_status choose(const search *f, qc_job *job, float *factor)
{
    size_t best = 0;
    double alpha, beta, none = loss_of(f, 0), least = none;
    for (size_t i = 1; i < f->n_candidates; i++) {
        double loss = loss_of(f, i);
        if (loss < least) {
            least = loss;
            best = i;
        }
    }
    exponents(f, best, &alpha, &beta);
    qc_tell_figure(job, "alpha", alpha);
    if (f->s->by_weights)
        qc_tell_figure(job, "beta", beta);
    qc_tell_figure(job, "awq_loss", none > 0.0 ? least / none : 1.0);
    return best ? candidate_factors(f, job, best, factor) : QC_OK;
}

qc_status awq_transform(qc_job *job, const void *state, const qc_axis *axis, float *factor)
{
    const awq_state *s = (const awq_state *)state;
    const qc_input *input = axis->input;
    search f;
    int known = 0;
    if (!qc_axis_is_rounded(axis) || !input || !input->mean_square || !input->samples || !input->n_samples)
        return QC_OK;
    qc_status status = search_new(job, s, axis, &f, &known);
    if (status != QC_OK || !known)
        return status;
    size_t n = (f.n_candidates + 1) * f.n_groups;
    f.error = (double *)job->scratch(job, n * sizeof *f.error);
    if (!f.error)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu losses", n);
    status = job->parallel_for(job, n, 1, try_group, &f);
    return status == QC_OK ? choose(&f, job, factor) : status;
}
