#include "template.h"

enum { MAX_TEMPLATE_BYTES = 16 << 20, MAX_NAME = 64, MAX_TEMPLATES = 64 };

static qc_status report_text(qc_job *job, const qc_scan *out, const char *key, const char *text, size_t length)
{
    const qc_text value = {text, length};
    const qc_meta meta = {sizeof meta, key, QC_TEXT, 0, 1, &value};
    return out->meta(out, job, &meta);
}

/* Names become part of a key: whatever is neither letter nor digit becomes "_". */
static void clean_name(const char *name, char clean[MAX_NAME])
{
    size_t n = 0;
    for (; name[n] && n < MAX_NAME - 1; n++) {
        char c = name[n];
        int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        clean[n] = plain ? c : '_';
    }
    clean[n] = 0;
}

static qc_status report_named(qc_job *job, const json_t *list, const qc_scan *out)
{
    char names[MAX_TEMPLATES][MAX_NAME];
    qc_text texts[MAX_TEMPLATES];
    size_t n = 0, i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const json_t *text = json_object_get(entry, "template");
        if (!name || !*name || !json_is_string(text) || n == MAX_TEMPLATES)
            continue;
        char key[MAX_NAME + 32] = "tokenizer.chat_template";
        if (strcmp(name, "default") != 0) {
            clean_name(name, names[n]);
            snprintf(key, sizeof key, "tokenizer.chat_template.%s", names[n]);
            texts[n] = (qc_text){names[n], strlen(names[n])};
            n++;
        }
        qc_status status = report_text(job, out, key, json_string_value(text), json_string_length(text));
        if (status != QC_OK)
            return status;
    }
    const qc_meta meta = {sizeof meta, "tokenizer.chat_templates", QC_TEXT, 1, n, texts};
    return n ? out->meta(out, job, &meta) : QC_OK;
}

static qc_status report_value(qc_job *job, const json_t *value, const qc_scan *out)
{
    if (json_is_string(value))
        return report_text(job, out, "tokenizer.chat_template", json_string_value(value), json_string_length(value));
    return json_is_array(value) ? report_named(job, value, out) : QC_OK;
}

static qc_status report_file(qc_job *job, const qc_source *folder, const qc_scan *out)
{
    char *text = NULL;
    size_t length = 0;
    json_t *object = NULL;
    qc_status status = qc_read_file(job, folder, "chat_template.jinja", 1, MAX_TEMPLATE_BYTES, &text, &length);
    if (status == QC_OK && text)
        status = report_text(job, out, "tokenizer.chat_template", text, length);
    else if (status == QC_OK)
        status = qc_read_json(job, folder, "chat_template.json", 1, MAX_TEMPLATE_BYTES, &object);
    if (status == QC_OK && object)
        status = report_value(job, json_object_get(object, "chat_template"), out);
    job->host->free(job->host, text);
    json_decref(object);
    return status;
}

qc_status template_report(const files *f, qc_job *job, const qc_source *folder, const qc_scan *out)
{
    const json_t *own = json_object_get(f->settings, "chat_template");
    return json_is_string(own) || json_is_array(own) ? report_value(job, own, out) : report_file(job, folder, out);
}
