/* gptq: round columns one after another, each error made good by the columns still to come (E. Frantar et al., 2022; as
 * LDLQ, J. Chee et al., 2023), on the grid of whatever encoding the weights go to; then improve single codes. A linear
 * of whose input nothing is known is rounded plainly. */
#include "gptq.h"
#include "kernels.h"
#include "qcore/ops.h"

extern const gptq_kernels gptq_kernels_reference;
#if defined(QC_VARIANTS_X86)
extern const gptq_kernels gptq_kernels_x86_v3, gptq_kernels_x86_v4;
#endif

const gptq_kernels *gptq_kernels_for(const qc_host *host)
{
    const char *level = host->find(host, QC_CPU_LEVEL);
#if defined(QC_VARIANTS_X86)
    if (level && !strcmp(level, "x86-v4"))
        return &gptq_kernels_x86_v4;
    if (level && !strcmp(level, "x86-v3"))
        return &gptq_kernels_x86_v3;
#endif
    (void)level;
    return &gptq_kernels_reference;
}

static qc_status gptq_create(qc_job *job, const qc_settings *settings, void **out)
{
    const qc_host *host = job->host;
    gptq_settings *s = host->alloc(host, sizeof *s);
    if (!s)
        return job->fail(job, QC_E_NOMEM, "out of memory");
    s->damp = (float)host->number(settings, "damp");
    s->shrink = (float)host->number(settings, "shrink");
    s->search = (int)host->number(settings, "search");
    s->refine = host->number(settings, "refine") != 0.0;
    s->rescale = host->number(settings, "rescale") != 0.0;
    s->passes = (int)host->number(settings, "passes");
    s->by_importance = host->number(settings, "by_importance") != 0.0;
    s->act_order = host->number(settings, "act_order") != 0.0;
    *out = s;
    return QC_OK;
}

static void gptq_destroy(const qc_host *host, void *state)
{
    host->free(host, state);
}

/* ---- prepare ---- */

static qc_status check_input(qc_job *job, const qc_input *input)
{
    const size_t n = input->cols;
    int alive = 0;
    if (!input->gram)
        return job->fail(job, QC_E_INVALID, "no Gram matrix of this input: calibrate with statistics that have it");
    for (size_t i = 0; i < n; i++) {
        const float v = input->gram[i * n + i];
        if (!qc_is_finite(v) || v < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "mean square of column %zu in the Gram matrix is %s", i,
                           v < 0.0f ? "negative" : "NaN or Inf");
        alive |= v > 0.0f;
    }
    return alive ? QC_OK : job->fail(job, QC_E_NUMERIC, "no token of the calibration reached this input");
}

static qc_status check_shape(qc_job *job, const qc_encoding_desc *d, size_t cols)
{
    if (!d->reference->fit || !d->reference->pack || d->snap_cols > GPTQ_RUN)
        return qc_fail(job, QC_E_UNSUPPORTED, "encoding %s has no grid that columns can be rounded to one by one",
                       d->base.id);
    if (d->block_cols && cols % d->block_cols)
        return qc_fail(job, QC_E_INVALID, "%zu columns are no whole number of blocks of %u", cols, d->block_cols);
    return QC_OK;
}

static void gptq_release(const qc_host *host, void *prepared)
{
    gptq_prepared *p = prepared;
    if (!p)
        return;
    host->free(host, p->factor);
    host->free(host, p->visit);
    host->free(host, p->input_col);
    host->free(host, p->importance);
    host->free(host, p->diagonal);
    host->free(host, p->blocks);
    host->free(host, p);
}

static gptq_prepared *new_prepared(const qc_host *host, size_t n, int ordered)
{
    gptq_prepared *p = host->alloc(host, sizeof *p);
    if (!p)
        return NULL;
    p->n = n;
    p->factor = host->alloc(host, n * n * sizeof *p->factor);
    p->visit = host->alloc(host, n * sizeof *p->visit);
    p->input_col = ordered ? host->alloc(host, n * sizeof *p->input_col) : NULL;
    p->importance = host->alloc(host, n * sizeof *p->importance);
    p->diagonal = host->alloc(host, n * sizeof *p->diagonal);
    if (p->factor && p->visit && (p->input_col || !ordered) && p->importance && p->diagonal)
        return p;
    gptq_release(host, p);
    return NULL;
}

