#include "rows.h"

enum { PIECE_ROWS = 16 };

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static qc_status norm_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    const rows_norm *w = (const rows_norm *)arg;
    (void)job;
    for (size_t row = begin; row < end; row++)
        w->math->rms_norm(w->y + row * w->cols, w->x + row * w->cols, w->weight, w->cols, w->epsilon);
    return QC_OK;
}

qc_status norm_rows(qc_job *job, size_t n, const rows_norm *work)
{
    rows_norm own = *work;
    return job->parallel_for(job, n, PIECE_ROWS, norm_piece, &own);
}

static qc_status add_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    const rows_sum *w = (const rows_sum *)arg;
    (void)job;
    for (size_t row = begin; row < end; row++) {
        float *x = w->x + row * w->cols;
        const float *y = w->y + row * w->cols;
        for (size_t i = 0; i < w->cols; i++)
            x[i] += w->bias ? y[i] + w->bias[i] : y[i];
    }
    return QC_OK;
}

qc_status add_rows(qc_job *job, size_t n, const rows_sum *work)
{
    rows_sum own = *work;
    return job->parallel_for(job, n, PIECE_ROWS, add_piece, &own);
}

static qc_status gate_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    const rows_gate *w = (const rows_gate *)arg;
    (void)job;
    for (size_t row = begin; row < end; row++) {
        float *gate = w->gate + row * w->cols, *up = w->up + row * w->cols;
        if (w->gate_bias)
            add(gate, w->gate_bias, w->cols);
        if (w->up_bias)
            add(up, w->up_bias, w->cols);
        w->math->silu(gate, gate, w->cols);
        for (size_t i = 0; i < w->cols; i++)
            gate[i] *= up[i];
    }
    return QC_OK;
}

qc_status gate_rows(qc_job *job, size_t n, const rows_gate *work)
{
    rows_gate own = *work;
    return job->parallel_for(job, n, PIECE_ROWS, gate_piece, &own);
}
