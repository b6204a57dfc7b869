/* `--set a.b=c`: one key of a recipe put in place from the command line. */
#ifndef CORE_OVERRIDE_H
#define CORE_OVERRIDE_H

#include "core/yaml.h"

/* name: how messages call the argument, kept as long as the tree; set: the argument itself. The value is YAML; "a[2].b"
 * is an item of a list, "a[]" a new one at its end. Maps on the way that are not there are made. */
qc_status override_apply(qc_job *job, yaml_node *root, const char *name, const char *set);

#endif
