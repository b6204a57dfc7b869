/* A recipe: the YAML file as structs, checked for keys, types and ranges. The only place that knows its grammar. */
#ifndef CORE_RECIPE_H
#define CORE_RECIPE_H

#include "qcore/host.h"

enum { RUN_MAX_THREADS = 1024, RUN_MIN_MEMORY = 1 << 20 };

/* Where in which file a thing was said; line 0: nowhere (a default). */
typedef struct place {
    const char *file; /* owned by the recipe */
    unsigned line, column;
} place;

/* A plugin named in a recipe: `rtn`, or `{gptq: {damp: 0.02}}`. */
typedef struct plugin_use {
    char *id;
    char **names, **values; /* its settings */
    size_t n_settings;
    place at;
} plugin_use;

/* Opaque here: rules of recipe and preset, see rules.h. */
typedef struct rule_list rule_list;

typedef struct recipe {
    const char *path; /* of the recipe file; NULL: none */
    struct {
        char *path;
        plugin_use format, architecture, tokenizer;
        place at;
    } model; /* id NULL: find out */
    struct {
        char *imatrix;
        place at;
    } calibration;
    struct {
        rule_list *rules; /* the preset's, then the recipe's */
        const plugin_use *methods; /* in order; borrowed from the rules */
        size_t n_methods;
        place at;
    } quantize;
    struct {
        char *path;
        plugin_use format;
        int overwrite;
        place at;
    } output;
    struct {
        char **paths;
        size_t n_paths;
    } plugins;
    struct {
        uint64_t memory;
        unsigned threads;
        uint64_t seed;
        int exact;
    } run;
    char **names; /* of files and --set arguments, which places point to */
    size_t n_names;
} recipe;

/* Site defaults (site.h), then the file, then overrides ("quantize.preset=Q4_K_M"), in this order. path NULL: overrides
 * alone. Relative paths in a recipe start at the current folder. */
qc_status recipe_open(qc_job *job, const char *path, const char *const *sets, size_t n_sets, recipe **out);
void recipe_free(recipe *r);

#endif
