/* The layer view: what every linear lost, in its weights and in its outputs, with inputs of the original model. */
#ifndef CORE_LAYERS_H
#define CORE_LAYERS_H

#include "core/forward.h"
#include "core/jsonout.h"

typedef struct layer_loss {
    const model_tensor *tensor; /* of the original */
    int32_t expert; /* -1: all of it */
    double weight_energy, weight_error; /* sums of w^2 and (w - written w)^2 */
    double output_energy, output_error; /* sums of (W x)^2 and ((W - written W) x)^2 over the tokens seen */
} layer_loss;

typedef struct layer_view {
    layer_loss *losses; /* in the order of the pass */
    size_t n, capacity, n_tokens;
} layer_view;

/* Runs `original` over the sequences, and beside each of its linears the one of `written`. */
qc_status layers_compare(qc_job *job, registry *r, const recipe *recipe, const model *original, const model *written,
                         const sequences *s, progress *shown, layer_view *out);
void layers_free(layer_view *v);
void layers_print(const layer_view *v, size_t n_worst, FILE *file); /* the worst by output error */
void layers_json(const layer_view *v, json_out *out); /* a list "layers", and "worst" */

#endif
