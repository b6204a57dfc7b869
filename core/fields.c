#include "core/fields.h"
#include "core/suggest.h"
#include "core/text.h"
#include <stdlib.h>
#include <string.h>

static qc_status no_memory(qc_job *job)
{
    return job->fail(job, QC_E_NOMEM, "out of memory for a recipe");
}

static qc_status unknown_key(qc_job *job, place at, const char *key, const char *what, const field *fields)
{
    const char *nearest = NULL;
    for (const field *f = fields; f->key; f++)
        nearest = suggest_better(key, nearest, f->key);
    if (nearest)
        return fail_at(job, at, QC_E_INVALID, "unknown key '%.64s' in %s; did you mean '%s'?", key, what, nearest);
    char known[256] = "";
    size_t n = 0;
    for (const field *f = fields; f->key && n + strlen(f->key) + 3 < sizeof known; f++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", f->key);
    return fail_at(job, at, QC_E_INVALID, "unknown key '%.64s' in %s; known: %s", key, what, known);
}

qc_status fields_read(qc_job *job, const yaml_node *map, const char *what, const field *fields, void *into)
{
    if (map->kind != YAML_MAP)
        return fail_at(job, map->at, QC_E_INVALID, "%s wants keys and values", what);
    for (size_t i = 0; i < map->n; i++) {
        const field *f = fields;
        while (f->key && strcmp(f->key, map->keys[i]) != 0)
            f++;
        if (!f->key)
            return unknown_key(job, map->key_places[i], map->keys[i], what, fields);
        qc_status status = f->read(job, map->items[i], (char *)into + f->offset);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

qc_status read_text(qc_job *job, const yaml_node *value, void *into)
{
    char *copy;
    if (value->kind != YAML_TEXT || !*value->text)
        return fail_at(job, value->at, QC_E_INVALID, "a text is wanted here");
    if (!(copy = strdup(value->text)))
        return no_memory(job);
    free(*(char **)into);
    *(char **)into = copy;
    return QC_OK;
}

qc_status read_bool(qc_job *job, const yaml_node *value, void *into)
{
    if (value->kind == YAML_TEXT && text_to_bool(value->text, into))
        return QC_OK;
    return fail_at(job, value->at, QC_E_INVALID, "true or false is wanted here");
}

qc_status read_count(qc_job *job, const yaml_node *value, void *into)
{
    if (value->kind == YAML_TEXT && text_to_count(value->text, into))
        return QC_OK;
    return fail_at(job, value->at, QC_E_INVALID, "a whole number is wanted here");
}

qc_status read_bytes(qc_job *job, const yaml_node *value, void *into)
{
    if (value->kind == YAML_TEXT && text_to_bytes(value->text, into))
        return QC_OK;
    return fail_at(job, value->at, QC_E_INVALID, "a number of bytes is wanted here, as 67108864, 64MiB or 1.5GB");
}

qc_status read_texts(qc_job *job, const yaml_node *value, void *into)
{
    text_list *list = into;
    size_t n = yaml_count(value);
    text_list_free(list);
    list->items = calloc(n + 1, sizeof *list->items);
    if (!list->items)
        return no_memory(job);
    for (size_t i = 0; i < n; i++) {
        qc_status status = read_text(job, yaml_item(value, i), &list->items[i]);
        list->n = i + (status == QC_OK);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status read_settings(qc_job *job, const yaml_node *map, plugin_use *use)
{
    if (map->kind != YAML_MAP)
        return fail_at(job, map->at, QC_E_INVALID, "settings of '%s' are wanted here, as {name: value}", use->id);
    use->names = calloc(map->n + 1, sizeof *use->names);
    use->values = calloc(map->n + 1, sizeof *use->values);
    if (!use->names || !use->values)
        return no_memory(job);
    for (size_t i = 0; i < map->n; i++) {
        if (map->items[i]->kind != YAML_TEXT)
            return fail_at(job, map->items[i]->at, QC_E_INVALID, "setting '%.64s' wants a single value", map->keys[i]);
        use->names[i] = strdup(map->keys[i]);
        use->values[i] = strdup(map->items[i]->text);
        use->n_settings = i + 1;
        if (!use->names[i] || !use->values[i])
            return no_memory(job);
    }
    return QC_OK;
}

qc_status read_use(qc_job *job, const yaml_node *value, void *into)
{
    plugin_use *use = into;
    use_free(use);
    use->at = value->at;
    if (value->kind == YAML_TEXT)
        return read_text(job, value, &use->id);
    if (value->kind != YAML_MAP || value->n != 1)
        return fail_at(job, value->at, QC_E_INVALID, "a plugin is wanted here, as ID or {ID: {setting: value}}");
    use->id = strdup(value->keys[0]);
    return use->id ? read_settings(job, value->items[0], use) : no_memory(job);
}

qc_status read_uses(qc_job *job, const yaml_node *value, void *into)
{
    use_list *list = into;
    size_t n = yaml_count(value);
    use_list_free(list);
    list->items = calloc(n + 1, sizeof *list->items);
    if (!list->items)
        return no_memory(job);
    list->n = n;
    for (size_t i = 0; i < n; i++) {
        qc_status status = read_use(job, yaml_item(value, i), &list->items[i]);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

void text_list_free(text_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (text_list){0};
}

void use_free(plugin_use *use)
{
    for (size_t i = 0; i < use->n_settings; i++) {
        free(use->names[i]);
        free(use->values[i]);
    }
    free(use->names);
    free(use->values);
    free(use->id);
    *use = (plugin_use){0};
}

void use_list_free(use_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        use_free(&list->items[i]);
    free(list->items);
    *list = (use_list){0};
}
