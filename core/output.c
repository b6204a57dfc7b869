#include "core/output.h"
#include "core/export.h"
#include "core/log.h"
#include "core/names.h"
#include "core/paths.h"
#include "core/source.h"
#include "core/target.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 16, MAX_SIDE_FILE = 256 << 20, PATH_BYTES = 4096 };

struct output {
    const plan *plan;
    const qc_host *host;
    const qc_format_desc *format;
    qc_settings *settings;
    void *index;
    exports exports;
    unsigned char *placed; /* per tensor: has the layout said where? */
    target *target;
    uint64_t bytes;
};

/* ---- what the format may do ---- */

typedef struct layout_out {
    qc_layout base;
    output *output;
} layout_out;

typedef struct sink_out {
    qc_sink base;
    const output *output;
} sink_out;

static output *of(const qc_layout *out)
{
    return ((const layout_out *)(const void *)out)->output;
}

static qc_status layout_file(const qc_layout *out, qc_job *job, const char *name, uint64_t bytes, uint32_t *file)
{
    of(out)->bytes += bytes;
    return target_add(of(out)->target, job, name, bytes, file);
}

static qc_status layout_place(const qc_layout *out, qc_job *job, size_t tensor, uint32_t file, uint64_t at)
{
    output *o = of(out);
    if (tensor >= o->exports.n_tensors)
        return qc_fail(job, QC_E_INTERNAL, "the format placed a tensor that is not there");
    o->exports.tensors[tensor].file = file;
    o->exports.tensors[tensor].at = at;
    o->placed[tensor] = 1;
    return QC_OK;
}

static qc_status layout_bytes(const qc_layout *out, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    return target_write(of(out)->target, job, file, at, data, n);
}

static qc_status sink_write(const qc_sink *sink, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    return target_write(((const sink_out *)(const void *)sink)->output->target, job, file, at, data, n);
}

/* ---- opening ---- */

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the output");
}

static qc_status open_format(output *o, qc_job *job, registry *r)
{
    const plugin_use *use = &o->plan->recipe->output.format;
    const void *desc;
    const char *id = o->plan->format;
    qc_status status = registry_open(r, job, "format", id, &desc);
    if (status != QC_OK)
        return status;
    o->format = desc;
    if (!o->format->layout)
        return qc_fail(job, QC_E_UNSUPPORTED, "format %s can only be read, not written", id);
    return settings_new(job, registry_entry(r, "format", id), (const char *const *)use->names,
                        (const char *const *)use->values, use->n_settings, &o->settings);
}

static int is_same(const struct stat *a, const char *path)
{
    struct stat b;
    return path && stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

static int is_one_of(const struct stat *a, const text_list *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        if (is_same(a, paths->items[i]))
            return 1;
    return 0;
}

/* Whatever overwrite says: what we read, we do not replace. */
static qc_status spare_inputs(const output *o, qc_job *job)
{
    const recipe *rec = o->plan->recipe;
    struct stat st;
    if (stat(rec->output.path, &st) != 0)
        return QC_OK; /* not there, or target_new says why */
    int ours = source_owns(o->plan->model->source, &st) || is_same(&st, rec->model.path) ||
               is_same(&st, source_folder(o->plan->model->source)) || is_same(&st, rec->calibration.imatrix) ||
               is_one_of(&st, &rec->calibration.text) || is_one_of(&st, &rec->evaluate.text) ||
               is_same(&st, rec->evaluate.reference);
    for (size_t i = 0; i < rec->n_names; i++) /* the recipe and what it includes */
        ours = ours || is_same(&st, rec->names[i]);
    if (ours)
        return qc_fail(job, QC_E_INVALID, "output %s is an input: name another", rec->output.path);
    return QC_OK;
}

static qc_status lay_out(output *o, qc_job *job)
{
    size_t n = o->exports.n_tensors;
    const qc_tensor **tensors = malloc((n + 1) * sizeof(const qc_tensor *));
    o->placed = calloc(n + 1, 1);
    if (!tensors || !o->placed) {
        free(tensors);
        return no_memory(job);
    }
    for (size_t i = 0; i < n; i++)
        tensors[i] = &o->exports.tensors[i];
    const model *from = o->plan->model;
    int own_folder = !(from->format->base.flags & QC_FORMAT_CANONICAL);
    const qc_model whole = {.size = sizeof whole,
                            .n_tensors = n,
                            .n_metas = o->plan->n_metas,
                            .tensors = tensors,
                            .metas = (const qc_meta *const *)o->plan->metas,
                            .folder = own_folder ? from->source : NULL};
    const layout_out out = {
        {.size = sizeof out.base, .file = layout_file, .place = layout_place, .bytes = layout_bytes}, o};
    qc_status status = o->format->layout(job, &whole, o->settings, &out.base, &o->index);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        if (!o->placed[i])
            status = qc_fail(job, QC_E_INTERNAL, "the format gave '%.100s' no place", tensors[i]->name);
    free(tensors);
    return status;
}

/* ---- files beside the weights ---- */

static int has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && !strcmp(name + n - k, suffix);
}

