#include "heads.h"
#include <math.h>

/* turns: of the row's position. */
static void prepare_row(const heads_work *w, const projection *p, size_t row, const float *turns, float scale)
{
    const hyperparameters *h = w->h;
    size_t size = h->head_size, cols = p->heads * size;
    float *values = p->rows + row * cols;
    for (size_t i = 0; p->bias && i < cols; i++)
        values[i] += p->bias[i];
    for (float *head = values; head < values + cols; head += size) {
        if (p->norm)
            h->math->rms_norm(head, head, p->norm, size, h->epsilon);
        if (p->rotated)
            rotate_head(&h->rotary, turns, head);
    }
    for (size_t i = 0; scale != 1 && i < cols; i++)
        values[i] *= scale;
}

static qc_status prepare_spans(void *arg, qc_job *job, size_t begin, size_t end)
{
    const heads_work *w = (const heads_work *)arg;
    (void)job;
    for (const span *s = w->spans + begin; s < w->spans + end; s++)
        for (size_t row = s->first; row < s->first + s->n; row++) {
            const float *turns = rotary_turns(&w->h->rotary, &w->tables, s->length, row - s->start);
            for (size_t i = 0; i < 3; i++)
                prepare_row(w, &w->of[i], row, turns, i == 0 ? w->scale : 1);
        }
    return QC_OK;
}

qc_status prepare_heads(qc_job *job, const span *spans, size_t n_spans, heads_work *work)
{
    work->spans = spans;
    work->scale = 1 / sqrtf((float)work->h->head_size);
    return job->parallel_for(job, n_spans, 1, prepare_spans, work);
}
