/* awq: activation-aware weight quantization (Lin et al. 2023). A channel whose input is loud gets a larger factor, so that
 * its weights lose less where their block's step is shared; how much, a search decides by the error of the output. When
 * blocks are rounded, a second search narrows their range where that pays.
 */
#include "awq.h"

static qc_status awq_create(qc_job *job, const qc_settings *settings, void **out)
{
    const qc_host *host = job->host;
    const qc_ops_matrix *matrix = (const qc_ops_matrix *)host->find(host, QC_OPS_MATRIX);
    const qc_ops_row *row = (const qc_ops_row *)host->find(host, QC_OPS_ROW);
    if (!matrix || !row)
        return qc_fail(job, QC_E_UNSUPPORTED, "no backend has the kernels of matrices and rows");
    awq_state *s = (awq_state *)host->alloc(host, sizeof *s);
    if (!s)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    *s = (awq_state){.grid = (size_t)host->number(settings, "grid"),
                     .rows = (size_t)host->number(settings, "rows"),
                     .by_weights = host->number(settings, "weights") != 0,
                     .power = host->number(settings, "power"),
                     .clip = (size_t)host->number(settings, "clip"),
                     .clip_to = (float)host->number(settings, "clip_to"),
                     .shrink = (float)host->number(settings, "shrink"),
                     .matrix = matrix,
                     .row = row};
    *out = s;
    return QC_OK;
}

static void awq_destroy(const qc_host *host, void *s)
{
    host->free(host, s);
}

static const qc_method_desc awq = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "awq"},
    .statistics = QC_STAT_MEAN_SQUARE | QC_STAT_SAMPLES,
    .create = awq_create,
    .destroy = awq_destroy,
    .transform = awq_transform,
    .prepare = awq_prepare,
    .release = awq_release,
    .round = awq_round,
    .memory = awq_memory,
    .round_memory = awq_round_memory,
};

QC_PLUGIN(&awq.base);
