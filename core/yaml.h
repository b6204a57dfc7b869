/* YAML files as small trees that know where each node was written. Scalars stay text; who reads them decides on types. */
#ifndef CORE_YAML_H
#define CORE_YAML_H

#include "core/recipe.h"

enum { YAML_MAX_BYTES = 1 << 20, YAML_MAX_DEPTH = 32, YAML_MAX_NODES = 100000 };

typedef enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP } yaml_kind;

typedef struct yaml_node {
    yaml_kind kind;
    place at;
    char *text; /* of a scalar; "" for an empty one */
    int quoted; /* a scalar in quotes is text whatever it looks like */
    struct yaml_node **items; /* of a list or a map */
    char **keys; /* of a map, as many as items */
    place *key_places;
    size_t n, capacity;
} yaml_node;

/* Anchors, aliases, tags, several documents and repeated keys are refused. An empty file is an empty map. */
qc_status yaml_read(qc_job *job, const char *path, yaml_node **root);
/* name: how messages call the text; kept by the caller as long as the tree. */
qc_status yaml_parse(qc_job *job, const char *name, const char *text, size_t length, yaml_node **root);
void yaml_node_free(yaml_node *root);

yaml_node *yaml_get(const yaml_node *map, const char *key); /* NULL: none, or no map */
/* Where one value may stand for a list of one: how many there are, and each. */
size_t yaml_count(const yaml_node *value);
const yaml_node *yaml_item(const yaml_node *value, size_t i);
/* Puts value under key, in place of what was there; takes value over also when it fails. */
qc_status yaml_put(qc_job *job, yaml_node *map, const char *key, place at, yaml_node *value);
yaml_node *yaml_new(qc_job *job, yaml_kind kind, place at); /* NULL: out of memory, failure recorded */
qc_status yaml_append(qc_job *job, yaml_node *list, yaml_node *value);

/* Fails with "FILE:LINE:COLUMN: message". */
qc_status fail_at(qc_job *job, place at, qc_status code, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* "FILE:LINE:COLUMN" or "FILE" or "". */
const char *place_text(place at, char *buffer, size_t n);

#endif
