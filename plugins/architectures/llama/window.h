/* Sliding windows: how far back a token attends, where a family limits it. */
#ifndef LLAMA_WINDOW_H
#define LLAMA_WINDOW_H

#include "conversion.h"

/* Reports <family>.attention.sliding_window where one is in use, and which blocks have it where not all do. */
void import_window(conversion *c, uint32_t blocks);

#endif
