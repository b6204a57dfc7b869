/* Writing tensors as they are, in numbers that safetensors has a dtype for. */
#include "config.h"
#include "shards.h"

const char *st_refuses(const qc_tensor *t)
{
    if (!st_dtype_by_encoding(t->encoding))
        return t->desc && (t->desc->base.flags & QC_ENCODING_INTEGER)
                   ? "plain safetensors has no dtype for this encoding; the formats gptq, awq and compressed-tensors "
                     "keep it"
                   : "safetensors has no dtype for this encoding";
    if (t->n_dims > QC_MAX_DIMS)
        return "at most 4 dimensions are supported";
    for (uint32_t i = 0; i < QC_MAX_DIMS; i++)
        if (t->dims[i] > ST_MAX_NUMBER)
            return "its dimensions are absurd"; /* possible where another one is 0 */
    if (!strcmp(t->name, ST_METADATA) || t->name[0] == '\0')
        return "this name is reserved";
    if (t->order)
        return "safetensors cannot store a column order";
    return NULL;
}

qc_status st_plain_array(qc_job *job, const qc_tensor *t, size_t tensor, st_array *a)
{
    const char *why = st_refuses(t);
    if (why)
        return qc_fail(job, QC_E_UNSUPPORTED, "tensor '%.80s' (%s) cannot be written: %s", t->name, t->encoding, why);
    *a = (st_array){.name = t->name, .dtype = st_dtype_by_encoding(t->encoding), .n_dims = t->n_dims, .tensor = tensor};
    for (uint32_t i = 0; i < t->n_dims; i++)
        a->dims[i] = t->dims[t->n_dims - 1 - i];
    return st_size_array(job, a);
}

qc_status st_layout(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out, void **index)
{
    size_t n = model->n_tensors;
    qc_status status = QC_OK;
    *index = NULL;
    st_array *arrays = job->scratch(job, (n + 1) * sizeof *arrays);
    if (!arrays)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the table of %zu tensors", n);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = st_plain_array(job, model->tensors[i], i, &arrays[i]);
    if (status == QC_OK)
        status = st_lay_out(job, model, arrays, n, job->host->number(settings, "shard_bytes"), out);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        status = out->place(out, job, i, arrays[i].file, arrays[i].at);
    return status == QC_OK ? st_lay_out_config(job, model, NULL, out) : status;
}
