/* What `qcore plugins` prints, as a table or as JSON, on stdout. */
#ifndef CORE_PLUGINS_PRINT_H
#define CORE_PLUGINS_PRINT_H

#include "core/registry.h"

void print_plugin_list(const registry *r, const plugin_entry *const *entries, size_t n, int json);
void print_plugins(const plugin_entry *const *entries, size_t n, int json); /* everything that is known of each */

/* What became of opening each; how many failed. */
size_t print_checks(const plugin_entry *const *entries, size_t n, int json);

/* Is this backend in use, and if not, why? Empty where that is not known. After registry_load_backends. */
void backend_use(const registry *r, const plugin_entry *e, char *text, size_t room);

/* Every kernel and whose it is; every encoding's build. After registry_load_backends. */
qc_status print_ops(registry *r, qc_job *job, int json);

const char *state_word(plugin_state state);

#endif
