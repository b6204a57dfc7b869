#include "made_axis.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

static void *array(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        abort();
    return p;
}

/* About a Gaussian: a sum of uniform numbers. */
static float gauss(uint32_t *state)
{
    float sum = 0;
    for (int i = 0; i < 6; i++) {
        *state = *state * 1664525u + 1013904223u;
        sum += (float)(*state >> 8) * 0x1p-24f - 0.5f;
    }
    return 1.4142f * sum;
}

static qc_status made_rows(const qc_end *end, qc_job *job, size_t first, size_t n, float *w)
{
    const made_reader *r = (const made_reader *)(const void *)end;
    if (first > r->linear.rows || n > r->linear.rows - first)
        return qc_fail(job, QC_E_INTERNAL, "rows %zu to %zu of %zu", first, first + n, r->linear.rows);
    memcpy(w, r->w + first * r->linear.cols, n * r->linear.cols * sizeof *w);
    return QC_OK;
}

/* Inputs whose channels are of very different size and follow each other. */
static void fill_samples(made_axis *a)
{
    size_t cols = a->input.cols, n = a->input.n_samples;
    uint32_t state = 11;
    for (size_t row = 0; row < n; row++) {
        float last = 0;
        for (size_t col = 0; col < cols; col++) {
            float scale = 0.05f + 4.0f * (float)(col * 37 % 101 == 5) + 0.01f * (float)(col * 29 % 64);
            last = 0.6f * last + gauss(&state);
            a->samples[row * cols + col] = scale * last;
        }
    }
    for (size_t col = 0; col < cols; col++) {
        double sum = 0;
        for (size_t row = 0; row < n; row++)
            sum += (double)a->samples[row * cols + col] * (double)a->samples[row * cols + col];
        a->mean_square[col] = (float)(sum / (double)n);
    }
}

void made_axis_begin(made_axis *a, size_t cols, size_t n_samples)
{
    memset(a, 0, sizeof *a);
    a->mean_square = array(cols, sizeof *a->mean_square);
    a->samples = array(n_samples * cols, sizeof *a->samples);
    a->map = array(cols, sizeof *a->map);
    a->input = (qc_input){.size = sizeof a->input,
                          .cols = cols,
                          .n_tokens = n_samples,
                          .mean_square = a->mean_square,
                          .samples = a->samples,
                          .n_samples = n_samples};
    a->axis = (qc_axis){
        .size = sizeof a->axis, .n_channels = cols, .input = &a->input, .readers = a->ends, .name = "made -> made"};
    fill_samples(a);
}

void made_axis_end(made_axis *a)
{
    for (size_t i = 0; i < a->axis.n_readers; i++)
        free(a->readers[i].w);
    free(a->mean_square);
    free(a->samples);
    free(a->map);
}

made_reader *made_axis_read(made_axis *a, size_t rows, const char *plugin, const char *encoding)
{
    size_t cols = a->input.cols, index = a->axis.n_readers;
    made_reader *r = &a->readers[index];
    uint32_t state = 77 + (uint32_t)index;
    if (!test_coder(&r->coder, &r->ops, test_find_encoding(test_plugin_open(plugin), encoding), "reference", cols))
        abort();
    r->w = array(rows * cols, sizeof *r->w);
    for (size_t i = 0; i < rows * cols; i++)
        r->w[i] = (0.02f + 0.01f * (float)index + 0.001f * (float)(i % cols * 53 % 97)) * gauss(&state);
    r->linear = (qc_linear){.size = sizeof r->linear,
                            .name = "made.weight",
                            .role = "made",
                            .layer = -1,
                            .expert = -1,
                            .rows = rows,
                            .cols = cols,
                            .input = &a->input,
                            .coder = &r->coder};
    r->end = (qc_end){.size = sizeof r->end, .linear = &r->linear, .rows = made_rows};
    a->ends[index] = &r->end;
    a->axis.n_readers = index + 1;
    return r;
}

void made_axis_share(made_axis *a, size_t run, size_t shared)
{
    for (size_t col = 0; col < a->input.cols; col++)
        a->map[col] = (uint32_t)(col / (run * shared) * run + col % run);
    for (size_t i = 0; i < a->axis.n_readers; i++)
        a->readers[i].end.map = a->map;
    a->axis.n_channels = a->input.cols / shared;
}

void made_axis_apply(made_axis *a, const float *factor)
{
    size_t cols = a->input.cols;
    for (size_t col = 0; col < cols; col++) {
        float c = factor[a->readers[0].end.map ? a->map[col] : col];
        for (size_t i = 0; i < a->axis.n_readers; i++)
            for (size_t row = 0; row < a->readers[i].linear.rows; row++)
                a->readers[i].w[row * cols + col] *= c;
        for (size_t row = 0; row < a->input.n_samples; row++)
            a->samples[row * cols + col] /= c;
        a->mean_square[col] /= c * c;
    }
}
