/* Reading rules: presets, what they include, and a recipe's own. choose.c says what they mean. */
#include "core/rules.h"
#include "core/array.h"
#include "core/job.h"
#include "core/paths.h"
#include "core/suggest.h"
#include <dirent.h>
#include <unistd.h>

enum { MAX_LAYERS = 8 }; /* presets that build on presets */

static qc_status no_memory(qc_job *job)
{
    return job->fail(job, QC_E_NOMEM, "out of memory for rules");
}

static qc_status read_selectors(qc_job *job, const yaml_node *value, void *into)
{
    selector_list *list = into;
    size_t n = yaml_count(value);
    free(list->items);
    list->n = 0;
    list->items = calloc(n + 1, sizeof *list->items);
    if (!list->items)
        return no_memory(job);
    for (; list->n < n; list->n++) {
        const yaml_node *one = yaml_item(value, list->n);
        if (one->kind != YAML_TEXT || !selector_parse(one->text, &list->items[list->n]))
            return fail_at(job, one->at, QC_E_INVALID, "not a selector; wanted is %s", selector_help);
    }
    return QC_OK;
}

static qc_status read_when(qc_job *job, const yaml_node *value, void *into)
{
    static const field fields[] = {{"importance", read_bool, offsetof(rule_when, importance)},
                                   {"tied", read_bool, offsetof(rule_when, tied)},
                                   {"experts", read_count, offsetof(rule_when, experts)},
                                   {"min_experts", read_count, offsetof(rule_when, min_experts)},
                                   {"min_gqa", read_count, offsetof(rule_when, min_gqa)},
                                   {"blocks", read_count, offsetof(rule_when, blocks)},
                                   {"dims", read_count, offsetof(rule_when, dims)},
                                   {"architecture", read_texts, offsetof(rule_when, architecture)},
                                   {"encoding", read_texts, offsetof(rule_when, encoding)},
                                   {NULL, NULL, 0}};
    return fields_read(job, value, "when", fields, into);
}

static qc_status read_rule(qc_job *job, const yaml_node *value, rule *r)
{
    static const field fields[] = {
        {"role", read_texts, offsetof(rule, roles)},        {"name", read_texts, offsetof(rule, names)},
        {"layers", read_selectors, offsetof(rule, layers)}, {"nth", read_selectors, offsetof(rule, nth)},
        {"depth", read_selectors, offsetof(rule, depth)},   {"when", read_when, offsetof(rule, when)},
        {"encoding", read_text, offsetof(rule, encoding)},  {NULL, NULL, 0}};
    r->at = value->at;
    r->when.importance = r->when.tied = -1;
    r->when.experts = r->when.blocks = r->when.dims = RULE_ANY;
    qc_status status = fields_read(job, value, "a rule", fields, r);
    if (status == QC_OK && !r->encoding)
        status = fail_at(job, r->at, QC_E_INVALID, "this rule says no encoding");
    return status;
}

