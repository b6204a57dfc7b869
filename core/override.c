#include "core/override.h"
#include "core/text.h"
#include <string.h>

typedef struct step {
    char key[65], index[24]; /* "rules", "2"; index: "" where there is none */
    int has_index;
} step;

static qc_status malformed(qc_job *job, place at)
{
    return fail_at(job, at, QC_E_INVALID, "wanted is KEY.KEY=VALUE, as quantize.preset=Q4_K_M");
}

/* Takes one step off the path; 0 where it is malformed. */
static int next_step(const char **path, const char *end, step *s)
{
    size_t n = strcspn(*path, ".[=");
    if (n == 0 || n >= sizeof s->key)
        return 0;
    memcpy(s->key, *path, n);
    s->key[n] = 0;
    *path += n;
    s->has_index = **path == '[';
    if (s->has_index) {
        size_t digits = strspn(*path + 1, "0123456789");
        if ((*path)[1 + digits] != ']' || digits >= sizeof s->index)
            return 0;
        memcpy(s->index, *path + 1, digits);
        s->index[digits] = 0;
        *path += digits + 2;
    }
    if (*path < end && **path == '.')
        return ++*path < end;
    return *path == end;
}

/* The item of a list that a step names: there already, or new at its end. */
static qc_status list_slot(qc_job *job, yaml_node *list, const step *s, place at, yaml_node ***slot)
{
    uint64_t i = list->n;
    if (list->kind != YAML_LIST)
        return fail_at(job, at, QC_E_INVALID, "'%s' is not a list", s->key);
    if (*s->index && (!text_to_count(s->index, &i) || i > list->n))
        return fail_at(job, at, QC_E_INVALID, "'%s' has %zu items, counted from 0", s->key, list->n);
    if (i == list->n) {
        yaml_node *item = yaml_new(job, YAML_MAP, at);
        qc_status status = item ? yaml_append(job, list, item) : QC_E_NOMEM;
        if (status != QC_OK)
            return status;
    }
    *slot = &list->items[i];
    return QC_OK;
}

/* Where the node of a step is kept; made as an empty map or list if need be. */
static qc_status find_slot(qc_job *job, yaml_node *map, const step *s, place at, yaml_node ***slot)
{
    if (map->kind != YAML_MAP)
        return fail_at(job, at, QC_E_INVALID, "there are no keys to set above '%s'", s->key);
    if (!yaml_get(map, s->key)) {
        yaml_node *made = yaml_new(job, s->has_index ? YAML_LIST : YAML_MAP, at);
        qc_status status = made ? yaml_put(job, map, s->key, at, made) : QC_E_NOMEM;
        if (status != QC_OK)
            return status;
    }
    size_t i = 0;
    while (strcmp(map->keys[i], s->key) != 0)
        i++;
    *slot = &map->items[i];
    map->key_places[i] = at;
    return s->has_index ? list_slot(job, map->items[i], s, at, slot) : QC_OK;
}

/* A command line has no lines. */
static void forget_lines(yaml_node *node, place at)
{
    node->at = at;
    for (size_t i = 0; i < node->n; i++) {
        forget_lines(node->items[i], at);
        if (node->key_places)
            node->key_places[i] = at;
    }
}

qc_status override_apply(qc_job *job, yaml_node *root, const char *name, const char *set)
{
    const place at = {.file = name};
    const char *equals = strchr(set, '='), *path = set;
    yaml_node **slot = &root, *value;
    if (!equals)
        return malformed(job, at);
    do {
        step s;
        if (!next_step(&path, equals, &s))
            return malformed(job, at);
        qc_status status = find_slot(job, *slot, &s, at, &slot);
        if (status != QC_OK)
            return status;
    } while (path < equals);
    qc_status status = yaml_parse(job, name, equals + 1, strlen(equals + 1), &value);
    if (status != QC_OK)
        return status;
    forget_lines(value, at);
    yaml_node_free(*slot);
    *slot = value;
    return QC_OK;
}
