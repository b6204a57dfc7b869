#include "core/forward_impl.h"
#include "core/units.h"
#include <stdlib.h>

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for running a model");
}

/* ---- the architecture ---- */

/* general.architecture, or the id of the plugin that read the folder. */
static const char *family_name(const model *m, char text[64])
{
    const qc_meta *meta = model_meta(m, "general.architecture");
    const qc_text *family = meta && meta->type == QC_TEXT && !meta->is_array ? meta->data : NULL;
    snprintf(text, 64, "%.*s", family ? (int)(family->length < 63 ? family->length : 63) : 7,
             family ? family->data : "unknown");
    return m->architecture_id ? m->architecture_id : text;
}

static qc_status open_architecture(forward *f, qc_job *job)
{
    char family[64];
    const void *desc = NULL;
    const char *id = f->model->architecture_id;
    qc_status status = id ? registry_open(f->registry, job, "architecture", id, &desc) : QC_OK;
    if (status != QC_OK)
        return status;
    f->architecture = desc;
    if (!desc || !f->architecture->block || !f->architecture->finish)
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: no plugin runs models of the family %s; they can only be quantized",
                       f->model->path, family_name(f->model, family));
    if (f->architecture->create)
        status = f->architecture->create(job, &f->metadata.api, &f->state);
    if (status != QC_OK)
        job_add_context(job, "%s", f->model->path);
    return status;
}

/* ---- what the model consists of ---- */

static qc_status refuse_model(const forward *f, qc_job *job, const char *why)
{
    return qc_fail(job, QC_E_CORRUPT, "%s cannot be run: %s", f->model->path, why);
}

static int is_matrix(const model_tensor *t)
{
    return t->n_rows == t->dims[1] && t->n_rows > 1;
}

/* Without its last blocks a model runs, and is another one. */
static qc_status refuse_blocks_left_over(const forward *f, qc_job *job)
{
    for (size_t i = 0; i < f->model->n_tensors; i++)
        if (f->model->tensors[i].layer >= (int32_t)f->n_blocks)
            return qc_fail(job, QC_E_CORRUPT, "%s cannot be run: it has %s, but block_count is %u", f->model->path,
                           f->model->tensors[i].name, f->n_blocks);
    return QC_OK;
}

static qc_status find_ends(forward *f, qc_job *job)
{
    uint64_t n_blocks = model_count(f->model, "block_count", 0, 0);
    uint64_t width = model_count(f->model, "embedding_length", 0, 0);
    f->embedding = model_find(f->model, "token_embd.weight");
    f->output = model_find(f->model, "output.weight");
    if (!f->output)
        f->output = f->embedding;
    if (!f->embedding || !is_matrix(f->embedding) || !is_matrix(f->output))
        return refuse_model(f, job, "token_embd.weight or output.weight is missing or no matrix");
    if (f->embedding->dims[0] != width || f->output->dims[0] != width)
        return refuse_model(f, job, "token_embd.weight or output.weight is not as wide as embedding_length says");
    if (f->embedding->dims[1] != f->output->dims[1])
        return refuse_model(f, job, "token_embd.weight and output.weight have different numbers of rows");
    if (n_blocks == 0 || n_blocks > INT32_MAX)
        return refuse_model(f, job, "its metadata has no number of blocks (block_count)");
    f->n_blocks = (uint32_t)n_blocks;
    f->width = (size_t)width;
    return refuse_blocks_left_over(f, job);
}

static int runs_through(const forward *f, const model_tensor *t)
{
    int in_block = t->layer >= 0 && (uint32_t)t->layer < f->n_blocks;
    return in_block || t == f->embedding || t == f->output;
}

/* An encoding that cannot be read is better known now than after hours. */
static qc_status make_coders(forward *f, qc_job *job)
{
    const qc_coder *coder;
    qc_status status = QC_OK;
    f->coders = calloc(f->model->n_tensors + 1, sizeof *f->coders);
    if (!f->coders)
        return no_memory(job);
    for (size_t i = 0; i < f->model->n_tensors && status == QC_OK; i++)
        if (runs_through(f, &f->model->tensors[i]))
            status = forward_coder(f, job, &f->model->tensors[i], &coder);
    return status;
}

/* ---- memory ---- */

typedef struct block_size {
    uint64_t bytes, rows, cols; /* in memory; of one expert's matrices; of its widest input */
} block_size;

static qc_status add_tensor(const forward *f, qc_job *job, const model_tensor *t, block_size *size)
{
    uint64_t matrix, all;
    if (!forward_matrix_bytes(f, t, &matrix) || !qc_mul_size(matrix, t->dims[2] * t->dims[3], &all) ||
        all > INT64_MAX - size->bytes || t->dims[1] > INT32_MAX)
        return qc_fail(job, QC_E_LIMIT, "%s: its size does not fit in memory", t->name);
    size->bytes += all;
    size->rows += t->n_rows > 1 ? t->dims[1] : 0;
    size->cols = forward_as_stored(f, t) && t->dims[0] > size->cols ? t->dims[0] : size->cols;
    return QC_OK;
}

/* The largest block. What a token needs in it: outputs of all linears at once are more than any architecture keeps; the
 * residual stream, its norm and an input come on top. Tensors of a block follow each other. */
