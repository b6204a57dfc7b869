#include "table.h"

enum { SHOWN = 60 }; /* bytes of a token in a message */

void *take(qc_job *job, size_t n, size_t size)
{
    uint64_t bytes;
    void *p = NULL;
    if (qc_mul_size(n, size, &bytes) && bytes < SIZE_MAX)
        p = job->host->alloc(job->host, (size_t)bytes + 1);
    if (!p)
        qc_fail(job, QC_E_NOMEM, "out of memory for a tokenizer of %zu entries", n);
    return p;
}

static const char *name_type(uint32_t type)
{
    return type == QC_TEXT ? "texts" : "numbers";
}

qc_status find_array(qc_job *job, const qc_metadata *metadata, const char *key, uint32_t type, uint32_t other_type,
                     uint64_t least, int optional, const qc_meta **array)
{
    const qc_meta *meta = metadata->find(metadata, key);
    *array = meta;
    if (!meta && optional)
        return QC_OK;
    if (!meta)
        return qc_fail(job, QC_E_CORRUPT, "the metadata has no %s: the model comes without its tokenizer", key);
    if (!meta->is_array || (meta->type != type && meta->type != other_type))
        return qc_fail(job, QC_E_CORRUPT, "%s is not an array of %s", key, name_type(type));
    if (meta->count < least)
        return qc_fail(job, QC_E_CORRUPT, "%s has %llu entries for %llu tokens", key, (unsigned long long)meta->count,
                       (unsigned long long)least);
    return QC_OK;
}

static qc_status measure(qc_job *job, const qc_meta *tokens, size_t *bytes)
{
    const qc_text *texts = (const qc_text *)tokens->data;
    *bytes = 0;
    if (tokens->count == 0 || tokens->count > MAX_VOCABULARY)
        return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.tokens has %llu entries; 1 to %d are possible",
                       (unsigned long long)tokens->count, MAX_VOCABULARY);
    for (uint64_t i = 0; i < tokens->count; i++) {
        if (texts[i].length > SIZE_MAX / 4 - *bytes)
            return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.tokens: the texts are too long");
        *bytes += texts[i].length;
    }
    return QC_OK;
}

static qc_status copy_texts(token_table *t, qc_job *job, const qc_meta *tokens)
{
    const qc_text *texts = (const qc_text *)tokens->data;
    size_t bytes;
    qc_status status = measure(job, tokens, &bytes);
    if (status != QC_OK)
        return status;
    t->n = (uint32_t)tokens->count;
    t->texts = (qc_text *)take(job, t->n, sizeof *t->texts);
    t->pieces = (qc_text *)take(job, t->n, sizeof *t->pieces);
    t->types = (uint8_t *)take(job, t->n, sizeof *t->types);
    t->bytes = (char *)take(job, 2 * bytes, 1);
    if (!t->texts || !t->pieces || !t->types || !t->bytes)
        return QC_E_NOMEM;
    char *end = t->bytes;
    for (uint32_t i = 0; i < t->n; i++) {
        if (texts[i].length > 0)
            memcpy(end, texts[i].data, texts[i].length);
        t->texts[i] = (qc_text){end, texts[i].length};
        end += texts[i].length;
    }
    return QC_OK;
}

static qc_status read_types(token_table *t, qc_job *job, const qc_metadata *metadata)
{
    const qc_meta *types;
    qc_status status = find_array(job, metadata, "tokenizer.ggml.token_type", QC_I32, QC_U32, t->n, 1,
                                  &types); /* same width */
    for (uint32_t i = 0; i < t->n && status == QC_OK; i++) {
        int32_t type = types ? ((const int32_t *)types->data)[i] : TOKEN_NORMAL;
        if (type < 0 || type > TOKEN_BYTE)
            return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.token_type: token %u has type %d; there are 1 to %d", i,
                           type, TOKEN_BYTE);
        t->types[i] = type == 0 ? TOKEN_NORMAL : (uint8_t)type;
    }
    return status;
}

