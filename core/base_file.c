#include "core/base_file.h"
#include "core/contents.h"
#include "core/detect.h"
#include "core/job.h"
#include "core/source.h"
#include "qcore/number.h"
#include <stdlib.h>

struct base_file {
    const qc_host *host;
    char *path;
    detected file;
    void *index;
    contents found;
    const qc_tensor *tokens, *log_probs;
};

/* `holds` of the manifest of a format. */
static int holds_logits(const registry *r, const char *format_id)
{
    const plugin_entry *e = registry_entry(r, "format", format_id);
    const char *holds = e ? entry_value(e, "holds") : NULL;
    return holds && !strcmp(holds, "logits");
}

int base_file_is(qc_job *job, registry *r, const char *path)
{
    detected d;
    if (detect_format(job, r, path, NULL, &d) != QC_OK) {
        job_clear(job);
        return 0;
    }
    source_free(d.source);
    return holds_logits(r, d.format_id);
}

static const qc_tensor *find(const base_file *b, const char *name, const char *encoding)
{
    for (size_t i = 0; i < b->found.n_tensors; i++)
        if (!strcmp(b->found.tensors[i]->name, name) && !strcmp(b->found.tensors[i]->encoding, encoding))
            return b->found.tensors[i];
    return NULL;
}

/* Rows for positions context / 2 .. context - 2 of every window. */
static qc_status check_sizes(const base_file *b, qc_job *job)
{
    uint64_t context, rows;
    if (!b->tokens || !b->log_probs)
        return qc_fail(job, QC_E_CORRUPT, "%s: no tokens, or no log-probabilities in it", b->path);
    context = b->tokens->dims[0];
    if (context < 4 || context > INT32_MAX || b->log_probs->dims[0] > INT32_MAX)
        return qc_fail(job, QC_E_CORRUPT, "%s: windows of %llu tokens: damaged", b->path, (unsigned long long)context);
    rows = tensor_rows(b->tokens) * (context - 1 - context / 2);
    if (rows != tensor_rows(b->log_probs))
        return qc_fail(job, QC_E_CORRUPT, "%s: %llu rows of log-probabilities for %llu scored tokens", b->path,
                       (unsigned long long)tensor_rows(b->log_probs), (unsigned long long)rows);
    return QC_OK;
}

static qc_status scan(base_file *b, qc_job *job, registry *r)
{
    qc_status status = detect_format(job, r, b->path, NULL, &b->file);
    if (status != QC_OK)
        return status;
    if (!holds_logits(r, b->file.format_id))
        return qc_fail(job, QC_E_INVALID, "%s: a file of format %s, not of logits", b->path, b->file.format_id);
    contents_init(&b->found, b->file.source);
    status = b->file.format->scan(job, b->file.source, &b->found.scan, &b->index);
    if (status == QC_OK)
        status = contents_check(&b->found, job);
    if (status != QC_OK)
        return status;
    b->tokens = find(b, "tokens", "i32");
    b->log_probs = find(b, "log_probs", QC_ENCODING_F32);
    return check_sizes(b, job);
}

qc_status base_file_open(qc_job *job, registry *r, const char *path, base_file **out)
{
    *out = NULL;
    base_file *b = calloc(1, sizeof *b);
    if (!b || !(b->path = strdup(path))) {
        free(b);
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    }
    b->host = job->host;
    qc_status status = scan(b, job, r);
    if (status == QC_OK)
        *out = b;
    else
        base_file_free(b);
    return status;
}

void base_file_free(base_file *b)
{
    if (!b)
        return;
    if (b->index && b->file.format->release)
        b->file.format->release(b->host, b->index);
    contents_free(&b->found);
    source_free(b->file.source);
    free(b->path);
    free(b);
}

size_t base_file_context(const base_file *b)
{
    return (size_t)b->tokens->dims[0];
}

size_t base_file_vocabulary(const base_file *b)
{
    return (size_t)b->log_probs->dims[0];
}

/* Rows of 4-byte values, little-endian. */
static qc_status load(const base_file *b, qc_job *job, const qc_tensor *t, size_t first, size_t n, void *dst)
{
    const size_t cols = (size_t)t->dims[0];
    const qc_coder plain = {.size = sizeof plain, .block_cols = 1, .cols = cols, .row_bytes = 4 * cols};
    const qc_source *src = b->file.source;
    if (tensor_in_parts(t))
        return b->file.format->load(job, b->index, src, t, &plain, first, n, dst);
    return src->read_at(src, job, t->file, t->at + first * t->row_bytes, n * 4 * cols, dst);
}

qc_status base_file_tokens(const base_file *b, qc_job *job, size_t most, token_list *out)
{
    uint64_t windows = tensor_rows(b->tokens), context = b->tokens->dims[0], bytes;
    if (most && windows > most / context)
        windows = most / context;
    if (windows == 0)
        return qc_fail(job, QC_E_INVALID, "%s: evaluate.tokens is less than its windows of %llu tokens", b->path,
                       (unsigned long long)context);
    if (!qc_mul_size(windows * context, sizeof *out->ids, &bytes) || !(out->ids = malloc((size_t)bytes)))
        return qc_fail(job, QC_E_NOMEM, "%s: out of memory for its tokens", b->path);
    out->n = out->capacity = (size_t)(windows * context);
    qc_status status = load(b, job, b->tokens, 0, (size_t)windows, out->ids);
    for (size_t i = 0; i < out->n && status == QC_OK; i++) {
        out->ids[i] = qc_load_le32(&out->ids[i]);
        if (out->ids[i] >= base_file_vocabulary(b))
            return qc_fail(job, QC_E_CORRUPT, "%s: token %zu is %d, the vocabulary has %zu", b->path, i,
                           (int32_t)out->ids[i], base_file_vocabulary(b));
    }
    return status;
}

qc_status base_file_rows(const base_file *b, qc_job *job, size_t first, size_t n, float *rows)
{
    qc_status status = load(b, job, b->log_probs, first, n, rows);
    for (size_t i = 0; QC_BIG_ENDIAN && status == QC_OK && i < n * base_file_vocabulary(b); i++)
        rows[i] = qc_float_from_bits(qc_load_le32(&rows[i]));
    return status;
}
