/* A model opened as the program does, with the built plugins: $QC_PLUGIN_DIR, or the build's own folder. */
#ifndef OPENED_MODEL_H
#define OPENED_MODEL_H

#include "core/job.h"
#include "core/model.h"
#include "core/roles.h"

typedef struct opened_model {
    recipe *recipe;
    registry *registry;
    role_table *roles;
    model *model;
} opened_model;

/* cpu_mask: NULL, or as --cpu-mask. Fails through the job; end it in any case. */
qc_status opened_model_begin(opened_model *o, qc_job *job, const char *path, const char *cpu_mask);
void opened_model_end(opened_model *o);

#endif
