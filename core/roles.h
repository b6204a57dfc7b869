/* Tensor name -> role, from configs/roles.yaml. */
#ifndef CORE_ROLES_H
#define CORE_ROLES_H

#include "core/yaml.h"

typedef struct role_table role_table;

qc_status roles_open(qc_job *job, role_table **out); /* share/qcore/roles.yaml */
qc_status roles_read(qc_job *job, const char *path, role_table **out);
void roles_free(role_table *t);

/* The role's word (borrowed from the table) and in *keep whether such a tensor is never quantized. */
const char *role_find(const role_table *t, const char *tensor, int *keep);
int role_known(const role_table *t, const char *role);
const char *role_nearest(const role_table *t, const char *word); /* NULL: none is near */

#endif
