#include "hyperparameters.h"

enum { MAX_COUNT = 0x7fffffff, MAX_BLOCKS = 100000, MAX_HEAD_SIZE = 65536 };

static int find_ops(qc_job *job, hyperparameters *h)
{
    const qc_host *host = job->host;
    h->row = (const qc_ops_row *)host->find(host, QC_OPS_ROW);
    h->math = (const qc_ops_math *)host->find(host, QC_OPS_MATH);
    h->matrix = (const qc_ops_matrix *)host->find(host, QC_OPS_MATRIX);
    return h->row && h->math && h->matrix && QC_HAS(h->math, qc_ops_math, rms_norm) && h->matrix->gemm;
}

static void refuse_variants(reading *r)
{
    const qc_meta *causal = meta_find(r, "attention.causal");
    if (meta_number(r, "expert_count", 0, 0, MAX_COUNT) > 0)
        meta_reject(r, QC_E_UNSUPPORTED, "expert_count", "%s", "a mixture of experts of this family cannot be run yet");
    if (causal && meta_number(r, "attention.causal", 1, 0, 1) == 0)
        meta_reject(r, QC_E_UNSUPPORTED, "attention.causal", "%s", "only causal attention can be run");
}

static void read_head_size(reading *r, hyperparameters *h)
{
    if (r->status != QC_OK)
        return;
    uint32_t even = h->width / h->heads[0];
    double otherwise = h->width % h->heads[0] == 0 ? (double)even : NEEDED;
    h->head_size = meta_count(r, "attention.key_length", otherwise, 1, MAX_HEAD_SIZE);
    if (meta_count(r, "attention.value_length", otherwise, 1, MAX_HEAD_SIZE) != h->head_size)
        meta_reject(r, QC_E_UNSUPPORTED, "attention.value_length", "differs from the %u channels of keys",
                    h->head_size);
}

/* The window holds in all blocks, or in those that a pattern marks. */
static void read_window(reading *r, hyperparameters *h)
{
    uint32_t tokens = meta_count(r, "attention.sliding_window", 0, 0, MAX_COUNT);
    const qc_meta *pattern = meta_find(r, "attention.sliding_window_pattern");
    for (uint32_t i = 0; i < h->blocks; i++)
        h->window[i] = 1;
    if (pattern && pattern->is_array)
        meta_counts(r, "attention.sliding_window_pattern", NULL, 0, 1, h->window, h->blocks);
    else if (pattern && tokens)
        meta_reject(r, QC_E_UNSUPPORTED, "attention.sliding_window_pattern", "%s",
                    "must be an array, one value a block");
    for (uint32_t i = 0; i < h->blocks; i++)
        h->window[i] *= tokens;
}

static void read_blocks(reading *r, hyperparameters *h)
{
    meta_counts(r, "feed_forward_length", NULL, 1, MAX_COUNT, h->feed_forward, h->blocks);
    meta_counts(r, "attention.head_count", NULL, 1, MAX_COUNT, h->heads, h->blocks);
    meta_counts(r, "attention.head_count_kv", h->heads, 1, MAX_COUNT, h->key_heads, h->blocks);
    for (uint32_t i = 0; i < h->blocks && r->status == QC_OK; i++)
        if (h->heads[i] % h->key_heads[i])
            meta_reject(r, QC_E_CORRUPT, "attention.head_count_kv",
                        "%u key/value heads do not divide %u heads of block %u", h->key_heads[i], h->heads[i], i);
    read_window(r, h);
}

static void read_all(reading *r, hyperparameters *h)
{
    refuse_variants(r);
    h->width = meta_count(r, "embedding_length", NEEDED, 1, MAX_COUNT);
    h->epsilon = (float)meta_number(r, "attention.layer_norm_rms_epsilon", NEEDED, 1e-30, 1);
    read_blocks(r, h);
    read_head_size(r, h);
    read_rotary(r, h->head_size, &h->rotary);
}

static hyperparameters *allocate(reading *r)
{
    const qc_host *host = r->job->host;
    uint32_t blocks = meta_count(r, "block_count", NEEDED, 1, MAX_BLOCKS);
    if (r->status != QC_OK)
        return NULL;
    hyperparameters *h = (hyperparameters *)host->alloc(host, sizeof *h + 4 * (size_t)blocks * sizeof *h->counts);
    if (!h) {
        r->status = qc_fail(r->job, QC_E_NOMEM, "out of memory for the sizes of %u blocks", blocks);
        return NULL;
    }
    h->family = r->family;
    h->blocks = blocks;
    h->heads = h->counts;
    h->key_heads = h->heads + blocks;
    h->feed_forward = h->key_heads + blocks;
    h->window = h->feed_forward + blocks;
    return h;
}

qc_status create_hyperparameters(qc_job *job, const qc_metadata *metadata, const llama_family *family, void **state)
{
    reading r = {job, metadata, family, QC_OK};
    hyperparameters *h = allocate(&r);
    if (!h)
        return r.status;
    read_all(&r, h);
    if (r.status == QC_OK && !find_ops(job, h))
        r.status = qc_fail(job, QC_E_UNSUPPORTED, "no backend has the operations that running %s needs", family->id);
    if (r.status != QC_OK) {
        destroy_hyperparameters(job->host, h);
        return r.status;
    }
    *state = h;
    return QC_OK;
}

void destroy_hyperparameters(const qc_host *host, void *state)
{
    host->free(host, state);
}
