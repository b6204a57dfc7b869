/* clip: a method that pulls outliers in before rounding. A weight further from zero than `limit` times the mean
 * magnitude of its row is moved there, so that the block around it keeps a finer scale. A template: small, but whole. */
#include "qcore/method.h"

typedef struct clip_state {
    float limit;
} clip_state;

/* Reads the settings, once. plugin.ini has typed and ranged them already. */
static qc_status clip_create(qc_job *job, const qc_settings *settings, void **out)
{
    clip_state *state = (clip_state *)job->host->alloc(job->host, sizeof *state);
    if (!state)
        return job->fail(job, QC_E_NOMEM, "out of memory");
    state->limit = (float)job->host->number(settings, "limit");
    *out = state;
    return QC_OK;
}

static void clip_destroy(const qc_host *host, void *state)
{
    host->free(host, state);
}

static void clip_row(float *w, size_t n, float limit)
{
    double sum = 0; /* in rising order: the same bits on every CPU */
    for (size_t i = 0; i < n; i++)
        sum += w[i] < 0 ? -(double)w[i] : (double)w[i];
    float most = (float)(sum / (double)n) * limit;
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] > most ? most : w[i] < -most ? -most : w[i];
}

/* Any chunk of rows, on any thread: state is const, and a row's result hangs on that row alone. */
static qc_status clip_round(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                            size_t n_rows, void *dst)
{
    const clip_state *clip = (const clip_state *)state;
    const float *importance = linear->input ? linear->input->mean_square : NULL;
    (void)prepared;
    qc_status status = qc_check_weights(job, w, n_rows, linear->cols);
    if (status != QC_OK)
        return status;
    for (size_t row = 0; row < n_rows; row++)
        clip_row(w + row * linear->cols, linear->cols, clip->limit);
    return qc_encode_rows(job, linear->coder, dst, w, importance, n_rows);
}

static const qc_method_desc clip = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "clip"},
    .create = clip_create,
    .destroy = clip_destroy,
    .round = clip_round,
};

QC_PLUGIN(&clip.base);
