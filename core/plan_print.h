/* What of a plan is said before the work and after it. */
#ifndef CORE_PLAN_PRINT_H
#define CORE_PLAN_PRINT_H

#include "core/jsonout.h"
#include "core/plan.h"

/* One line, and a table after an empty line; nothing where there are none. `before` begins every line. */
void plan_print_methods(const plan *p, const char *before, FILE *file);
void plan_print_loaders(const plan *p, const char *before, FILE *file);
void plan_json_how(const plan *p, json_out *j); /* the lists "methods" and "loaders" */

#endif