static int fits_any(const char *patterns, const char *name)
{
    char pattern[NAME_BYTES];
    while ((patterns = list_next(patterns, pattern)))
        if (!fnmatch(pattern, name, 0))
            return 1;
    return 0;
}

/* What tells of weights beside which it no longer stands: their quantization. config.json has it too, and counts. */
static int tells_of_weights(const char *name)
{
    static const char *const names[] = {"quantize_config.json", "quant_config.json", "quant_method.json",
                                        "hf_quant_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name))
            return 1;
    return 0;
}

/* Configuration and tokenizer of a family's folder; weights, their indexes and their quantization are not. */
static int is_side_file(const output *o, const char *name, const char *patterns)
{
    static const char *const suffixes[] = {".json", ".jinja", ".txt",    ".model", ".tiktoken",
                                           ".py",   ".md",    "LICENSE", "NOTICE"};
    if (fits_any(patterns, name) || tells_of_weights(name) || has_suffix(name, ".index.json"))
        return 0;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (has_suffix(name, suffixes[i]))
            return !target_has(o->target, name);
    return 0;
}

/* name: in src; as: in the output. */
static qc_status copy_file(output *o, qc_job *job, const qc_source *src, const char *name, const char *as)
{
    static const size_t most = COPY_BYTES;
    uint32_t from = 0, to = 0;
    qc_status status = src->open(src, job, name, 0, &from);
    if (status != QC_OK)
        return status;
    uint64_t length = src->length(src, from);
    if (length > MAX_SIDE_FILE) {
        log_say(job->host, QC_LOG_WARNING,
                "%s is not copied: %llu bytes are more than a tokenizer or configuration has", name,
                (unsigned long long)length);
        return QC_OK;
    }
    unsigned char *piece = job->scratch(job, most);
    if (!piece)
        return no_memory(job);
    status = target_add(o->target, job, as, length, &to);
    for (uint64_t at = 0; at < length && status == QC_OK; at += most) {
        size_t n = length - at < most ? (size_t)(length - at) : most;
        status = src->read_at(src, job, from, at, n, piece);
        if (status == QC_OK)
            status = target_write(o->target, job, to, at, piece, n);
    }
    return status;
}

/* Chat templates beyond the first, in a folder of their own; where there is none, nothing. */
static qc_status copy_templates(output *o, qc_job *job, const char *folder)
{
    static const char sub[] = "additional_chat_templates";
    char path[PATH_BYTES], as[sizeof sub + NAME_BYTES];
    const qc_source *src = NULL;
    char **names = NULL;
    size_t n = 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, sub) >= (int)sizeof path || access(path, F_OK) != 0)
        return QC_OK;
    qc_status status = list_folder(job, path, &names, &n);
    if (status == QC_OK)
        status = source_new(job, path, NULL, &src);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        if (has_suffix(names[i], ".jinja") && snprintf(as, sizeof as, "%s/%s", sub, names[i]) < (int)sizeof as)
            status = copy_file(o, job, src, names[i], as);
    source_free(src);
    path_list_free(names, n);
    return status;
}

static qc_status copy_side_files(output *o, qc_job *job, const registry *r)
{
    const model *m = o->plan->model;
    const plugin_entry *e = registry_entry(r, "format", m->format_id);
    const char *folder = source_folder(m->source), *patterns = e ? entry_value(e, "files") : NULL;
    char **names;
    size_t n;
    qc_status status = list_folder(job, folder, &names, &n);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        if (is_side_file(o, names[i], patterns))
            status = copy_file(o, job, m->source, names[i], names[i]);
    path_list_free(names, n);
    return status == QC_OK ? copy_templates(o, job, folder) : status;
}

