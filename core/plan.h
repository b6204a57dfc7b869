/* The plan: a recipe resolved against one model, before any weight is read. Pure: fixes every encoding, size, offset. */
#ifndef CORE_PLAN_H
#define CORE_PLAN_H

#include "core/model.h"

typedef struct plan_item {
    const model_tensor *tensor;
    const char *encoding; /* to write */
    int carried; /* same encoding: bytes are copied, not rounded */
    qc_coder from, to; /* to.desc NULL: carried, and no plugin decodes it */
    place why; /* the rule that decided */
    char *note; /* "width 288: q4_k falls back to q5_0", or NULL */
    uint64_t stored, bytes; /* before, after */
    uint32_t file; /* of the output */
    uint64_t at;
} plan_item;

/* A program that takes the output, or does not, and what decides it (or NULL). */
typedef struct plan_loader {
    char *name, *why;
    int takes;
} plan_loader;

typedef struct plan {
    const recipe *recipe;
    const model *model;
    plan_item *items; /* as model.tensors */
    size_t n_items;
    const char *format; /* of the output: the recipe's, or by the output's name */
    qc_meta **metas; /* of the output: the model's, then those of the preset and of the importance file */
    size_t n_metas, first_own; /* metas from first_own on belong to the plan */
    uint64_t stored, bytes; /* totals of tensor data */
    double bits_stored, bits; /* per weight, over all tensors */
    plan_loader *loaders; /* as the output's format tells; none: it does not */
    size_t n_loaders;
    int ordered; /* the rounding method asks for a stored column order, and the output's format keeps one */
    uint64_t calibration_tokens, calibration_bytes; /* of a calibration to come, and its memory; 0: none */
} plan;

/* How many weights an item has: a double, for figures. */
static inline double plan_weights(const plan_item *item)
{
    return (double)item->tensor->dims[0] * (double)item->tensor->n_rows;
}

struct statistics; /* statistics.h: importance from an imatrix, or NULL */
qc_status plan_make(qc_job *job, registry *r, const recipe *recipe, const model *model,
                    const struct statistics *statistics, plan **out);
void plan_free(plan *p);
/* Asks the output's format; a part of plan_make. */
qc_status plan_ask_loaders(qc_job *job, registry *r, plan *p, const qc_format_desc *format);
void plan_loaders_free(plan *p);
void plan_print(const plan *p, int json); /* --dry-run, to stdout */

#endif
