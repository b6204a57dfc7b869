#include "core/asked.h"
#include "core/array.h"

size_t asked_tokens(const asked *a)
{
    return a->sequences.n ? a->sequences.starts[a->sequences.n] : 0;
}

/* Ends of sequence number n; the first call also begins it. */
static qc_status add_end(asked *a, qc_job *job, size_t token_end, size_t row_end)
{
    sequences *s = &a->sequences;
    for (size_t i = s->n ? s->n + 1 : 0; i < s->n + 2; i++) {
        if (!array_reserve(&s->starts, &a->start_capacity, i, sizeof *s->starts) ||
            !array_reserve(&a->first_row, &a->sequence_capacity, i, sizeof *a->first_row))
            return qc_fail(job, QC_E_NOMEM, "out of memory for %zu sequences", s->n + 1);
        s->starts[i] = i ? token_end : 0;
        a->first_row[i] = i ? row_end : 0;
    }
    s->n++;
    return QC_OK;
}

static qc_status no_memory(qc_job *job, size_t n)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for %zu tokens", n);
}

qc_status asked_add(asked *a, qc_job *job, const uint32_t *tokens, size_t n, size_t first, size_t end)
{
    size_t begin = asked_tokens(a);
    if (n == 0 || first > end || end > n)
        return qc_fail(job, QC_E_INTERNAL, "positions %zu to %zu of %zu tokens were asked for", first, end, n);
    for (size_t i = 0; i < n; i++) {
        if (!array_reserve(&a->sequences.tokens, &a->token_capacity, begin + i, sizeof *a->sequences.tokens))
            return no_memory(job, begin + n);
        a->sequences.tokens[begin + i] = tokens[i];
    }
    for (size_t i = first; i < end; i++) {
        if (!array_reserve(&a->rows, &a->row_capacity, a->n_rows, sizeof *a->rows) ||
            !array_reserve(&a->next, &a->next_capacity, a->n_rows, sizeof *a->next))
            return no_memory(job, begin + n);
        a->rows[a->n_rows] = begin + i;
        a->next[a->n_rows++] = i + 1 < n ? tokens[i + 1] : QC_NO_TOKEN;
    }
    return add_end(a, job, begin + n, a->n_rows);
}

void asked_free(asked *a)
{
    free(a->sequences.tokens);
    free(a->sequences.starts);
    free(a->first_row);
    free(a->rows);
    free(a->next);
    *a = (asked){0};
}

size_t asked_sequence(const asked *a, size_t row)
{
    size_t low = 0, high = a->sequences.n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (a->first_row[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}
