#include "core/roles.h"
#include "core/fields.h"
#include "core/paths.h"
#include "core/suggest.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

typedef struct role_item {
    text_list match;
    char *role;
    int keep;
} role_item;

struct role_table {
    role_item *items;
    size_t n;
};

static qc_status read_items(qc_job *job, const yaml_node *list, void *into)
{
    static const field fields[] = {{"match", read_texts, offsetof(role_item, match)},
                                   {"role", read_text, offsetof(role_item, role)},
                                   {"keep", read_bool, offsetof(role_item, keep)},
                                   {NULL, NULL, 0}};
    role_table *t = into;
    if (list->kind != YAML_LIST || t->items)
        return fail_at(job, list->at, QC_E_INVALID, "a list of roles is wanted here");
    t->items = calloc(list->n + 1, sizeof *t->items);
    if (!t->items)
        return job->fail(job, QC_E_NOMEM, "out of memory for the roles");
    for (; t->n < list->n; t->n++) {
        role_item *item = &t->items[t->n];
        qc_status status = fields_read(job, list->items[t->n], "a role", fields, item);
        if (status == QC_OK && (!item->role || item->match.n == 0))
            status = fail_at(job, list->items[t->n]->at, QC_E_INVALID, "a role wants both match and role");
        if (status != QC_OK) {
            t->n++;
            return status;
        }
    }
    return QC_OK;
}

qc_status roles_read(qc_job *job, const char *path, role_table **out)
{
    static const field fields[] = {{"roles", read_items, 0}, {NULL, NULL, 0}};
    yaml_node *root;
    *out = NULL;
    qc_status status = yaml_read(job, path, &root);
    if (status != QC_OK)
        return status;
    role_table *t = calloc(1, sizeof *t);
    status = t ? fields_read(job, root, "the table of roles", fields, t)
               : job->fail(job, QC_E_NOMEM, "out of memory for the roles");
    yaml_node_free(root);
    if (status != QC_OK)
        roles_free(t);
    else
        *out = t;
    return status;
}

qc_status roles_open(qc_job *job, role_table **out)
{
    char *path = paths_share("roles.yaml");
    *out = NULL;
    qc_status status = path ? roles_read(job, path, out) : job->fail(job, QC_E_NOMEM, "out of memory for a path");
    free(path);
    return status;
}

void roles_free(role_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++) {
        text_list_free(&t->items[i].match);
        free(t->items[i].role);
    }
    free(t->items);
    free(t);
}

const char *role_find(const role_table *t, const char *tensor, int *keep)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->items[i].match.n; k++)
            if (fnmatch(t->items[i].match.items[k], tensor, 0) == 0) {
                *keep = t->items[i].keep;
                return t->items[i].role;
            }
    *keep = 1;
    return "other";
}

int role_known(const role_table *t, const char *role)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->items[i].role, role))
            return 1;
    return 0;
}

const char *role_nearest(const role_table *t, const char *word)
{
    const char *nearest = NULL;
    for (size_t i = 0; i < t->n; i++)
        nearest = suggest_better(word, nearest, t->items[i].role);
    return nearest;
}
