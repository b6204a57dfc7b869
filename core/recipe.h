/* A recipe: the YAML file as structs, checked for keys, types and ranges. The only place that knows its grammar. */
#ifndef CORE_RECIPE_H
#define CORE_RECIPE_H

#include "qcore/host.h"

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
    char *path; /* of the recipe file */
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
        char *preset;
        plugin_use *methods; /* in order; from the preset where the recipe names none */
        size_t n_methods;
        rule_list *rules; /* preset's defaults and rules, then the recipe's */
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
} recipe;

#endif
