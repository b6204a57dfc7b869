/* Who takes the output: the format is asked about the model as it will be. */
#include "core/export.h"
#include "core/plan.h"
#include <stdlib.h>

typedef struct loaders_out {
    qc_loaders base;
    plan *plan;
} loaders_out;

static qc_status take_loader(const qc_loaders *out, qc_job *job, const char *name, int takes, const char *why)
{
    plan *p = ((const loaders_out *)(const void *)out)->plan;
    plan_loader *more = realloc(p->loaders, (p->n_loaders + 1) * sizeof *more);
    if (more)
        p->loaders = more;
    char *own_name = strdup(name), *own_why = why ? strdup(why) : NULL;
    if (!more || !own_name || (why && !own_why)) {
        free(own_name);
        free(own_why);
        return qc_fail(job, QC_E_NOMEM, "out of memory for a plan");
    }
    p->loaders[p->n_loaders++] = (plan_loader){own_name, own_why, takes};
    return QC_OK;
}

static qc_status ask(qc_job *job, plan *p, const qc_format_desc *format, const qc_settings *settings, const exports *e)
{
    const qc_tensor **tensors = malloc((e->n_tensors + 1) * sizeof(const qc_tensor *));
    if (!tensors)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a plan");
    for (size_t i = 0; i < e->n_tensors; i++)
        tensors[i] = &e->tensors[i];
    const qc_model whole = {.size = sizeof whole,
                            .n_tensors = e->n_tensors,
                            .n_metas = p->n_metas,
                            .tensors = tensors,
                            .metas = (const qc_meta *const *)p->metas,
                            .folder = p->model->format->base.flags & QC_FORMAT_CANONICAL ? NULL : p->model->source};
    const loaders_out out = {{.size = sizeof out.base, .loader = take_loader}, p};
    qc_status status = format->loaders(job, &whole, settings, &out.base);
    free(tensors);
    return status;
}

qc_status plan_ask_loaders(qc_job *job, registry *r, plan *p, const qc_format_desc *format)
{
    const plugin_use *use = &p->recipe->output.format;
    qc_settings *settings = NULL;
    exports e;
    if (!format->loaders)
        return QC_OK;
    qc_status status = settings_new(job, registry_entry(r, "format", p->format), (const char *const *)use->names,
                                    (const char *const *)use->values, use->n_settings, &settings);
    if (status != QC_OK)
        return status;
    status = exports_make(job, r, p, (format->base.flags & QC_FORMAT_CANONICAL) != 0, &e);
    if (status == QC_OK) {
        status = ask(job, p, format, settings, &e);
        exports_free(&e);
    }
    settings_free(settings);
    return status;
}

void plan_loaders_free(plan *p)
{
    for (size_t i = 0; i < p->n_loaders; i++) {
        free(p->loaders[i].name);
        free(p->loaders[i].why);
    }
    free(p->loaders);
}
