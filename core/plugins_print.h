/* What `qcore plugins` prints, as a table or as JSON, on stdout. */
#ifndef CORE_PLUGINS_PRINT_H
#define CORE_PLUGINS_PRINT_H

#include "core/registry.h"

void print_plugin_list(const registry *r, const plugin_entry *const *entries, size_t n, int json);
void print_plugins(const plugin_entry *const *entries, size_t n, int json); /* everything that is known of each */

/* What became of opening each; how many failed. */
size_t print_checks(const plugin_entry *const *entries, size_t n, int json);

const char *state_word(plugin_state state);

#endif
