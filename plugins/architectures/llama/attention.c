#include "attention.h"

static size_t spans_of(size_t tokens)
{
    return tokens / SPAN_TOKENS + (tokens % SPAN_TOKENS != 0);
}

qc_status make_spans(qc_job *job, const qc_pass *pass, span **spans, size_t *n_spans)
{
    size_t n = 0;
    for (size_t s = 0; s < pass->n_sequences; s++)
        n += spans_of(pass->starts[s + 1] - pass->starts[s]);
    span *next = (span *)job->scratch(job, n * sizeof *next);
    if (!next)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a batch of %zu tokens", pass->n_tokens);
    *spans = next;
    *n_spans = n;
    for (size_t s = 0; s < pass->n_sequences; s++) {
        size_t start = pass->starts[s], end = pass->starts[s + 1];
        for (size_t first = start; first < end; first += SPAN_TOKENS) {
            size_t left = end - first;
            *next++ = (span){start, end - start, first, left < SPAN_TOKENS ? left : SPAN_TOKENS};
        }
    }
    return QC_OK;
}

/* The first row that a row attends to. */
static size_t first_key(const attention *a, const span *s, size_t row)
{
    size_t before = row - s->start;
    return a->window && before >= a->window ? row - a->window + 1 : s->start;
}

/* Scores of a row against keys `from` .. to - 1 become weights: 0 where it does not look. */
static qc_status weigh(const attention *a, qc_job *job, const span *s, size_t row, size_t from, size_t to,
                       float *scores)
{
    size_t first = first_key(a, s, row), n = row + 1 - first;
    float *seen = scores + (first - from);
    if (!a->h->row->all_finite(seen, n))
        return qc_fail(job, QC_E_NUMERIC, "blk.%u.attn_q.weight: the attention scores of token %zu are NaN or infinite",
                       a->block, row - s->start);
    a->h->math->softmax(seen, seen, n);
    memset(scores, 0, (first - from) * sizeof *scores);
    memset(seen + n, 0, (to - row - 1) * sizeof *seen);
    return QC_OK;
}

static qc_status attend_span(const attention *a, qc_job *job, const span *s, uint32_t head)
{
    const qc_ops_matrix *matrix = a->h->matrix;
    size_t size = a->h->head_size, key_head = head / (a->heads / a->key_heads);
    size_t q_cols = a->heads * size, k_cols = a->key_heads * size;
    size_t from = first_key(a, s, s->first), to = s->first + s->n, n_keys = to - from;
    float *q = a->q + s->first * q_cols + head * size;
    const float *k = a->k + from * k_cols + key_head * size, *v = a->v + from * k_cols + key_head * size;
    float *scores = (float *)job->scratch(job, s->n * n_keys * sizeof *scores);
    if (!scores)
        return qc_fail(job, QC_E_NOMEM, "out of memory for attention over %zu tokens", n_keys);
    qc_status status = matrix->gemm(job, s->n, n_keys, size, q, q_cols, k, k_cols, 1, scores, n_keys);
    for (size_t i = 0; i < s->n && status == QC_OK; i++)
        status = weigh(a, job, s, s->first + i, from, to, scores + i * n_keys);
    return status == QC_OK ? matrix->gemm(job, s->n, size, n_keys, scores, n_keys, v, k_cols, 0, q, q_cols) : status;
}

static qc_status attend_pieces(void *arg, qc_job *job, size_t begin, size_t end)
{
    const attention *a = (const attention *)arg;
    qc_status status = QC_OK;
    for (size_t i = begin; i < end && status == QC_OK; i++)
        status = attend_span(a, job, &a->spans[i / a->heads], (uint32_t)(i % a->heads));
    return status;
}

qc_status attend(const attention *a, qc_job *job, size_t n_spans)
{
    attention own = *a;
    return job->parallel_for(job, n_spans * a->heads, 1, attend_pieces, &own);
}
