/* What tells the families of this library apart: their names, and what llama.cpp can compute of each. */
#ifndef LLAMA_FAMILY_H
#define LLAMA_FAMILY_H

#include "qcore/architecture.h"

typedef struct llama_family {
    const char *id; /* general.architecture, and the prefix of the hyperparameters' keys */
    int free_head_size; /* heads * head size need not equal the embedding's length */
    int rope_factors; /* reads rope_freqs.weight */
} llama_family;

extern const qc_name_rule llama_names[], qwen2_names[], qwen3_names[];

#endif