/* The diagonal by stored columns, once their order is chosen; then the order of visiting. */
static qc_status choose_orders(qc_job *job, const gptq_settings *s, const qc_input *input,
                               const qc_encoding_desc *shape, uint32_t *order, gptq_prepared *p)
{
    const size_t n = p->n;
    const gptq_shape blocks = gptq_shape_of(shape, n);
    qc_status status = QC_OK;
    for (size_t i = 0; i < n; i++)
        p->diagonal[i] = input->gram[i * n + i];
    if (p->input_col)
        status = gptq_choose_order(job, p->diagonal, n, order);
    for (size_t i = 0; status == QC_OK && p->input_col && i < n; i++) {
        p->input_col[i] = order[i];
        p->diagonal[i] = input->gram[order[i] * (n + 1)];
    }
    return status == QC_OK ? gptq_choose_visit(job, p->diagonal, n, &blocks, s->by_importance, p->visit) : status;
}

static qc_status gptq_prepare(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                              uint32_t *order, void **prepared)
{
    const gptq_settings *s = state;
    *prepared = NULL;
    if (!input || shape->block_cols == 1) /* plain numbers need no help */
        return QC_OK;
    qc_status status = check_input(job, input);
    if (status == QC_OK)
        status = check_shape(job, shape, input->cols);
    if (status != QC_OK)
        return status;
    gptq_prepared *p = new_prepared(job->host, input->cols, order && s->act_order);
    if (!p)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the factor of %zu columns", input->cols);
    status = choose_orders(job, s, input, shape, order, p);
    if (status == QC_OK)
        status = gptq_factor(job, s, input, p);
    if (status == QC_OK && s->refine)
        status = gptq_take_blocks(job, input->gram, p);
    if (status == QC_OK)
        *prepared = p;
    else
        gptq_release(job->host, p);
    return status;
}

/* ---- round ---- */

static qc_status gptq_round(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                            size_t n_rows, void *dst)
{
    const gptq_prepared *p = prepared;
    qc_status status = qc_check_weights(job, w, n_rows, linear->cols);
    if (status != QC_OK)
        return status;
    if (!p)
        return qc_encode_rows(job, linear->coder, dst, w, NULL, n_rows);
    if (p->n != linear->cols || !linear->input || !linear->input->gram)
        return qc_fail(job, QC_E_INVALID, "the Gram matrix is for %zu columns, the weight has %zu", p->n, linear->cols);
    return gptq_sweep(job, state, p, linear, w, n_rows, dst);
}

/* The factor, blocks of H, and a few numbers a column. */
static uint64_t gptq_memory(const void *state, size_t cols)
{
    const uint64_t blocks = ((const gptq_settings *)state)->refine ? GPTQ_PANEL + QC_LANES : 0;
    return ((uint64_t)cols + blocks + 4) * cols * sizeof(float);
}

/* Errors, codes and scales of the chunk, and what is as large for any number of rows. */
static uint64_t gptq_round_memory(const void *state, size_t n_rows, size_t cols)
{
    (void)state;
    const uint64_t rows = (n_rows + QC_LANES - 1) / QC_LANES * QC_LANES;
    return rows * cols * 11 + rows * GPTQ_PANEL * 24 + (uint64_t)GPTQ_PANEL * GPTQ_PANEL * 32 +
           (uint64_t)cols * QC_LANES * sizeof(float);
}

static const qc_method_desc gptq = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "gptq"},
    .statistics = QC_STAT_GRAM,
    .create = gptq_create,
    .destroy = gptq_destroy,
    .prepare = gptq_prepare,
    .release = gptq_release,
    .round = gptq_round,
    .memory = gptq_memory,
    .chunk_rows = 256,
    .round_memory = gptq_round_memory,
};

QC_PLUGIN(&gptq.base);
