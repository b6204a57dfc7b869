/* What is done to statistics after they were recorded, where weights change on the way. */
#include "core/statistics_impl.h"
#include <math.h>
#include <stdlib.h>

enum { PIECE_ROWS = 16 };

static input_record *find_record(const statistics *s, const char *tensor)
{
    const input_name *name = statistics_find(s, tensor);
    return name ? &s->records[name->record] : NULL;
}

void statistics_drop_gram(statistics *s, const char *tensor)
{
    input_record *r = find_record(s, tensor);
    if (!r || !r->gram)
        return;
    s->bytes -= r->n_matrices * r->cols * r->cols * sizeof *r->gram;
    free(r->gram);
    r->gram = NULL;
    for (uint64_t i = 0; i < r->n_matrices; i++)
        r->inputs[i].gram = NULL;
}

/* ---- copying ---- */

static qc_status copy_numbers(statistics *s, qc_job *job, const char *name, const float *from, uint64_t n, float **to)
{
    qc_status status = from ? statistics_numbers(s, job, name, (const uint64_t[]){n, 1, 1}, to) : QC_OK;
    if (from && status == QC_OK)
        memcpy(*to, from, (size_t)n * sizeof **to);
    return status;
}

static qc_status copy_record(statistics *s, qc_job *job, const input_record *from)
{
    size_t index;
    uint64_t n = from->n_matrices, all = n * from->cols;
    static const char name[] = "a copy for one scheme";
    qc_status status = statistics_add_record(s, job, name, from->cols, n, &index);
    if (status != QC_OK)
        return status;
    input_record *r = &s->records[index];
    memcpy(r->sums, from->sums, (size_t)all * sizeof *r->sums);
    memcpy(r->counts, from->counts, (size_t)n * sizeof *r->counts);
    r->room = from->room;
    status = copy_numbers(s, job, name, from->absmax, all, &r->absmax);
    if (status == QC_OK)
        status = copy_numbers(s, job, name, from->gram, all * from->cols, &r->gram);
    if (status == QC_OK)
        status = copy_numbers(s, job, name, from->samples, all * from->room, &r->samples);
    if (status == QC_OK)
        status = copy_numbers(s, job, name, from->n_samples, n, &r->n_samples);
    return status == QC_OK ? statistics_finish(job, name, r) : status;
}

qc_status statistics_copy(const statistics *from, qc_job *job, statistics **out)
{
    statistics *s = *out = statistics_new(from->limit);
    qc_status status = QC_OK;
    if (!s) {
        qc_fail(job, QC_E_NOMEM, "out of memory for statistics");
        return QC_E_NOMEM;
    }
    for (size_t i = 0; i < from->n_records && status == QC_OK; i++)
        status = copy_record(s, job, &from->records[i]);
    for (size_t i = 0; i < from->n_names && status == QC_OK; i++)
        status = statistics_add_name(s, job, from->names[i].tensor, from->names[i].record);
    if (status == QC_OK)
        return QC_OK;
    statistics_free(s);
    *out = NULL;
    return status;
}

/* ---- scaling ---- */

typedef struct scaling {
    const char *tensor;
    const float *factor; /* [cols] */
    size_t cols;
    float *rows; /* [n][cols] */
    int both; /* row i is divided by factor[i] too: a Gram matrix */
} scaling;

static qc_status scale_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const scaling *s = arg;
    for (size_t i = begin; i < end; i++) {
        float *row = s->rows + i * s->cols;
        double of_row = s->both ? (double)s->factor[i] : 1.0;
        for (size_t k = 0; k < s->cols; k++) {
            row[k] = (float)((double)row[k] / (of_row * (double)s->factor[k]));
            if (!qc_is_finite(row[k]))
                return qc_fail(job, QC_E_NUMERIC, "%.200s: column %zu of its input is too large for a factor of %g",
                               s->tensor, k, (double)s->factor[k]);
        }
    }
    return QC_OK;
}

static qc_status scale_each(const scaling *s, qc_job *job, float *rows, size_t n, int both)
{
    scaling each = *s;
    each.rows = rows;
    each.both = both;
    return rows ? job->parallel_for(job, n, PIECE_ROWS, scale_rows, &each) : QC_OK;
}

/* Squares by the factor's square, largest values by its size: as one row. */
static qc_status scale_columns(const scaling *s, qc_job *job, const input_record *r, uint64_t matrix)
{
    float *sums = r->sums + matrix * s->cols, *means = r->means + matrix * s->cols;
    float *absmax = r->absmax ? r->absmax + matrix * s->cols : NULL;
    for (size_t i = 0; i < s->cols; i++) {
        double factor = (double)s->factor[i], square = factor * factor;
        sums[i] = (float)((double)sums[i] / square);
        means[i] = (float)((double)means[i] / square);
        if (absmax)
            absmax[i] = (float)((double)absmax[i] / fabs(factor));
        if (!qc_is_finite(sums[i]) || !qc_is_finite(means[i]) || (absmax && !qc_is_finite(absmax[i])))
            return qc_fail(job, QC_E_NUMERIC, "%.200s: column %zu of its input is too large for a factor of %g",
                           s->tensor, i, factor);
    }
    return QC_OK;
}

static qc_status check_factors(const scaling *s, qc_job *job)
{
    for (size_t i = 0; i < s->cols; i++)
        if (!qc_is_finite(s->factor[i]) || s->factor[i] == 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "%.200s: the factor of column %zu is %g", s->tensor, i,
                           (double)s->factor[i]);
    return QC_OK;
}

qc_status statistics_scale(statistics *s, qc_job *job, const char *tensor, uint64_t matrix, const float *factor)
{
    const input_record *r = find_record(s, tensor);
    if (!r || matrix >= r->n_matrices)
        return qc_fail(job, QC_E_INTERNAL, "%.200s: nothing is known of its input", tensor);
    const scaling all = {.tensor = tensor, .factor = factor, .cols = (size_t)r->cols};
    uint64_t at = matrix * r->cols;
    qc_status status = check_factors(&all, job);
    if (status == QC_OK)
        status = scale_columns(&all, job, r, matrix);
    if (status == QC_OK)
        status = scale_each(&all, job, r->gram ? r->gram + at * r->cols : NULL, all.cols, 1);
    if (status == QC_OK)
        status = scale_each(&all, job, r->samples ? r->samples + at * r->room : NULL, r->inputs[matrix].n_samples, 0);
    return status;
}
