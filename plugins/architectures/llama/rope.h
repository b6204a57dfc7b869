/* Rotary position embedding: base frequency, and what stretches it to longer contexts. */
#ifndef LLAMA_ROPE_H
#define LLAMA_ROPE_H

#include "conversion.h"

/* Reports the keys under "<family>.rope." and, for the llama3 scaling, the tensor rope_freqs.weight. */
void import_rope(conversion *c, uint32_t head_size, uint32_t context_length);

#endif
