#include "files.h"

enum { MAX_SETTINGS_BYTES = 64 << 20, MAX_TOKENIZER_BYTES = 128 << 20 };

qc_status files_open(qc_job *job, const qc_source *folder, files *f)
{
    *f = (files){NULL, NULL, NULL};
    qc_status status = qc_read_json(job, folder, "tokenizer.json", 1, MAX_TOKENIZER_BYTES, &f->tokenizer);
    if (status == QC_OK)
        status = qc_read_json(job, folder, "tokenizer_config.json", 1, MAX_SETTINGS_BYTES, &f->settings);
    if (status == QC_OK)
        status = qc_read_json(job, folder, "config.json", 1, MAX_SETTINGS_BYTES, &f->model);
    return status;
}

void files_close(files *f)
{
    json_decref(f->tokenizer);
    json_decref(f->settings);
    json_decref(f->model);
}

int read_id(const json_t *value, uint64_t *id)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0 && number < UINT32_MAX))
        return 0;
    *id = (uint64_t)number;
    return (double)*id == number;
}

const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "";
}

/* An id written as text: the keys of added_tokens_decoder. */
static int parse_id(const char *text, uint64_t *id)
{
    *id = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9' && n < 10; n++)
        *id = *id * 10 + (uint64_t)(text[n] - '0');
    return n > 0 && text[n] == 0;
}

static int is_special(const json_t *entry)
{
    return json_is_true(json_object_get(entry, "special"));
}

qc_status files_add_model(const files *f, vocabulary *v)
{
    const char *text;
    json_t *value;
    json_object_foreach(json_object_get(json_object_get(f->tokenizer, "model"), "vocab"), text, value)
    {
        uint64_t id = 0;
        const token t = {text, strlen(text), TOKEN_NORMAL, 0};
        if (!read_id(value, &id))
            return qc_fail(v->job, QC_E_CORRUPT, "tokenizer.json: token \"%.60s\" has no id", text);
        qc_status status = vocabulary_add(v, id, &t);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status add_from_tokenizer(const json_t *list, vocabulary *v)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        uint64_t id = 0;
        const json_t *content = json_object_get(entry, "content");
        if (!json_is_string(content) || !read_id(json_object_get(entry, "id"), &id))
            return qc_fail(v->job, QC_E_CORRUPT, "tokenizer.json: added token %zu has no content or no id", i);
        qc_status status = vocabulary_add_added(v, id, json_string_value(content), json_string_length(content),
                                                is_special(entry));
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status add_from_settings(json_t *decoder, vocabulary *v)
{
    const char *key;
    json_t *entry;
    json_object_foreach(decoder, key, entry)
    {
        uint64_t id = 0;
        const json_t *content = json_object_get(entry, "content");
        if (!json_is_string(content) || !parse_id(key, &id))
            return qc_fail(v->job, QC_E_CORRUPT, "tokenizer_config.json: added token \"%.20s\" has no content or no id",
                           key);
        qc_status status = vocabulary_add_added(v, id, json_string_value(content), json_string_length(content),
                                                is_special(entry));
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

qc_status files_add_tokens(const files *f, vocabulary *v)
{
    qc_status status = add_from_tokenizer(json_object_get(f->tokenizer, "added_tokens"), v);
    return status == QC_OK ? add_from_settings(json_object_get(f->settings, "added_tokens_decoder"), v) : status;
}
