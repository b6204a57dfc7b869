/* Metadata from text, for tests and fuzzing: lines of "KEY TYPE VALUE...", TYPE u32, i32, f32, bool or text; several
 * values, or "[]" after the type's name, make an array.
 *
 *     memory_model m;
 *     memory_model_begin(&m);
 *     meta_text_add(&m, "llama.block_count u32 2\nllama.attention.head_count u32[] 4 4\n");
 *     meta_view view = meta_view_of(&m);       view.api is a qc_metadata
 */
#ifndef META_TEXT_H
#define META_TEXT_H

#include "memory_source.h"

void meta_text_add(memory_model *m, const char *text); /* lines that are none are passed over; later ones replace */

typedef struct meta_view {
    qc_metadata api; /* first */
    const memory_model *model;
} meta_view;

meta_view meta_view_of(const memory_model *m);

#endif