/* By any format that writes folders: they are read alike. */
static int are_weights(const registry *r, const char *name)
{
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        const char *writes = strcmp(e->kind, "format") ? NULL : entry_value(e, "writes");
        if (writes && !strcmp(writes, "folder") && fits_any(entry_value(e, "files"), name))
            return 1;
    }
    return 0;
}

/* Weights that stayed in the folder beside the new ones would be read in their place. */
static qc_status refuse_leftovers(output *o, qc_job *job, const registry *r)
{
    const char *folder = o->plan->recipe->output.path;
    char **names;
    size_t n;
    if (access(folder, F_OK) != 0)
        return QC_OK;
    qc_status status = list_folder(job, folder, &names, &n);
    for (size_t i = 0; i < n && status == QC_OK; i++)
        if ((are_weights(r, names[i]) || tells_of_weights(names[i])) && !target_has(o->target, names[i]))
            status = qc_fail(job, QC_E_INVALID,
                             "%s holds %s, which this run does not replace: remove it, or name "
                             "another folder",
                             folder, names[i]);
    path_list_free(names, n);
    return status;
}

static qc_status set_up(output *o, qc_job *job, registry *r)
{
    const recipe *rec = o->plan->recipe;
    qc_status status = open_format(o, job, r);
    if (status == QC_OK)
        status = spare_inputs(o, job);
    if (status != QC_OK)
        return status;
    int canonical = (o->format->base.flags & QC_FORMAT_CANONICAL) != 0;
    int is_folder = (o->format->base.flags & QC_FORMAT_FOLDER) != 0;
    status = exports_make(job, r, o->plan, canonical, &o->exports);
    if (status == QC_OK)
        status = target_new(job, rec->output.path, is_folder, rec->output.overwrite, &o->target);
    if (status == QC_OK)
        status = lay_out(o, job);
    if (status == QC_OK && is_folder)
        status = refuse_leftovers(o, job, r);
    if (status != QC_OK || !is_folder)
        return status;
    if (!(o->plan->model->format->base.flags & QC_FORMAT_CANONICAL))
        return copy_side_files(o, job, r);
    log_say(o->host, QC_LOG_WARNING,
            "%s gets weights only: put the family's config.json and tokenizer files there to use it as a model",
            rec->output.path);
    return QC_OK;
}

qc_status output_open(qc_job *job, registry *r, const plan *p, output **out)
{
    *out = NULL;
    output *o = calloc(1, sizeof *o);
    if (!o)
        return no_memory(job);
    o->plan = p;
    o->host = job->host;
    qc_status status = set_up(o, job, r);
    if (status == QC_OK)
        *out = o;
    else
        output_free(o);
    return status;
}

void output_free(output *o)
{
    if (!o)
        return;
    if (o->index && o->format->release)
        o->format->release(o->host, o->index);
    target_free(o->target);
    exports_free(&o->exports);
    settings_free(o->settings);
    free(o->placed);
    free(o);
}

/* ---- rows ---- */

const model_tensor *output_view(const output *o, size_t item)
{
    return o->exports.items[item].n ? &o->exports.items[item].view : NULL;
}

uint32_t *output_order(const output *o, size_t item)
{
    return o->exports.items[item].order;
}

uint32_t output_row_multiple(const output *o)
{
    return o->format->row_multiple ? o->format->row_multiple : 1;
}

int output_rearranges(const output *o)
{
    return o->format->store != NULL;
}

qc_status output_store(const output *o, qc_job *job, size_t item, uint64_t row, size_t n, const void *src)
{
    const export_item *e = &o->exports.items[item];
    const plan_item *planned = &o->plan->items[item];
    uint64_t rows = planned->tensor->n_rows / e->n, cut = row / rows;
    row -= cut * rows;
    if (cut >= e->n || n > rows - row)
        return qc_fail(job, QC_E_INTERNAL, "rows past the end of the output's tensor");
    const qc_tensor *t = &o->exports.tensors[e->first + cut];
    if (!o->format->store)
        return target_write(o->target, job, t->file, t->at + row * t->row_bytes, src, n * (size_t)t->row_bytes);
    const sink_out sink = {{.size = sizeof sink.base, .write_at = sink_write}, o};
    return o->format->store(job, o->index, &sink.base, t, planned->to.desc ? &planned->to : NULL, row, n, src);
}

qc_status output_commit(output *o, qc_job *job)
{
    return target_commit(o->target, job);
}

uint64_t output_bytes(const output *o)
{
    return o->bytes;
}
