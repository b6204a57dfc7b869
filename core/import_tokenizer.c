/* Which tokenizer plugin reads a family's folder, and its metadata. */
#include "core/import.h"
#include "core/job.h"
#include "core/names.h"
#include <stdlib.h>

typedef struct tokenizing {
    qc_job *job;
    registry *registry;
    const plugin_use *wanted; /* id NULL: find out */
    const model *model;
    contents *out;
} tokenizing;

static long rank_of(const plugin_entry *e)
{
    const char *rank = entry_value(e, "rank");
    return rank ? strtol(rank, NULL, 10) : 100;
}

/* The usable tokenizer plugin with the lowest rank above (rank, place in the registry) of `after`; NULL: no more. */
static const plugin_entry *next_tokenizer(const registry *r, const plugin_entry *after)
{
    const plugin_entry *best = NULL;
    int passed = after == NULL;
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        if (e->state != PLUGIN_USABLE || strcmp(e->kind, "tokenizer") != 0)
            continue;
        if (e == after) {
            passed = 1;
            continue;
        }
        int later = !after || rank_of(e) > rank_of(after) || (rank_of(e) == rank_of(after) && passed);
        if (later && (!best || rank_of(e) < rank_of(best)))
            best = e;
    }
    return best;
}

static qc_status has_its_file(const tokenizing *z, const plugin_entry *e, int *found)
{
    char name[NAME_BYTES];
    const char *list = entry_value(e, "files");
    const qc_source *src = z->model->source;
    qc_status status = QC_OK;
    *found = 0;
    while (status == QC_OK && !*found && (list = list_next(list, name))) {
        uint32_t file = UINT32_MAX;
        status = src->open(src, z->job, name, 1, &file);
        *found = file != UINT32_MAX;
    }
    return status;
}

static qc_status run_tokenizer(const tokenizing *z, const plugin_entry *e, uint32_t vocab_size)
{
    const plugin_use *use = z->wanted;
    int named = use->id && !strcmp(use->id, e->id);
    const void *desc;
    qc_settings *settings = NULL;
    qc_status status = registry_open(z->registry, z->job, "tokenizer", e->id, &desc);
    if (status == QC_OK)
        status = settings_new(z->job, e, (const char *const *)use->names, (const char *const *)use->values,
                              named ? use->n_settings : 0, &settings);
    if (status == QC_OK)
        status =
            ((const qc_tokenizer_desc *)desc)->import(z->job, z->model->source, settings, vocab_size, &z->out->scan);
    settings_free(settings);
    if (status != QC_OK)
        job_add_context(z->job, "tokenizer %s", e->id);
    return status;
}

static qc_status named_tokenizer(const tokenizing *z, const char *id, uint32_t vocab_size)
{
    const void *desc;
    const plugin_entry *e = registry_entry(z->registry, "tokenizer", id);
    return e ? run_tokenizer(z, e, vocab_size) : registry_open(z->registry, z->job, "tokenizer", id, &desc);
}

/* The plugins whose file is there, by rank, until one does not say that this is not its kind. */
static qc_status find_tokenizer(const tokenizing *z, uint32_t vocab_size)
{
    char why[400] = "it has no file that one of them reads";
    size_t n_metas = z->out->n_metas;
    for (const plugin_entry *e = NULL; (e = next_tokenizer(z->registry, e));) {
        int found;
        qc_status status = has_its_file(z, e, &found);
        if (status == QC_OK && !found)
            continue;
        if (status == QC_OK)
            status = run_tokenizer(z, e, vocab_size);
        if (status != QC_E_UNSUPPORTED)
            return status;
        snprintf(why, sizeof why, "%.350s", job_message(z->job));
        job_clear(z->job);
        contents_cut_metas(z->out, n_metas);
    }
    return qc_fail(z->job, QC_E_UNSUPPORTED, "%s: no tokenizer plugin fits this folder: %s", z->model->path, why);
}

/* Rows of the embedding: as many tokens as the list will have. */
static qc_status count_tokens(const tokenizing *z, uint32_t *vocab_size)
{
    uint64_t width = metas_count(z->out->metas, z->out->n_metas, "embedding_length", 0, 0);
    *vocab_size = 0;
    for (size_t i = 0; i < z->model->n_tensors; i++) {
        const model_tensor *t = &z->model->tensors[i];
        if (strcmp(t->name, "token_embd.weight") != 0)
            continue;
        const char *name = z->model->sources[t->runs[0].source]->name;
        if (width && t->dims[0] != width)
            return qc_fail(z->job, QC_E_INVALID, "tensor '%.200s' is %llu wide, but config.json says %llu", name,
                           (unsigned long long)t->dims[0], (unsigned long long)width);
        if (t->dims[1] > INT32_MAX)
            return qc_fail(z->job, QC_E_LIMIT, "tensor '%.200s': %llu tokens are too many", name,
                           (unsigned long long)t->dims[1]);
        *vocab_size = (uint32_t)t->dims[1];
    }
    return QC_OK;
}

qc_status import_tokenizer(qc_job *job, registry *r, const recipe *rec, const model *m, contents *out)
{
    const tokenizing z = {job, r, &rec->model.tokenizer, m, out};
    const char *id = z.wanted->id;
    uint32_t vocab_size;
    qc_status status = count_tokens(&z, &vocab_size);
    if (status != QC_OK)
        return status;
    return id && strcmp(id, "auto") != 0 ? named_tokenizer(&z, id, vocab_size) : find_tokenizer(&z, vocab_size);
}
