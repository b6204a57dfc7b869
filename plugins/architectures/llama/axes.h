/* Where a block of these families computes nothing but products between two tensors' channels. */
#ifndef LLAMA_AXES_H
#define LLAMA_AXES_H

#include "qcore/architecture.h"

extern const qc_axis_rule llama_axes[];

#endif
