/* What tells the families of this library apart: their names, and what llama.cpp can compute of each. */
#ifndef LLAMA_FAMILY_H
#define LLAMA_FAMILY_H

#include "qcore/architecture.h"

typedef struct llama_family {
    const char *id; /* general.architecture, and the prefix of the hyperparameters' keys */
    int free_head_size; /* heads * head size need not equal the embedding's length */
    int rope_factors; /* reads rope_freqs.weight */
    int rotates_halves; /* channel i of a head turns with i + D/2, as in Hugging Face's order; else 2i with 2i + 1 */
    int norms_heads; /* q and k have a norm of their own */
} llama_family;

extern const qc_name_rule llama_names[], qwen2_names[], qwen3_names[];

#endif