static qc_status fill_map(token_table *t, qc_job *job)
{
    qc_status status = text_map_begin(&t->ids, job, t->texts, t->n);
    for (uint32_t i = 0; i < t->n && status == QC_OK; i++) {
        uint32_t taken = UINT32_MAX;
        size_t length = t->texts[i].length;
        if (length > 0)
            status = text_map_add(&t->ids, job, i, &taken);
        if (taken != UINT32_MAX)
            return qc_fail(job, QC_E_CORRUPT, "tokenizer.ggml.tokens: \"%.*s\" occurs twice, as id %u and as id %u",
                           (int)(length < SHOWN ? length : SHOWN), t->texts[i].data, taken, i);
    }
    return status;
}

static void write_pieces(token_table *t, piece_writer write_piece)
{
    char *end = t->bytes;
    for (uint32_t i = 0; i < t->n; i++)
        end += t->texts[i].length;
    for (uint32_t i = 0; i < t->n; i++) {
        int is_text = t->types[i] != TOKEN_CONTROL && t->types[i] != TOKEN_UNKNOWN;
        t->pieces[i] = (qc_text){end, is_text ? write_piece(&t->texts[i], t->types[i], end) : 0};
        end += t->pieces[i].length;
    }
}

/* UINT32_MAX is how some write that there is none. */
static qc_status read_id(const token_table *t, qc_job *job, const qc_metadata *metadata, const char *key,
                         uint32_t otherwise, uint32_t *id)
{
    double value = qc_metadata_number(metadata, key, -1);
    *id = otherwise < t->n ? otherwise : QC_NO_TOKEN;
    if (!metadata->find(metadata, key))
        return QC_OK;
    *id = QC_NO_TOKEN;
    if (value == (double)UINT32_MAX)
        return QC_OK;
    if (!(value >= 0 && value < (double)t->n) || (double)(uint32_t)value != value)
        return qc_fail(job, QC_E_CORRUPT, "%s is no id of a token: there are %u tokens", key, t->n);
    *id = (uint32_t)value;
    return QC_OK;
}

static qc_status read_special(token_table *t, qc_job *job, const qc_metadata *metadata, const table_defaults *d)
{
    qc_special_tokens *s = &t->special;
    *s = (qc_special_tokens){sizeof *s, QC_NO_TOKEN, QC_NO_TOKEN, 0, 0};
    qc_status status = read_id(t, job, metadata, "tokenizer.ggml.bos_token_id", d->bos, &s->bos);
    if (status == QC_OK)
        status = read_id(t, job, metadata, "tokenizer.ggml.eos_token_id", d->eos, &s->eos);
    if (status == QC_OK)
        status = read_id(t, job, metadata, "tokenizer.ggml.unknown_token_id", d->unknown, &t->unknown);
    s->add_bos = qc_metadata_number(metadata, "tokenizer.ggml.add_bos_token", d->add_bos) != 0 && s->bos != QC_NO_TOKEN;
    s->add_eos = qc_metadata_number(metadata, "tokenizer.ggml.add_eos_token", d->add_eos) != 0 && s->eos != QC_NO_TOKEN;
    return status;
}

qc_status table_open(token_table *t, qc_job *job, const qc_metadata *metadata, const table_defaults *defaults,
                     piece_writer write_piece)
{
    const qc_meta *tokens;
    qc_status status = find_array(job, metadata, "tokenizer.ggml.tokens", QC_TEXT, QC_TEXT, 1, 0, &tokens);
    if (status == QC_OK)
        status = copy_texts(t, job, tokens);
    if (status == QC_OK)
        status = read_types(t, job, metadata);
    if (status == QC_OK)
        status = fill_map(t, job);
    if (status == QC_OK)
        status = read_special(t, job, metadata, defaults);
    if (status == QC_OK)
        write_pieces(t, write_piece);
    return status;
}

void table_close(token_table *t, const qc_host *host)
{
    text_map_end(&t->ids, host);
    host->free(host, t->texts);
    host->free(host, t->pieces);
    host->free(host, t->types);
    host->free(host, t->bytes);
}

void table_special(const token_table *t, qc_special_tokens *out)
{
    uint32_t size = out->size < sizeof *out ? out->size : (uint32_t)sizeof *out;
    memcpy(out, &t->special, size);
    out->size = size;
}

const char *table_piece(const token_table *t, uint32_t id, size_t *n)
{
    static const qc_text none = {"", 0};
    const qc_text *piece = id < t->n ? &t->pieces[id] : &none;
    *n = piece->length;
    return piece->data;
}
