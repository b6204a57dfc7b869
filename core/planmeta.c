#include "core/planmeta.h"
#include "core/paths.h"
#include "core/statistics.h"
#include "core/text.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_OWN_KEYS = 5 };

/* Says of a file that other machines, or other numbers of threads, may not make the same bytes again. */
static const char exact_key[] = "qcore.exact";

/* One allocation: the entry, its value, its key. Text is kept as a qc_text before its bytes. */
static qc_meta *meta_new(const char *key, uint32_t type, const void *value, size_t n)
{
    size_t value_bytes = type == QC_TEXT ? sizeof(qc_text) + n : n, padded = (value_bytes + 7) & ~(size_t)7;
    size_t key_bytes = strlen(key) + 1;
    qc_meta *meta = malloc(sizeof *meta + padded + key_bytes);
    if (!meta)
        return NULL;
    char *data = (char *)(meta + 1), *name = data + padded;
    memcpy(name, key, key_bytes);
    *meta = (qc_meta){.size = sizeof *meta, .key = name, .type = type, .count = 1, .data = data};
    if (type == QC_TEXT) {
        char *bytes = data + sizeof(qc_text);
        const qc_text text = {bytes, n};
        memcpy(data, &text, sizeof text);
        memcpy(bytes, value, n);
    } else {
        memcpy(data, value, n);
    }
    return meta;
}

static qc_meta *meta_u32(const char *key, uint64_t value)
{
    uint32_t n = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return meta_new(key, QC_U32, &n, sizeof n);
}

static int takes_away(const yaml_node *node)
{
    return !node->quoted && (!strcmp(node->text, "null") || !strcmp(node->text, "~"));
}

static qc_meta *meta_of_node(const char *key, const yaml_node *node)
{
    uint64_t count;
    double number;
    int truth;
    if (!node->quoted && text_to_count(node->text, &count) && count <= UINT32_MAX)
        return meta_u32(key, count);
    if (!node->quoted && text_to_double(node->text, &number)) {
        float value = (float)number;
        return meta_new(key, QC_F32, &value, sizeof value);
    }
    if (!node->quoted && text_to_bool(node->text, &truth)) {
        uint8_t byte = truth != 0;
        return meta_new(key, QC_BOOL, &byte, 1);
    }
    return meta_new(key, QC_TEXT, node->text, strlen(node->text));
}

static qc_status add(qc_job *job, plan *p, qc_meta *meta)
{
    if (!meta)
        return job->fail(job, QC_E_NOMEM, "out of memory for metadata");
    p->metas[p->n_metas++] = meta;
    return QC_OK;
}

/* The keys by which llama-quantize says which importance file was used, or which text, where there is no file; only
 * names, so that the same input gives the same bytes wherever it lies. */
static qc_status add_importance(qc_job *job, plan *p, const statistics *s)
{
    const char *path = p->recipe->calibration.imatrix, *file = path ? path_name(path) : NULL;
    const char *dataset = statistics_dataset(s);
    qc_status status = QC_OK;
    if (file)
        status = add(job, p, meta_new("quantize.imatrix.file", QC_TEXT, file, strlen(file)));
    if (status == QC_OK && dataset)
        status = add(job, p, meta_new("quantize.imatrix.dataset", QC_TEXT, dataset, strlen(dataset)));
    if (status == QC_OK)
        status = add(job, p, meta_u32("quantize.imatrix.entries_count", statistics_entries(s)));
    if (status == QC_OK && statistics_chunks(s) > 0)
        status = add(job, p, meta_u32("quantize.imatrix.chunks_count", statistics_chunks(s)));
    return status;
}

static qc_status add_exactness(qc_job *job, plan *p)
{
    const uint8_t exact = 0;
    return p->recipe->run.exact ? QC_OK : add(job, p, meta_new(exact_key, QC_BOOL, &exact, 1));
}

static int is_replaced(const plan *p, const char *key, const rule_list *rules, const statistics *s)
{
    return yaml_get(rules->metadata, key) || (!p->recipe->run.exact && !strcmp(key, exact_key)) ||
           (s && !strncmp(key, "quantize.imatrix.", 17));
}

qc_status plan_metas(qc_job *job, plan *p, const rule_list *rules, const struct statistics *s)
{
    const model *m = p->model;
    p->metas = calloc(m->n_metas + rules->metadata->n + MAX_OWN_KEYS + 1, sizeof(qc_meta *));
    if (!p->metas)
        return job->fail(job, QC_E_NOMEM, "out of memory for metadata");
    for (size_t i = 0; i < m->n_metas; i++)
        if (!is_replaced(p, m->metas[i]->key, rules, s))
            p->metas[p->n_metas++] = m->metas[i];
    p->first_own = p->n_metas;
    qc_status status = QC_OK;
    for (size_t i = 0; status == QC_OK && i < rules->metadata->n; i++)
        if (!takes_away(rules->metadata->items[i]))
            status = add(job, p, meta_of_node(rules->metadata->keys[i], rules->metadata->items[i]));
    if (status == QC_OK && s)
        status = add_importance(job, p, s);
    return status == QC_OK ? add_exactness(job, p) : status;
}
