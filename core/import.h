/* From a family's own names to canonical tensors and metadata, by an architecture's table and a tokenizer. */
#ifndef CORE_IMPORT_H
#define CORE_IMPORT_H

#include "core/contents.h"
#include "core/model.h"

/* Fills the model's tensors (roles and order excepted) from its sources, and `out` with metadata. */
qc_status import_model(qc_job *job, registry *r, const recipe *recipe, model *m, contents *out);

/* The tokenizer's part of it, once the embedding is known. */
qc_status import_tokenizer(qc_job *job, registry *r, const recipe *recipe, const model *m, contents *out);

/* A zeroed tensor at the end of the model's list, named; NULL after failing. */
model_tensor *model_add_tensor(model *m, qc_job *job, const char *name, size_t n_runs);

/* The architecture whose manifest names `value` under `key` ("classes", "gguf"), or NULL. */
const plugin_entry *architecture_by(const registry *r, const char *key, const char *value);

#endif
