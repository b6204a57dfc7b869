#include "encoder.h"

void encoder_begin(encoder *e, qc_job *job, const token_table *table, const markers *m, const pair_map *pairs,
                   const qc_tokens *out)
{
    e->job = job;
    e->table = table;
    e->markers = m;
    e->out = out;
    e->n = 0;
    joiner_begin(&e->joiner, job, pairs);
}

qc_status encoder_flush(encoder *e)
{
    qc_status status = e->n > 0 ? e->out->push(e->out, e->job, e->ids, e->n) : QC_OK;
    e->n = 0;
    return status;
}

static qc_status encode_stretches(encoder *e, const char *text, size_t n, unsigned found,
                                  stretch_encoder encode_stretch, void *arg)
{
    qc_status status = QC_OK;
    while (n > 0 && status == QC_OK) {
        uint32_t id = 0;
        size_t length = markers_find(e->markers, e->table, text, n, found, &id);
        if (length > 0)
            status = encode_stretch(e, arg, text, length);
        if (length == n || status != QC_OK)
            break;
        status = encoder_emit(e, id);
        length += e->table->texts[id].length;
        text += length;
        n -= length;
    }
    return status;
}

qc_status encoder_run(encoder *e, const char *text, size_t n, uint32_t flags, stretch_encoder encode_stretch, void *arg)
{
    const qc_special_tokens *s = &e->table->special;
    unsigned found = FOUND_ALWAYS | (flags & QC_ENCODE_SPECIAL ? FOUND_SPECIAL : 0u);
    qc_status status = QC_OK;
    if (n > INT32_MAX)
        return qc_fail(e->job, QC_E_LIMIT, "a text of %zu bytes; cut it into pieces of less than 2 GiB", n);
    if ((flags & QC_ENCODE_ADD) && s->add_bos)
        status = encoder_emit(e, s->bos);
    if (status == QC_OK)
        status = encode_stretches(e, text, n, found, encode_stretch, arg);
    if (status == QC_OK && (flags & QC_ENCODE_ADD) && s->add_eos)
        status = encoder_emit(e, s->eos);
    return status == QC_OK ? encoder_flush(e) : status;
}