static qc_status read_rules(qc_job *job, const yaml_node *value, void *into)
{
    rule_list *list = into;
    if (value->kind != YAML_LIST)
        return fail_at(job, value->at, QC_E_INVALID, "rules want a list, as [{role: ffn_down, encoding: ID}]");
    for (size_t i = 0; i < value->n; i++) {
        if (!array_reserve(&list->rules, &list->capacity, list->n_rules, sizeof *list->rules))
            return no_memory(job);
        rule *r = &list->rules[list->n_rules++];
        *r = (rule){0};
        qc_status status = read_rule(job, value->items[i], r);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

/* Copies single values of a map over those that were there. */
static qc_status merge(qc_job *job, const yaml_node *from, yaml_node *into)
{
    if (from->kind != YAML_MAP)
        return fail_at(job, from->at, QC_E_INVALID, "keys and values are wanted here");
    for (size_t i = 0; i < from->n; i++) {
        const yaml_node *value = from->items[i];
        if (value->kind != YAML_TEXT)
            return fail_at(job, value->at, QC_E_INVALID, "'%.64s' wants a single value", from->keys[i]);
        yaml_node *copy = yaml_new(job, YAML_TEXT, value->at);
        if (!copy)
            return QC_E_NOMEM;
        copy->text = strdup(value->text);
        copy->quoted = value->quoted;
        if (!copy->text) {
            yaml_node_free(copy);
            return no_memory(job);
        }
        qc_status status = yaml_put(job, into, from->keys[i], from->key_places[i], copy);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status read_merged(qc_job *job, const yaml_node *value, void *into)
{
    return merge(job, value, *(yaml_node **)into);
}

static qc_status read_base(qc_job *job, const yaml_node *value, void *into)
{
    rule_list *list = into;
    list->encoding_at = value->at;
    return read_text(job, value, &list->encoding);
}

static qc_status read_require(qc_job *job, const yaml_node *value, void *into)
{
    rule_list *list = into;
    list->require_at = value->at;
    qc_status status = read_text(job, value, &list->require);
    if (status == QC_OK && strcmp(list->require, "importance") != 0)
        status = fail_at(job, value->at, QC_E_INVALID, "only 'importance' can be required");
    return status;
}

/* A key that read_layer sees to. */
static qc_status read_elsewhere(qc_job *job, const yaml_node *value, void *into)
{
    (void)job, (void)value, (void)into;
    return QC_OK;
}

static qc_status read_layer(qc_job *job, rule_list *list, const yaml_node *map, int own, unsigned depth);

/* at: who names the file. */
static qc_status read_file(qc_job *job, rule_list *list, char *path, place at, unsigned depth)
{
    yaml_node *root;
    if (!path || !array_reserve(&list->files, &list->files_capacity, list->n_files, sizeof *list->files)) {
        free(path);
        return no_memory(job);
    }
    list->files[list->n_files++] = path;
    qc_status status = yaml_read(job, path, &root);
    if (status == QC_OK)
        status = read_layer(job, list, root, 0, depth + 1);
    else if (status == QC_E_IO)
        job_add_place(job, at.file, at.line, at.column);
    yaml_node_free(root);
    return status;
}

static int is_file_name(const char *text)
{
    size_t n = strlen(text);
    return n > 5 && !strcmp(text + n - 5, ".yaml");
}

/* Names of the presets in a folder; the nearest one to `wanted`, owned, or NULL. */
static char *nearest_preset(const char *folder, const char *wanted)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char *nearest = NULL;
    while (dir && (entry = readdir(dir))) {
        size_t n = strlen(entry->d_name);
        char *name = is_file_name(entry->d_name) ? strndup(entry->d_name, n - 5) : NULL;
        if (name && suggest_better(wanted, nearest, name) == name) {
            free(nearest);
            nearest = name;
        } else {
            free(name);
        }
    }
    if (dir)
        closedir(dir);
    return nearest;
}

static qc_status unknown_preset(qc_job *job, const yaml_node *value, const char *folder)
{
    char *nearest = nearest_preset(folder, value->text);
    qc_status status = nearest
                           ? fail_at(job, value->at, QC_E_INVALID, "no preset '%.64s'; did you mean '%s'?", value->text,
                                     nearest)
                           : fail_at(job, value->at, QC_E_INVALID,
                                     "no preset '%.64s' in %s (a file of your own ends in .yaml)", value->text, folder);
    free(nearest);
    return status;
}

/* The path of `name` beside the file that says it; owned, NULL when out of memory. */
static char *path_beside(const char *file, const char *name)
{
    const char *slash = file ? strrchr(file, '/') : NULL;
    if (!slash || *name == '/')
        return strdup(name);
    char *folder = strndup(file, (size_t)(slash - file));
    char *path = folder ? path_join(folder, name) : NULL;
    free(folder);
    return path;
}

/* Beside the file that says it, else in share/qcore/presets: so the copy of a preset finds what it is built on. */
static qc_status read_beside(qc_job *job, rule_list *list, const yaml_node *value, unsigned depth)
{
    if (value->kind != YAML_TEXT || !*value->text)
        return fail_at(job, value->at, QC_E_INVALID, "the name of a file is wanted here");
    char *path = path_beside(value->at.file, value->text);
    if (!path || *value->text == '/' || access(path, F_OK) == 0)
        return read_file(job, list, path, value->at, depth);
    char *presets = paths_share("presets"), *shared = presets ? path_join(presets, value->text) : NULL;
    int is_shared = shared && access(shared, F_OK) == 0;
    free(presets);
    free(is_shared ? path : shared);
    return read_file(job, list, is_shared ? shared : path, value->at, depth);
}

/* A name of share/qcore/presets. */
static qc_status read_shared(qc_job *job, rule_list *list, const yaml_node *value, unsigned depth)
{
    char *folder = paths_share("presets"), name[80];
    int fits = snprintf(name, sizeof name, "%s.yaml", value->text) < (int)sizeof name && !strchr(value->text, '/');
    char *path = folder ? path_join(folder, name) : NULL;
    qc_status status;
    if (path && fits && access(path, F_OK) == 0) {
        status = read_file(job, list, path, value->at, depth);
    } else {
        status = path ? unknown_preset(job, value, folder) : no_memory(job);
        free(path);
    }
    free(folder);
    return status;
}

/* A recipe's files start at the current folder, a preset's beside it. */
static qc_status read_preset(qc_job *job, rule_list *list, const yaml_node *value, int own, unsigned depth)
{
    if (value->kind != YAML_TEXT || !*value->text)
        return fail_at(job, value->at, QC_E_INVALID, "the name of a preset is wanted here");
    if (!is_file_name(value->text))
        return read_shared(job, list, value, depth);
    return own ? read_file(job, list, strdup(value->text), value->at, depth) : read_beside(job, list, value, depth);
}

/* `include` comes before a layer's own keys, `include_last` after them. */
static qc_status read_includes(qc_job *job, rule_list *list, const yaml_node *map, const char *key, unsigned depth)
{
    const yaml_node *include = yaml_get(map, key);
    size_t n = include ? yaml_count(include) : 0;
    qc_status status = QC_OK;
    for (size_t i = 0; status == QC_OK && i < n; i++)
        status = read_beside(job, list, yaml_item(include, i), depth);
    return status;
}

static qc_status read_layer(qc_job *job, rule_list *list, const yaml_node *map, int own, unsigned depth)
{
    static const field fields[] = {{"preset", read_elsewhere, 0},
                                   {"include", read_elsewhere, 0},
                                   {"include_last", read_elsewhere, 0},
                                   {"summary", read_elsewhere, 0},
                                   {"encoding", read_base, 0},
                                   {"methods", read_uses, offsetof(rule_list, methods)},
                                   {"methods_with_importance", read_uses, offsetof(rule_list, methods_with_importance)},
                                   {"require", read_require, 0},
                                   {"fallback", read_merged, offsetof(rule_list, fallback)},
                                   {"metadata", read_merged, offsetof(rule_list, metadata)},
                                   {"rules", read_rules, 0},
                                   {NULL, NULL, 0}};
    if (depth == MAX_LAYERS)
        return fail_at(job, map->at, QC_E_INVALID, "presets include each other more than %d deep", MAX_LAYERS);
    const yaml_node *preset = yaml_get(map, "preset");
    qc_status status = preset ? read_preset(job, list, preset, own, depth) : QC_OK;
    if (status == QC_OK)
        status = read_includes(job, list, map, "include", depth);
    if (status == QC_OK && yaml_get(map, "methods")) /* what is named here holds with importance too */
        use_list_free(&list->methods_with_importance);
    if (own)
        list->own_encoding = yaml_get(map, "encoding") != NULL;
    size_t first = list->n_rules;
    if (status == QC_OK)
        status = fields_read(job, map, own ? "quantize" : "a preset", fields, list);
    for (size_t i = first; i < list->n_rules; i++)
        list->rules[i].own = own;
    return status == QC_OK ? read_includes(job, list, map, "include_last", depth) : status;
}

qc_status rules_read(qc_job *job, rule_list *list, const yaml_node *map, int own)
{
    if (map->kind != YAML_MAP)
        return fail_at(job, map->at, QC_E_INVALID, "quantize wants keys and values");
    qc_status status = QC_OK;
    if (own) /* also below a preset of the user's own that includes nothing */
        status = read_file(job, list, paths_share("presets/common/plain.yaml"), map->at, 0);
    if (status == QC_OK)
        status = read_layer(job, list, map, own, 0);
    if (status == QC_OK && own && !list->encoding)
        status = fail_at(job, map->at, QC_E_INVALID, "quantize names neither a preset nor an encoding");
    return status;
}

qc_status rules_check_roles(qc_job *job, const rule_list *list, const role_table *roles)
{
    for (size_t i = 0; i < list->n_rules; i++)
        for (size_t k = 0; k < list->rules[i].roles.n; k++) {
            const char *role = list->rules[i].roles.items[k], *nearest = role_nearest(roles, role);
            if (role_known(roles, role))
                continue;
            return nearest ? fail_at(job, list->rules[i].at, QC_E_INVALID, "no role '%.64s'; did you mean '%s'?", role,
                                     nearest)
                           : fail_at(job, list->rules[i].at, QC_E_INVALID,
                                     "no role '%.64s' (roles.yaml lists them; a tensor's name is `name`)", role);
        }
    return QC_OK;
}

qc_status rules_new(qc_job *job, rule_list **out)
{
    rule_list *list = *out = calloc(1, sizeof *list);
    if (!list)
        return no_memory(job);
    list->fallback = yaml_new(job, YAML_MAP, (place){0});
    list->metadata = yaml_new(job, YAML_MAP, (place){0});
    return list->fallback && list->metadata ? QC_OK : QC_E_NOMEM;
}

void rules_free(rule_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->n_rules; i++) {
        rule *r = &list->rules[i];
        text_list_free(&r->roles);
        text_list_free(&r->names);
        text_list_free(&r->when.architecture);
        text_list_free(&r->when.encoding);
        free(r->layers.items);
        free(r->nth.items);
        free(r->depth.items);
        free(r->encoding);
    }
    for (size_t i = 0; i < list->n_files; i++)
        free(list->files[i]);
    use_list_free(&list->methods);
    use_list_free(&list->methods_with_importance);
    yaml_node_free(list->fallback);
    yaml_node_free(list->metadata);
    free(list->encoding);
    free(list->require);
    free(list->rules);
    free(list->files);
    free(list);
}
