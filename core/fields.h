/* Maps of a YAML file read by tables: which keys there are, how each value is read, where it goes. */
#ifndef CORE_FIELDS_H
#define CORE_FIELDS_H

#include "core/yaml.h"

typedef struct field {
    const char *key;
    qc_status (*read)(qc_job *job, const yaml_node *value, void *into);
    size_t offset; /* of `into` in the struct */
} field;

/* Reads every key of `map` into the struct; an unknown one fails with the nearest right name. Ends with key NULL.
 * what: how messages call the map ("quantize"). */
qc_status fields_read(qc_job *job, const yaml_node *map, const char *what, const field *fields, void *into);

/* Readers; `into` is the type named. */
qc_status read_text(qc_job *job, const yaml_node *value, void *into); /* char *, owned; not empty */
qc_status read_bool(qc_job *job, const yaml_node *value, void *into); /* int */
qc_status read_count(qc_job *job, const yaml_node *value, void *into); /* uint64_t */
qc_status read_bytes(qc_job *job, const yaml_node *value, void *into); /* uint64_t: 67108864, 64MiB, 1.5 GB */
qc_status read_texts(qc_job *job, const yaml_node *value, void *into); /* text_list: one text, or a list */
qc_status read_use(qc_job *job, const yaml_node *value, void *into); /* plugin_use: ID or {ID: {setting: value}} */
qc_status read_uses(qc_job *job, const yaml_node *value, void *into); /* use_list: one, or a list */

void text_list_free(text_list *list);
void use_free(plugin_use *use);
void use_list_free(use_list *list);

#endif