static qc_status measure_blocks(forward *f, qc_job *job, int32_t *largest)
{
    block_size size = {0};
    int32_t block = -1;
    for (size_t i = 0; i < f->model->n_tensors; i++) {
        const model_tensor *t = &f->model->tensors[i];
        if (t->layer < 0 || (uint32_t)t->layer >= f->n_blocks)
            continue;
        if (t->layer != block)
            size = (block_size){0};
        block = t->layer;
        qc_status status = add_tensor(f, job, t, &size);
        if (status != QC_OK)
            return status;
        uint64_t token_bytes = (size.rows + 3 * (uint64_t)f->width) * sizeof(float) +
                               forward_activation_bytes(size.cols);
        *largest = size.bytes > f->block_bytes ? block : *largest;
        f->block_bytes = size.bytes > f->block_bytes ? size.bytes : f->block_bytes;
        f->token_bytes = token_bytes > f->token_bytes ? token_bytes : f->token_bytes;
    }
    return f->token_bytes ? QC_OK : refuse_model(f, job, "it has no blocks");
}

uint64_t forward_room(const forward *f)
{
    return f->token_bytes ? (f->memory - f->block_bytes) / f->token_bytes : 0;
}

/* Tokens of a batch: as many as fit beside a block, up to LARGEST_BATCH. */
static qc_status choose_batch(forward *f, qc_job *job)
{
    char needed[BYTES_TEXT], weights[BYTES_TEXT], allowed[BYTES_TEXT];
    int32_t largest = 0;
    qc_status status = measure_blocks(f, job, &largest);
    if (status != QC_OK)
        return status;
    uint64_t smallest = forward_least_memory(f);
    if (smallest > f->memory)
        return qc_fail(job, QC_E_LIMIT,
                       "%s needs %s of memory to be run (the weights of block %d alone are %s), "
                       "run.memory leaves %s for that",
                       f->model->path, bytes_text(smallest, needed), (int)largest, bytes_text(f->block_bytes, weights),
                       bytes_text(f->memory, allowed));
    uint64_t fit = forward_room(f);
    f->batch_tokens = fit < LARGEST_BATCH ? (size_t)fit : LARGEST_BATCH;
    return QC_OK;
}

qc_status forward_blame(const forward *f, qc_job *job, qc_status status)
{
    if (status == QC_E_CORRUPT || status == QC_E_NUMERIC || status == QC_E_INVALID)
        job_add_context(job, "%s", f->model->path);
    return status;
}

/* ---- opening ---- */

static qc_status find_ops(forward *f, qc_job *job)
{
    f->rows = job->host->find(job->host, QC_OPS_ROW);
    f->matrices = job->host->find(job->host, QC_OPS_MATRIX);
    return f->rows && f->matrices ? QC_OK : qc_fail(job, QC_E_INTERNAL, "no backend gives " QC_OPS_MATRIX);
}

static qc_status open_parts(forward *f, qc_job *job, const char *folder)
{
    f->folder = folder ? strdup(folder) : NULL;
    if (folder && !f->folder)
        return no_memory(job);
    qc_status status = find_ops(f, job);
    if (status == QC_OK)
        status = open_architecture(f, job);
    if (status == QC_OK)
        status = find_ends(f, job);
    if (status == QC_OK)
        status = make_coders(f, job);
    return status == QC_OK ? choose_batch(f, job) : status;
}

static qc_status open_as(qc_job *job, registry *r, const model *m, uint64_t memory, const char *folder, int quantized,
                         forward **out)
{
    *out = NULL;
    forward *f = calloc(1, sizeof *f);
    if (!f)
        return no_memory(job);
    f->model = m;
    f->registry = r;
    f->host = job->host;
    f->memory = memory;
    f->quantized = quantized;
    f->metadata = model_view_of(m);
    qc_status status = open_parts(f, job, folder);
    if (status == QC_OK)
        *out = f;
    else
        forward_free(f);
    return status;
}

qc_status forward_open(qc_job *job, registry *r, const model *m, uint64_t memory, const char *folder, forward **out)
{
    return open_as(job, r, m, memory, folder, 0, out);
}

qc_status forward_open_quantized(qc_job *job, registry *r, const model *m, uint64_t memory, const char *folder,
                                 forward **out)
{
    return open_as(job, r, m, memory, folder, 1, out);
}

void forward_free(forward *f)
{
    if (!f)
        return;
    forward_forget(f);
    if (f->architecture && f->architecture->destroy && f->state)
        f->architecture->destroy(f->host, f->state);
    free(f->decoded);
    free(f->coders);
    free(f->folder);
    free(f);
}

size_t forward_vocabulary(const forward *f)
{
    return (size_t)f->output->dims[1];
}

size_t forward_width(const forward *f)
{
    return f->width;
}

uint32_t forward_blocks(const forward *f)
{
    return f->n_blocks;
}

uint64_t forward_memory(const forward *f)
{
    return f->block_bytes + f->batch_tokens * f->token_bytes;
}

uint64_t forward_least_memory(const forward *f)
{
    return f->block_bytes + SMALLEST_BATCH * f->token_bytes;
}
