/* The embedding's rows go into the first block unchanged, so what an error in them costs is known without any text: a
 * norm scales it, the linears that read the norm multiply it. With W those linears and g the norm's weights, (W g)'(W g)
 * stands where other tensors have the Gram matrix of their input. Only the first norm counts: later ones read what
 * attention has made of many rows. */
#include "core/chunk.h"
#include "core/job.h"
#include "core/names.h"
#include "core/rows.h"
#include "core/statistics_impl.h"
#include <stdlib.h>

enum { ROWS = 256 };

static const char embedding_name[] = "token_embd.weight";

typedef struct readers {
    const pipeline *pipeline;
    size_t cols;
    float *norm, *rows; /* [cols]; [ROWS][cols] */
    float *gram; /* [cols][cols], upper triangle */
    uint64_t n_rows; /* that went into it */
} readers;

static const work *find_work(const pipeline *p, const char *name)
{
    const model_tensor *t = model_find(p->plan->model, name);
    return t ? &p->works[t - p->plan->model->tensors] : NULL;
}

/* The next of a rule's tensors, of block 0; NULL where the model has none such, or it has no rows of this width. */
static const work *next_end(const readers *r, const char **names)
{
    char pattern[NAME_BYTES], name[NAME_BYTES];
    const name_numbers first_block = {0, 0};
    *names += strspn(*names, " ?");
    snprintf(pattern, sizeof pattern, "%.*s", (int)strcspn(*names, " "), *names);
    *names += strcspn(*names, " ");
    const work *w = name_fill(pattern, first_block, name) ? find_work(r->pipeline, name) : NULL;
    return w && w->view && w->from.cols == r->cols && w->n_matrices == 1 ? w : NULL;
}

static qc_status load(const readers *r, qc_job *job, const work *w, uint64_t row, size_t n, float *x)
{
    const pipeline *p = r->pipeline;
    return rows_load(p->plan->model, job, p->ops, w->item->tensor, &w->from, row, n, x);
}

static qc_status add_reader(readers *r, qc_job *job, const work *w)
{
    const uint64_t all = w->item->tensor->n_rows;
    qc_status status = QC_OK;
    for (uint64_t row = 0; row < all && status == QC_OK; row += ROWS) {
        const size_t n = all - row < ROWS ? (size_t)(all - row) : ROWS;
        status = load(r, job, w, row, n, r->rows);
        for (size_t i = 0; i < n * r->cols; i++)
            r->rows[i] *= r->norm[i % r->cols];
        if (status == QC_OK)
            status = r->pipeline->matrices->gram(job, r->cols, n, r->rows, r->cols, r->gram);
    }
    r->n_rows += all;
    return status;
}

/* A rule whose only writer is a norm: what it names as readers reads the norm's output. */
static qc_status add_rule(readers *r, qc_job *job, const qc_axis_rule *rule)
{
    const char *names = rule->writers;
    const work *norm = next_end(r, &names);
    if (!norm || norm->item->tensor->n_rows != 1)
        return QC_OK;
    qc_status status = load(r, job, norm, 0, 1, r->norm);
    for (names = rule->readers; status == QC_OK && names[strspn(names, " ")];) {
        const work *w = next_end(r, &names);
        status = w ? add_reader(r, job, w) : QC_OK;
    }
    return status;
}

static qc_status keep(const readers *r, qc_job *job, statistics *s)
{
    const size_t n = r->cols;
    size_t index;
    qc_status status = statistics_add_record(s, job, embedding_name, n, 1, &index);
    if (status == QC_OK)
        status = statistics_numbers(s, job, embedding_name, (const uint64_t[]){n, n, 1}, &s->records[index].gram);
    if (status != QC_OK)
        return status;
    input_record *to = &s->records[index];
    to->counts[0] = (float)r->n_rows;
    for (size_t i = 0; i < n; i++) {
        to->sums[i] = r->gram[i * (n + 1)];
        for (size_t k = i; k < n; k++)
            to->gram[i * n + k] = to->gram[k * n + i] = r->gram[i * n + k] / to->counts[0];
    }
    status = statistics_finish(job, embedding_name, to);
    if (status == QC_OK)
        status = statistics_add_name(s, job, embedding_name, index);
    statistics_sort(s);
    return status;
}

static qc_status take(readers *r, qc_job *job, statistics *s)
{
    const qc_axis_rule *rule = r->pipeline->family->axes;
    const size_t square = r->cols * r->cols * sizeof(float);
    r->norm = job->scratch(job, r->cols * sizeof(float));
    r->rows = job->scratch(job, ROWS * r->cols * sizeof(float));
    r->gram = job->scratch(job, square);
    if (!r->norm || !r->rows || !r->gram)
        return qc_fail(job, QC_E_NOMEM, "out of memory for what reads the embedding");
    memset(r->gram, 0, square);
    qc_status status = QC_OK;
    for (; rule && rule->writers && !r->n_rows && status == QC_OK; rule++)
        status = add_rule(r, job, rule);
    return status == QC_OK && r->n_rows ? keep(r, job, s) : status;
}

/* Only where the method rounds by Gram matrices and the embedding is not the output's matrix too. */
qc_status pipeline_know_embedding(const pipeline *p, qc_job *job, statistics *s)
{
    const work *w = find_work(p, embedding_name);
    const int wanted = p->rounder && (p->rounder->desc->statistics & QC_STAT_GRAM) && p->family && p->matrices;
    if (!s || !w || !wanted || !has_grid(w) || !is_rounded(w) || !find_work(p, "output.weight") ||
        statistics_input(s, embedding_name, 0))
        return QC_OK;
    readers r = {.pipeline = p, .cols = w->from.cols};
    const size_t mark = job_mark(job);
    qc_status status = take(&r, job, s);
    job_release(job, mark);
    return status;
}
