#include "opened_model.h"
#include "core/backends.h"
#include "core/recipe.h"
#include <stdlib.h>
#include <string.h>

qc_status opened_model_begin(opened_model *o, qc_job *job, const char *path, const char *cpu_mask)
{
    const char *plugins = getenv("QC_PLUGIN_DIR"), *folders[] = {plugins ? plugins : QC_PLUGIN_DIR};
    char set[1024];
    const override_arg sets[] = {{"--set", set}};
    memset(o, 0, sizeof *o);
    snprintf(set, sizeof set, "model.path=%s", path);
    qc_status status = recipe_open(job, NULL, sets, 1, 0, &o->recipe);
    if (status == QC_OK)
        status = registry_new(job, folders, 1, cpu_mask, &o->registry);
    if (status == QC_OK)
        status = registry_load_backends(o->registry, job, &(backend_choice){0});
    if (status == QC_OK)
        status = roles_read(job, QC_CONFIG_DIR "/roles.yaml", &o->roles);
    return status == QC_OK ? model_open(job, o->registry, o->recipe, o->roles, &o->model) : status;
}

void opened_model_end(opened_model *o)
{
    model_free(o->model);
    roles_free(o->roles);
    registry_free(o->registry);
    recipe_free(o->recipe);
}
