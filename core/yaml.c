#include "core/yaml.h"
#include "core/array.h"
#include "core/text.h"
#include <limits.h>
#include <stdio.h>
#include <yaml.h>

typedef struct reader {
    qc_job *job;
    yaml_parser_t parser;
    const char *file;
    size_t n_nodes;
} reader;

const char *place_text(place at, char *buffer, size_t n)
{
    if (!at.file)
        snprintf(buffer, n, "%s", "");
    else if (at.line == 0)
        snprintf(buffer, n, "%s", at.file);
    else
        snprintf(buffer, n, "%s:%u:%u", at.file, at.line, at.column);
    return buffer;
}

qc_status fail_at(qc_job *job, place at, qc_status code, const char *format, ...)
{
    char where[PATH_MAX], what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    place_text(at, where, sizeof where);
    return qc_fail(job, code, "%.300s%s%s", where, *where ? ": " : "", what);
}

static place place_of(const reader *r, yaml_mark_t mark)
{
    return (place){r->file, (unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

yaml_node *yaml_new(qc_job *job, yaml_kind kind, place at)
{
    yaml_node *node = calloc(1, sizeof *node);
    if (!node) {
        job->fail(job, QC_E_NOMEM, "out of memory for a YAML file");
        return NULL;
    }
    node->kind = kind;
    node->at = at;
    return node;
}

void yaml_node_free(yaml_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->n; i++) {
        yaml_node_free(node->items[i]);
        if (node->keys)
            free(node->keys[i]);
    }
    free(node->items);
    free(node->keys);
    free(node->key_places);
    free(node->text);
    free(node);
}

qc_status yaml_append(qc_job *job, yaml_node *list, yaml_node *value)
{
    if (!array_reserve(&list->items, &list->capacity, list->n, sizeof(yaml_node *))) {
        yaml_node_free(value);
        return job->fail(job, QC_E_NOMEM, "out of memory for a YAML file");
    }
    list->items[list->n++] = value;
    return QC_OK;
}

static size_t key_index(const yaml_node *map, const char *key)
{
    size_t i = 0;
    while (i < map->n && strcmp(map->keys[i], key) != 0)
        i++;
    return i;
}

yaml_node *yaml_get(const yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    size_t i = key_index(map, key);
    return i < map->n ? map->items[i] : NULL;
}

size_t yaml_count(const yaml_node *value)
{
    return value->kind == YAML_LIST ? value->n : 1;
}

const yaml_node *yaml_item(const yaml_node *value, size_t i)
{
    return value->kind == YAML_LIST ? value->items[i] : value;
}

qc_status yaml_put(qc_job *job, yaml_node *map, const char *key, place at, yaml_node *value)
{
    size_t i = key_index(map, key);
    if (i < map->n) {
        yaml_node_free(map->items[i]);
        map->items[i] = value;
        map->key_places[i] = at;
        return QC_OK;
    }
    size_t places = map->capacity, keys = map->capacity;
    char *copy = strdup(key);
    if (!copy || !array_reserve(&map->key_places, &places, i, sizeof *map->key_places) ||
        !array_reserve(&map->keys, &keys, i, sizeof *map->keys)) {
        free(copy);
        yaml_node_free(value);
        return job->fail(job, QC_E_NOMEM, "out of memory for a YAML file");
    }
    map->keys[i] = copy;
    map->key_places[i] = at;
    qc_status status = yaml_append(job, map, value);
    if (status != QC_OK)
        free(copy);
    return status;
}

static qc_status next_event(reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return QC_OK;
    const char *problem = r->parser.problem ? r->parser.problem : "not YAML";
    place at = place_of(r, r->parser.problem_mark);
    return fail_at(r->job, at, r->parser.error == YAML_MEMORY_ERROR ? QC_E_NOMEM : QC_E_INVALID, "%s", problem);
}

static qc_status read_node(reader *r, yaml_event_t *event, unsigned depth, yaml_node **out);

static qc_status read_scalar(reader *r, const yaml_event_t *event, yaml_node *node)
{
    const char *value = (const char *)event->data.scalar.value;
    if (strlen(value) != event->data.scalar.length)
        return fail_at(r->job, node->at, QC_E_INVALID, "a zero byte in a text");
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = strdup(value);
    return node->text ? QC_OK : r->job->fail(r->job, QC_E_NOMEM, "out of memory for a YAML file");
}

static qc_status read_list(reader *r, unsigned depth, yaml_node *list)
{
    for (;;) {
        yaml_event_t event;
        yaml_node *item = NULL;
        qc_status status = next_event(r, &event);
        if (status != QC_OK)
            return status;
        int end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            status = read_node(r, &event, depth, &item);
        yaml_event_delete(&event);
        if (end || status != QC_OK)
            return status;
        status = yaml_append(r->job, list, item);
        if (status != QC_OK)
            return status;
    }
}

static qc_status read_entry(reader *r, const yaml_event_t *key, unsigned depth, yaml_node *map)
{
    yaml_event_t event;
    yaml_node *value = NULL;
    place at = place_of(r, key->start_mark);
    if (key->type != YAML_SCALAR_EVENT)
        return fail_at(r->job, at, QC_E_INVALID, "a key must be a plain word");
    const char *name = (const char *)key->data.scalar.value;
    if (strlen(name) != key->data.scalar.length)
        return fail_at(r->job, at, QC_E_INVALID, "a zero byte in a key");
    if (yaml_get(map, name))
        return fail_at(r->job, at, QC_E_INVALID, "key '%.64s' occurs twice", name);
    qc_status status = next_event(r, &event);
    if (status != QC_OK)
        return status;
    status = read_node(r, &event, depth, &value);
    yaml_event_delete(&event);
    return status == QC_OK ? yaml_put(r->job, map, name, at, value) : status;
}

static qc_status read_map(reader *r, unsigned depth, yaml_node *map)
{
    for (;;) {
        yaml_event_t event;
        qc_status status = next_event(r, &event);
        if (status != QC_OK)
            return status;
        int end = event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            status = read_entry(r, &event, depth, map);
        yaml_event_delete(&event);
        if (end || status != QC_OK)
            return status;
    }
}

/* Features that a recipe does not need and a reader would have to think about. */
static const char *refused(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "aliases (*name) are not supported: write it out";
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor ? "anchors (&name) are not supported"
               : event->data.scalar.tag  ? "tags (!name) are not supported"
                                         : NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor ? "anchors (&name) are not supported"
               : event->data.sequence_start.tag  ? "tags (!name) are not supported"
                                                 : NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor ? "anchors (&name) are not supported"
               : event->data.mapping_start.tag  ? "tags (!name) are not supported"
                                                : NULL;
    default:
        return "a value was expected";
    }
}

static qc_status read_node(reader *r, yaml_event_t *event, unsigned depth, yaml_node **out)
{
    place at = place_of(r, event->start_mark);
    const char *why = refused(event);
    if (why)
        return fail_at(r->job, at, QC_E_INVALID, "%s", why);
    if (depth == YAML_MAX_DEPTH || ++r->n_nodes > YAML_MAX_NODES)
        return fail_at(r->job, at, QC_E_LIMIT, "too deep or too long");
    yaml_kind kind = event->type == YAML_SCALAR_EVENT           ? YAML_TEXT
                     : event->type == YAML_SEQUENCE_START_EVENT ? YAML_LIST
                                                                : YAML_MAP;
    yaml_node *node = yaml_new(r->job, kind, at);
    if (!node)
        return QC_E_NOMEM;
    qc_status status = kind == YAML_TEXT   ? read_scalar(r, event, node)
                       : kind == YAML_LIST ? read_list(r, depth + 1, node)
                                           : read_map(r, depth + 1, node);
    if (status == QC_OK)
        *out = node;
    else
        yaml_node_free(node);
    return status;
}

/* STREAM-START, DOCUMENT-START, node, DOCUMENT-END, STREAM-END. */
static qc_status read_document(reader *r, yaml_node **root)
{
    qc_status status = QC_OK;
    while (status == QC_OK) {
        yaml_event_t event;
        status = next_event(r, &event);
        if (status != QC_OK)
            return status;
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && *root)
            status = fail_at(r->job, place_of(r, event.start_mark), QC_E_INVALID, "a second document in one file");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                 type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
            status = read_node(r, &event, 0, root);
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    return status;
}

qc_status yaml_parse(qc_job *job, const char *name, const char *text, size_t length, yaml_node **root)
{
    reader r = {.job = job, .file = name};
    *root = NULL;
    if (!yaml_parser_initialize(&r.parser))
        return job->fail(job, QC_E_NOMEM, "out of memory for a YAML file");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    size_t mark = length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0; /* editors on Windows write one */
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text + mark, length - mark);
    qc_status status = read_document(&r, root);
    yaml_parser_delete(&r.parser);
    if (status == QC_OK && !*root)
        *root = yaml_new(job, YAML_MAP, (place){name, 1, 1});
    if (status != QC_OK) {
        yaml_node_free(*root);
        *root = NULL;
    }
    return status != QC_OK ? status : *root ? QC_OK : QC_E_NOMEM;
}

qc_status yaml_read(qc_job *job, const char *path, yaml_node **root)
{
    char *text;
    size_t n;
    *root = NULL;
    qc_status status = text_read(job, path, YAML_MAX_BYTES, &text, &n);
    if (status == QC_OK)
        status = yaml_parse(job, path, text, n, root);
    free(text);
    return status;
}
