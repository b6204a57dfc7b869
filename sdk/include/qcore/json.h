/* JSON files of a model's folder, read with jansson. Not part of the ABI: for plugins that link jansson themselves. */
#ifndef QCORE_JSON_H
#define QCORE_JSON_H

#include "qcore/model.h"
#include <jansson.h>

/* One object in *root; owned: json_decref. `name` is the file's, for messages. Repeated keys are refused. Every number
 * is read as a real (json_number_value), since Hugging Face writes 10^30 where it means "no limit". */
static inline qc_status qc_parse_json(qc_job *job, const char *name, const char *text, size_t length, json_t **root)
{
    json_error_t error;
    *root = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (!*root && error.line < 0) /* so jansson says that it is not the text's fault */
        return qc_fail(job, QC_E_NOMEM, "%s: out of memory", name);
    if (!*root) {
        for (char *c = error.text; *c; c++)
            if ((unsigned char)*c < ' ')
                *c = ' ';
        return qc_fail(job, QC_E_CORRUPT, "%s:%d:%d: %s", name, error.line, error.column, error.text);
    }
    if (json_is_object(*root))
        return QC_OK;
    json_decref(*root);
    *root = NULL;
    return qc_fail(job, QC_E_CORRUPT, "%s: not a JSON object", name);
}

/* The file's object in *root; owned: json_decref. NULL with QC_OK where the file is optional and absent. */
static inline qc_status qc_read_json(qc_job *job, const qc_source *folder, const char *name, int optional,
                                     uint64_t max_bytes, json_t **root)
{
    char *text = NULL;
    size_t length = 0;
    *root = NULL;
    qc_status status = qc_read_file(job, folder, name, optional, max_bytes, &text, &length);
    if (status != QC_OK || !text)
        return status;
    status = qc_parse_json(job, name, text, length, root);
    job->host->free(job->host, text);
    return status;
}

#endif
