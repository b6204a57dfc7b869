/* Which tensor gets which encoding: the grammar that presets and a recipe's `quantize` share, and its meaning.
 *
 * A rule_list is read layer by layer: included files and the preset first, the recipe's own keys last. Later rules win.
 */
#ifndef CORE_RULES_H
#define CORE_RULES_H

#include "core/fields.h"
#include "core/model.h"
#include "core/roles.h"
#include "core/selector.h"

typedef struct selector_list {
    selector *items; /* none: everything */
    size_t n;
} selector_list;

#define RULE_ANY UINT64_MAX

/* Conditions on the whole model, and on what earlier rules chose. All that are given must hold. */
typedef struct rule_when {
    int importance, tied; /* -1: either */
    uint64_t experts, blocks, dims; /* RULE_ANY: any */
    uint64_t min_experts, min_gqa; /* gqa: query heads per key head, of block 0 */
    text_list architecture, encoding;
} rule_when;

typedef struct rule {
    text_list roles, names; /* words; globs; none: all */
    selector_list layers; /* by block number, of block_count */
    selector_list nth; /* by place among the tensors of these roles, in the order of the file */
    /* As llama-quantize counts: layers, except that without experts the place among these roles stands for the block
     * number, still out of block_count; they differ where some blocks have no such tensor. */
    selector_list depth;
    rule_when when;
    char *encoding; /* an id, or "base", or "keep": as it is stored */
    int own; /* the recipe's, not a preset's: warn where it hits nothing */
    place at;
} rule;

struct rule_list {
    char *encoding; /* base: where no rule says otherwise */
    place encoding_at;
    int own_encoding; /* the recipe names the base itself, over any preset's */
    use_list methods, methods_with_importance;
    char *require; /* "importance", or NULL */
    place require_at;
    yaml_node *fallback, *metadata; /* maps: encoding -> encoding for widths that do not fit; key -> value */
    rule *rules;
    size_t n_rules, capacity;
    char **files; /* names that places point to */
    size_t n_files, files_capacity;
};

qc_status rules_new(qc_job *job, rule_list **out);
void rules_free(rule_list *list);

/* Reads one map: first what it builds on (`preset`, `include`; of a recipe without a preset, presets/common/plain.yaml),
 * then its own keys, then `include_last`. own: it is the recipe's. */
qc_status rules_read(qc_job *job, rule_list *list, const yaml_node *map, int own);

/* Every role that a rule names must be in the table. */
qc_status rules_check_roles(qc_job *job, const rule_list *list, const role_table *roles);

/* What was chosen for one tensor. */
typedef struct choice {
    const char *encoding; /* NULL: as it is stored */
    place why;
    char *note; /* owned by the caller; NULL: nothing to say */
} choice;

/* Weights per block of an encoding; 0: unknown. */
typedef uint64_t (*block_cols_fn)(void *arg, const char *encoding);

/* One choice for each of the model's tensors. */
qc_status rules_choose(qc_job *job, const rule_list *list, const model *m, int has_importance, block_cols_fn block_cols,
                       void *arg, choice *choices);

#endif
