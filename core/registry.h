/* The plugins that were found, known by their manifests alone, and opened when named. */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "qcore/architecture.h"
#include "qcore/format.h"
#include "qcore/method.h"
#include "qcore/metric.h"
#include "qcore/ops.h"
#include "qcore/tokenizer.h"

typedef enum setting_type { SETTING_INT, SETTING_FLOAT, SETTING_BOOL, SETTING_TEXT, SETTING_ENUM } setting_type;

typedef struct setting_spec {
    char *name, *help, *unit; /* owned; unit may be NULL */
    setting_type type;
    double min, max, number; /* number: the default of int, float, bool */
    char *text; /* the default of text and enum, else NULL */
    char **choices; /* of an enum, NULL-terminated */
} setting_spec;

typedef enum plugin_state {
    PLUGIN_USABLE,
    PLUGIN_BROKEN /* manifest or library unusable */,
    PLUGIN_FILTERED /* this CPU cannot run it */,
    PLUGIN_UNSAFE /* others may write it */,
    PLUGIN_SHADOWED /* an earlier folder has the same id */,
    PLUGIN_SKIPPED /* of a kind that this qcore does not know */
} plugin_state;

/* One [kind:id] section. A manifest that could not be read has one entry, of kind "plugin" and its folder's name. */
typedef struct plugin_entry {
    const struct manifest *manifest;
    char *kind, *id, *summary; /* kind: "method", "encoding", ... without revision */
    setting_spec *settings;
    size_t n_settings;
    char **keys, **values; /* the section's other keys */
    size_t n_keys;
    plugin_state state;
    char *why; /* NULL when usable: one line for the user */
} plugin_entry;

typedef struct registry registry;

/* folders: searched in order, first wins; each holds <name>/plugin.ini. cpu_mask: NULL or a level or feature list
 * that limits what the CPU is taken to have. Reads manifests only. */
qc_status registry_new(qc_job *job, const char *const *folders, size_t n_folders, const char *cpu_mask, registry **out);
void registry_free(registry *r);

size_t registry_count(const registry *r);
const plugin_entry *registry_at(const registry *r, size_t i); /* sorted by kind, then id */
const plugin_entry *registry_entry(const registry *r, const char *kind, const char *id); /* usable, or NULL */
/* Any other key of the section ("files", "classes"), or NULL. */
const char *entry_value(const plugin_entry *e, const char *key);
/* How many are broken or unsafe, and the first of them: worth one line. */
size_t registry_unusable(const registry *r, const plugin_entry **first);
const char *registry_cpu(const registry *r); /* level in use: "x86-v3", ... */

/* The descriptor, library opened now if need be: dlopen, stamp, kind size, mandatory members, manifest agreement.
 * A full-size zero-filled copy that the registry keeps. Unknown ids fail with the nearest known one. */
qc_status registry_open(registry *r, qc_job *job, const char *kind, const char *id, const void **desc);

/* Complete ops of an encoding: reference, overlaid by the best variant this CPU has. Fills everything but order and
 * shared. Fails where cols is no multiple of the block. */
qc_status registry_coder(registry *r, qc_job *job, const char *encoding, uint64_t cols, qc_coder *coder);

/* The CPU level that the ops of an encoding in use were built for: "x86-v4", "portable". Static. */
qc_status registry_variant(registry *r, qc_job *job, const char *encoding, const char **level);

/* Settings of one plugin use: defaults from the manifest, then name/value pairs, each checked for name, type, range. */
qc_status settings_new(qc_job *job, const plugin_entry *e, const char *const *names, const char *const *values,
                       size_t n, qc_settings **out);
void settings_free(qc_settings *s);

#endif
