/* What inspect*.c share. */
#ifndef CORE_INSPECT_IMPL_H
#define CORE_INSPECT_IMPL_H

#include "core/inspect.h"

struct inspection {
    const model *model;
    qc_coder *coders; /* one a tensor; desc NULL: no plugin decodes it */
    weight_view *weights; /* one a tensor */
    input_view *inputs;
    size_t n_inputs, inputs_capacity;
    uint64_t memory, worker_bytes; /* of one chunk of the widest tensor */
};

#endif
