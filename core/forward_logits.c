#include "core/forward_impl.h"
#include "core/pages.h"
#include <stdlib.h>

enum { STRIP_BYTES = 16 << 20 }; /* of the head as float32, where it does not fit as a whole */

typedef struct scoring {
    forward *forward;
    size_t n;
    const float *x; /* [n][width] */
    float *logits; /* [n][vocabulary] */
    const qc_coder *coder; /* of a head that is multiplied as it is stored; else NULL */
    qc_activations rounded;
} scoring;

/* Rows that follow each other are read at once. */
static qc_status gather(const scoring *s, qc_job *job, const hidden_states *h, const size_t *rows, float *x)
{
    qc_status status = QC_OK;
    for (size_t i = 0, n; i < s->n && status == QC_OK; i += n) {
        for (n = 1; i + n < s->n && rows[i + n] == rows[i] + n;)
            n++;
        if (rows[i] >= hidden_tokens(h) || n > hidden_tokens(h) - rows[i])
            return qc_fail(job, QC_E_INTERNAL, "logits of token %zu of %zu", rows[i] + n - 1, hidden_tokens(h));
        status = hidden_read(h, job, rows[i], n, x + i * s->forward->width);
    }
    return status;
}

/* Words [first, first + n) of the vocabulary, whose rows are as in memory. */
static qc_status score(const scoring *s, qc_job *job, const void *w, size_t first, size_t n)
{
    const forward *f = s->forward;
    size_t mark = job_mark(job), width = f->width, vocabulary = forward_vocabulary(f);
    qc_status status = s->coder ? forward_dot(job, s->coder, w, n, &s->rounded, s->logits + first, vocabulary)
                                : f->matrices->gemm(job, s->n, n, width, s->x, width, w, width, 1, s->logits + first,
                                                    vocabulary);
    job_release(job, mark);
    return status;
}

static qc_status score_by_strips(const scoring *s, qc_job *job)
{
    const forward *f = s->forward;
    size_t row_bytes = s->coder ? s->coder->row_bytes : f->width * sizeof(float);
    size_t vocabulary = forward_vocabulary(f), rows = STRIP_BYTES / row_bytes / QC_LANES * QC_LANES;
    rows = rows ? rows : QC_LANES;
    size_t bytes = (rows < vocabulary ? rows : vocabulary) * row_bytes;
    void *strip = pages_new(bytes);
    qc_status status = strip ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for rows of %s", f->output->name);
    for (size_t first = 0; first < vocabulary && status == QC_OK; first += rows) {
        size_t n = vocabulary - first < rows ? vocabulary - first : rows;
        status = s->coder ? forward_read(s->forward, job, f->output, first, n, strip)
                          : forward_decode(s->forward, job, f->output, first, n, strip);
        if (status == QC_OK)
            status = score(s, job, strip, first, n);
    }
    pages_free(strip, bytes);
    return status;
}

/* Is there room for all of the head beside hidden states, what this call has in hand, and the scratch of the blocks, which
 * workers keep? */
static int head_fits(const scoring *s, const hidden_states *h)
{
    const forward *f = s->forward;
    uint64_t head = 0, in_hand = (uint64_t)s->n * (f->width + forward_vocabulary(f)) * sizeof(float);
    uint64_t held = hidden_memory(h) + in_hand + f->batch_tokens * f->token_bytes;
    return forward_matrix_bytes(f, f->output, &head) && held < f->memory && head <= f->memory - held;
}

static qc_status score_all(const scoring *s, qc_job *job, const hidden_states *h)
{
    const void *head = NULL;
    const float *values = NULL;
    if (!head_fits(s, h))
        return score_by_strips(s, job);
    qc_status status = s->coder ? forward_take_stored(s->forward, job, s->forward->output, 0, &head)
                                : forward_take(s->forward, job, s->forward->output, 0, &values);
    return status == QC_OK ? score(s, job, s->coder ? head : values, 0, forward_vocabulary(s->forward)) : status;
}

/* In 8 bits, where the head is multiplied so. Hidden states have been checked. */
static qc_status round_rows(scoring *s, qc_job *job)
{
    forward *f = s->forward;
    if (!forward_as_stored(f, f->output))
        return QC_OK;
    qc_status status = forward_coder(f, job, f->output, &s->coder);
    return status == QC_OK ? forward_round(f, job, s->x, s->n, f->width, &s->rounded) : status;
}

static qc_status check_logits(const scoring *s, qc_job *job, const size_t *rows)
{
    size_t bad;
    qc_status status = forward_check(s->forward, job, s->logits, s->n, forward_vocabulary(s->forward), &bad);
    if (status != QC_OK || bad == s->n)
        return status;
    return qc_fail(job, QC_E_NUMERIC, "%s: its product with token %zu of the text has NaN or Inf",
                   s->forward->output->name, rows[bad]);
}

qc_status forward_logits(forward *f, qc_job *job, const hidden_states *h, const size_t *rows, size_t n, float *logits)
{
    if (n == 0)
        return QC_OK;
    float *x = malloc(n * f->width * sizeof *x);
    scoring s = {.forward = f, .n = n, .x = x, .logits = logits};
    size_t mark = job_mark(job);
    if (!x)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu tokens", n);
    qc_status status = gather(&s, job, h, rows, x);
    if (status == QC_OK)
        status = round_rows(&s, job);
    if (status == QC_OK)
        status = score_all(&s, job, h);
    job_release(job, mark);
    if (status == QC_OK)
        status = check_logits(&s, job, rows);
    free(x);
    return forward_blame(f, job, status);
}
