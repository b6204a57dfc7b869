/* Input channels whose magnitude stands out among those of the same input. */
#include "core/array.h"
#include "core/inspect_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* values: sorted here. The mean of the middle two where their number is even. */
static float median(float *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_floats);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Keeps the largest, the first of equals before the others. */
static void offer(input_view *v, const channel_view *c)
{
    size_t at = v->n_top;
    while (at > 0 && v->top[at - 1].magnitude < c->magnitude)
        at--;
    if (at == INSPECT_TOP)
        return;
    v->n_top += v->n_top < INSPECT_TOP;
    for (size_t k = v->n_top - 1; k > at; k--)
        v->top[k] = v->top[k - 1];
    v->top[at] = *c;
}

static qc_status find_outliers(qc_job *job, input_view *v, const qc_input *input)
{
    float *sorted = malloc((input->cols + 1) * sizeof *sorted);
    if (!sorted)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu channels", input->cols);
    for (size_t i = 0; i < input->cols; i++) {
        const channel_view c = {i, sqrtf(input->mean_square[i]), input->absmax ? input->absmax[i] : -1.0f};
        sorted[i] = c.magnitude;
        offer(v, &c);
    }
    v->median = input->cols ? median(sorted, input->cols) : 0;
    for (size_t i = input->cols; i-- > 0 && sorted[i] >= INSPECT_TIMES * v->median && sorted[i] > 0;)
        v->n_beyond++;
    free(sorted);
    return QC_OK;
}

static qc_status add_sharer(qc_job *job, input_view *v, const model_tensor *t)
{
    const model_tensor **tensors = realloc(v->tensors, (v->n_tensors + 1) * sizeof *tensors);
    if (!tensors)
        return qc_fail(job, QC_E_NOMEM, "out of memory for inputs");
    v->tensors = tensors;
    v->tensors[v->n_tensors++] = t;
    return QC_OK;
}

/* Recorded inputs are kept once; files repeat them for every tensor. */
static int is_same(const qc_input *a, const qc_input *b)
{
    return a == b || (a->cols == b->cols && a->n_tokens == b->n_tokens &&
                      !memcmp(a->mean_square, b->mean_square, a->cols * sizeof *a->mean_square));
}

/* The input of an earlier tensor of the same block, which comes just before; or NULL. */
static input_view *find_same(const inspection *in, const statistics *s, const model_tensor *t, uint64_t matrix,
                             const qc_input *input)
{
    for (size_t i = in->n_inputs; i-- > 0 && in->inputs[i].tensors[0]->layer == t->layer;) {
        input_view *v = &in->inputs[i];
        if (v->matrix == matrix && is_same(statistics_input(s, v->tensors[0]->name, matrix), input))
            return v;
    }
    return NULL;
}

static qc_status add_input(inspection *in, qc_job *job, const statistics *s, const model_tensor *t, uint64_t matrix)
{
    const qc_input *input = statistics_input(s, t->name, matrix);
    if (!input || !input->mean_square)
        return QC_OK;
    input_view *same = find_same(in, s, t, matrix, input);
    if (same)
        return add_sharer(job, same, t);
    if (!array_reserve(&in->inputs, &in->inputs_capacity, in->n_inputs, sizeof *in->inputs))
        return qc_fail(job, QC_E_NOMEM, "out of memory for inputs");
    input_view *v = &in->inputs[in->n_inputs];
    *v = (input_view){.n_channels = input->cols, .matrix = matrix, .n_tokens = input->n_tokens};
    qc_status status = add_sharer(job, v, t);
    in->n_inputs += status == QC_OK;
    return status == QC_OK ? find_outliers(job, v, input) : status;
}

qc_status inspection_inputs(inspection *in, qc_job *job, const statistics *s)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < in->model->n_tensors; i++) {
        const model_tensor *t = &in->model->tensors[i];
        for (uint64_t k = 0; k < t->dims[2] * t->dims[3] && status == QC_OK; k++)
            status = add_input(in, job, s, t, k);
    }
    return status;
}
