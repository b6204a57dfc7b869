#include "core/score.h"
#include "core/job.h"
#include "qcore/ops.h"
#include <stdlib.h>
#include <string.h>

/* SLAB_BYTES bounds a slab of logits, and so does its share of run.memory; MOST_ROWS is where larger ones would not be
 * faster. PIECE rows are one piece of work for a thread. */
enum { SLAB_BYTES = 64 << 20, SHARE = 8, MOST_ROWS = 256, PIECE = 4 };

/* Rows [first, first + n) of what was asked. */
typedef struct slab {
    const asked *asked;
    const qc_ops_row *ops;
    size_t n_vocab, first, n;
    float *logits, *reference; /* [n][n_vocab]; reference: or NULL */
    const scorer *scorers;
    size_t n_scorers;
} slab;

static qc_status read_rows(const logits_source *from, qc_job *job, const asked *a, size_t first, size_t n, float *rows)
{
    if (from->file)
        return base_file_rows(from->file, job, first, n, rows);
    return forward_logits(from->forward, job, from->hidden, a->rows + first, n, rows);
}

static qc_status check_row(const slab *s, qc_job *job, const float *row, size_t number, const char *whose)
{
    size_t sequence = asked_sequence(s->asked, number);
    if (s->ops->all_finite(row, s->n_vocab))
        return QC_OK;
    return qc_fail(job, QC_E_NUMERIC, "%slogits at token %zu of sequence %zu are NaN or Inf", whose,
                   s->asked->rows[number] - s->asked->sequences.starts[sequence], sequence);
}

static qc_status score_row(const slab *s, qc_job *job, size_t i)
{
    size_t number = s->first + i, sequence = asked_sequence(s->asked, number);
    qc_scored row = {.size = sizeof row,
                     .next = s->asked->next[number],
                     .sequence = sequence,
                     .position = s->asked->rows[number] - s->asked->sequences.starts[sequence],
                     .n_vocab = s->n_vocab,
                     .logits = s->logits + i * s->n_vocab};
    const float *reference = s->reference ? s->reference + i * s->n_vocab : NULL;
    qc_status status = check_row(s, job, row.logits, number, "");
    if (status == QC_OK && reference)
        status = check_row(s, job, reference, number, "the reference's ");
    for (size_t m = 0; m < s->n_scorers && status == QC_OK; m++) {
        const scorer *to = &s->scorers[m];
        row.reference = to->sees_reference ? reference : NULL;
        status = to->desc->score(job, to->state, &row, to->values + number * to->desc->n_values);
    }
    return status;
}

static qc_status score_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    qc_status status = QC_OK;
    for (size_t i = begin; i < end && status == QC_OK; i++) {
        size_t mark = job_mark(job);
        status = score_row(arg, job, i);
        job_release(job, mark);
    }
    return status;
}

size_t score_slab(size_t n_vocab, uint64_t memory)
{
    uint64_t bytes = memory / SHARE < SLAB_BYTES ? memory / SHARE : SLAB_BYTES;
    size_t rows = (size_t)bytes / (n_vocab * sizeof(float));
    return rows < PIECE ? PIECE : rows > MOST_ROWS ? MOST_ROWS : rows;
}

static qc_status score_slabs(slab *s, qc_job *job, size_t n_slab, const logits_source *own,
                             const logits_source *reference, progress *shown)
{
    size_t left;
    for (s->first = 0; (left = s->asked->n_rows - s->first) > 0; s->first += s->n) {
        s->n = left < n_slab ? left : n_slab;
        qc_status status = read_rows(own, job, s->asked, s->first, s->n, s->logits);
        if (status == QC_OK && reference)
            status = read_rows(reference, job, s->asked, s->first, s->n, s->reference);
        if (status == QC_OK)
            status = job->parallel_for(job, s->n, PIECE, score_piece, s);
        if (status != QC_OK)
            return status;
        progress_step(shown, "logits", s->n);
    }
    return QC_OK;
}

static int is_same(const logits_source *a, const logits_source *b)
{
    return !a->file && !b->file && a->forward == b->forward && a->hidden == b->hidden;
}

qc_status score_rows(const asked *a, qc_job *job, size_t n_vocab, const logits_source *own,
                     const logits_source *reference, const scorer *scorers, size_t n_scorers, size_t n_slab,
                     progress *shown)
{
    n_slab = n_slab < a->n_rows ? n_slab : a->n_rows;
    slab s = {.asked = a, .n_vocab = n_vocab, .scorers = scorers, .n_scorers = n_scorers};
    s.ops = job->host->find(job->host, QC_OPS_ROW);
    if (!s.ops || !s.ops->all_finite)
        return qc_fail(job, QC_E_UNSUPPORTED, "no backend has the table %s", QC_OPS_ROW);
    s.logits = malloc(n_slab * n_vocab * sizeof(float) + 1);
    int same = reference && is_same(own, reference);
    float *apart = reference && !same ? malloc(n_slab * n_vocab * sizeof(float) + 1) : NULL;
    s.reference = same ? s.logits : apart;
    qc_status status = s.logits && (s.reference || !reference)
                           ? score_slabs(&s, job, n_slab, own, same ? NULL : reference, shown)
                           : qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows of %zu logits", n_slab, n_vocab);
    free(s.logits);
    free(apart);
    return status;
}
