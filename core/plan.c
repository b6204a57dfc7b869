#include "core/plan.h"
#include "core/job.h"
#include "core/log.h"
#include "core/names.h"
#include "core/paths.h"
#include "core/planmeta.h"
#include "core/rules.h"
#include "core/statistics.h"
#include "core/transcode.h"
#include "core/units.h"
#include "qcore/architecture.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

typedef struct planner {
    qc_job *job;
    registry *registry;
    const rule_list *rules;
    const model *model;
    plan *plan;
    const qc_format_desc *format; /* of the output */
    int canonical; /* the output keeps canonical names: small tensors of a family's own files become f32 */
} planner;

/* ---- the output's format ---- */

/* Of the formats that write files, the one whose patterns fit the name; else the one that writes folders. */
static const char *format_for_path(const registry *r, const char *path)
{
    const char *folder_format = NULL;
    char pattern[NAME_BYTES];
    for (size_t i = 0; i < registry_count(r); i++) {
        const plugin_entry *e = registry_at(r, i);
        if (e->state != PLUGIN_USABLE || strcmp(e->kind, "format") != 0)
            continue;
        const char *writes = entry_value(e, "writes"), *list = entry_value(e, "files");
        if (entry_value(e, "holds"))
            continue; /* no models */
        if (writes && list && !strcmp(writes, "folder"))
            folder_format = e->id; /* one that is also read; others are asked for by name */
        while (!writes && (list = list_next(list, pattern)))
            if (fnmatch(pattern, path_name(path), 0) == 0)
                return e->id;
    }
    const char *dot = strrchr(path_name(path), '.');
    return dot && dot[1] ? NULL : folder_format;
}

static qc_status choose_format(planner *p)
{
    const recipe *rec = p->plan->recipe;
    const void *desc;
    const char *id = rec->output.format.id ? rec->output.format.id : format_for_path(p->registry, rec->output.path);
    if (!id)
        return fail_at(p->job, rec->output.at, QC_E_INVALID,
                       "output.path %s does not tell the format by its name: add output.format "
                       "(see: qcore plugins list --kind format)",
                       rec->output.path);
    qc_status status = registry_open(p->registry, p->job, "format", id, &desc);
    if (status != QC_OK) {
        char where[300];
        place_text(rec->output.format.at, where, sizeof where);
        job_add_context(p->job, "%s", *where ? where : "output.format");
        return status;
    }
    p->plan->format = id;
    p->format = desc;
    p->canonical = (p->format->base.flags & QC_FORMAT_CANONICAL) != 0;
    return QC_OK;
}

/* ---- encodings ---- */

static int is_decodable(const planner *p, const char *encoding)
{
    return registry_entry(p->registry, "encoding", encoding) != NULL;
}

static uint64_t block_cols(void *arg, const char *encoding)
{
    const planner *p = arg;
    const void *desc;
    if (!is_decodable(p, encoding))
        return 0;
    if (registry_open(p->registry, p->job, "encoding", encoding, &desc) == QC_OK)
        return ((const qc_encoding_desc *)desc)->block_cols;
    job_clear(p->job); /* whoever needs the encoding will say what is wrong with it */
    return 0;
}

/* As it is stored; but what is never quantized becomes what GGUF files hold, where a family's files hold it in less. */
static const char *encoding_when_kept(const planner *p, const model_tensor *t)
{
    int own_names = (p->model->format->base.flags & QC_FORMAT_CANONICAL) == 0;
    int widens = t->keep && own_names && p->canonical && is_decodable(p, t->encoding);
    return widens ? QC_ENCODING_F32 : t->encoding;
}

static qc_status note(planner *p, plan_item *item, const char *what, const char *word)
{
    char text[200];
    snprintf(text, sizeof text, "%s%s", what, word);
    free(item->note);
    item->note = strdup(text);
    return item->note ? QC_OK : p->job->fail(p->job, QC_E_NOMEM, "out of memory for a plan");
}

static qc_status choose_encoding(planner *p, plan_item *item, const choice *c)
{
    const model_tensor *t = item->tensor;
    item->encoding = c->encoding ? c->encoding : encoding_when_kept(p, t);
    if (!strcmp(item->encoding, t->encoding) || is_decodable(p, t->encoding))
        return QC_OK;
    item->encoding = t->encoding;
    return note(p, item, "carried over: no plugin decodes ", t->encoding);
}

/* Stored bytes of all rows a tensor is made of. */
static qc_status add_stored(planner *p, plan_item *item)
{
    const model_tensor *t = item->tensor;
    uint64_t bytes;
    for (size_t i = 0; i < t->n_runs; i++) {
        if (!qc_mul_size(p->model->sources[t->runs[i].source]->row_bytes, t->runs[i].n, &bytes) ||
            bytes > UINT64_MAX - item->stored)
            return qc_fail(p->job, QC_E_CORRUPT, "%s: its size does not fit in 64 bits", t->name);
        item->stored += bytes;
    }
    return QC_OK;
}

/* run.exact holds for whatever is opened; inexact backends are left out before. */
static qc_status check_exact(const planner *p, const qc_desc *desc, const char *kind)
{
    if (!p->plan->recipe->run.exact || !(desc->flags & QC_DESC_INEXACT))
        return QC_OK;
    return qc_fail(p->job, QC_E_INVALID,
                   "%s %s gives other bits on other machines: allow that with run: {exact: false}, or take another",
                   kind, desc->id);
}

static qc_status make_coders(planner *p, plan_item *item)
{
    const model_tensor *t = item->tensor;
    qc_status status = QC_OK;
    if (is_decodable(p, t->encoding))
        status = registry_coder(p->registry, p->job, t->encoding, t->dims[0], &item->from);
    if (status == QC_OK && item->carried)
        item->to = item->from;
    else if (status == QC_OK)
        status = registry_coder(p->registry, p->job, item->encoding, t->dims[0], &item->to);
    if (status == QC_OK && item->to.desc && !item->carried)
        status = check_exact(p, &item->to.desc->base, "encoding");
    if (status != QC_OK) {
        char where[300];
        job_add_context(p->job, "%s", t->name);
        if (*place_text(item->why, where, sizeof where) && !item->carried)
            job_add_context(p->job, "%s", where);
    }
    return status;
}

static qc_status size_item(planner *p, plan_item *item)
{
    const model_tensor *t = item->tensor;
    item->bytes = item->stored;
    if (item->to.desc && !qc_mul_size(item->to.row_bytes, t->n_rows, &item->bytes))
        return qc_fail(p->job, QC_E_LIMIT, "%s: its size does not fit in 64 bits", t->name);
    if (item->bytes > UINT64_MAX - p->plan->bytes || item->stored > UINT64_MAX - p->plan->stored)
        return qc_fail(p->job, QC_E_LIMIT, "%s: the sizes of all tensors do not fit in 64 bits", t->name);
    p->plan->bytes += item->bytes;
    p->plan->stored += item->stored;
    return QC_OK;
}

/* The output's format speaks before any work; a family's own files may hold the tensor under another name or in parts,
 * which layout then checks. */
static qc_status ask_format(planner *p, const plan_item *item)
{
    const model_tensor *t = item->tensor;
    qc_tensor asked = {.size = sizeof asked,
                       .name = t->name,
                       .encoding = item->encoding,
                       .n_dims = t->n_dims,
                       .bytes = item->bytes,
                       .row_bytes = t->n_rows ? item->bytes / t->n_rows : 0,
                       .desc = item->to.desc};
    memcpy(asked.dims, t->dims, sizeof asked.dims);
    const char *why = p->format->refuses ? p->format->refuses(&asked) : NULL;
    const recipe *rec = p->plan->recipe;
    if (!why)
        return QC_OK;
    return fail_at(p->job, item->why, QC_E_UNSUPPORTED, "%s: %s cannot hold it as %s: %s%s%s", t->name, p->plan->format,
                   item->encoding, why,
                   rec->output.format.id ? "" : "; the format was chosen by the name of output.path, ",
                   rec->output.format.id ? "" : rec->output.path);
}

static qc_status plan_tensor(planner *p, plan_item *item, const model_tensor *t, const choice *c)
{
    item->tensor = t;
    item->why = c->why;
    qc_status status = choose_encoding(p, item, c);
    if (status == QC_OK)
        status = add_stored(p, item);
    item->carried = status == QC_OK && !strcmp(item->encoding, t->encoding) && !(t->flags & QC_NAME_TRANSPOSE);
    if (status == QC_OK)
        status = make_coders(p, item);
    if (status == QC_OK)
        status = size_item(p, item);
    if (status == QC_OK && !item->carried && !item->note && item->from.desc && item->to.desc &&
        transcode_fits(&item->from, &item->to))
        status = note(p, item, "code for code, nothing is rounded", "");
    return status == QC_OK ? ask_format(p, item) : status;
}

static qc_status plan_tensors(planner *p, int has_importance)
{
    plan *out = p->plan;
    size_t n = p->model->n_tensors;
    choice *choices = calloc(n + 1, sizeof *choices);
    out->items = calloc(n + 1, sizeof *out->items);
    if (!choices || !out->items) {
        free(choices);
        return p->job->fail(p->job, QC_E_NOMEM, "out of memory for a plan");
    }
    out->n_items = n;
    qc_status status = rules_choose(p->job, p->rules, p->model, has_importance, block_cols, p, choices);
    for (size_t i = 0; i < n; i++) {
        out->items[i].note = choices[i].note;
        if (status == QC_OK)
            status = plan_tensor(p, &out->items[i], &p->model->tensors[i], &choices[i]);
    }
    free(choices);
    return status;
}

/* ---- methods ---- */

/* A dry run records nothing: what calibration.text will give is then taken to be there. */
static qc_status check_statistics(const planner *p, const plugin_use *use, const qc_method_desc *method,
                                  const struct statistics *known)
{
    static const char *const words[] = {"column mean squares (an imatrix)", "Gram matrices", "absolute maxima",
                                        "samples"}; /* in the order of QC_STAT_* */
    const recipe *rec = p->plan->recipe;
    char missing[120] = "";
    int to_come = !known && rec->calibration.text.n > 0;
    uint32_t lacking = to_come ? 0 : method->statistics & ~statistics_known(known);
    for (size_t i = 0, n = 0; i < sizeof words / sizeof *words; i++)
        if (lacking >> i & 1)
            n += (size_t)snprintf(missing + n, sizeof missing - n, "%s%s", n ? ", " : "", words[i]);
    if (!lacking)
        return QC_OK;
    return fail_at(p->job, use->at, QC_E_INVALID,
                   "method %s needs %s%s: name text files in calibration.text, or a file that has them in "
                   "calibration.imatrix",
                   use->id, missing, rec->calibration.imatrix ? ", which calibration.imatrix lacks" : "");
}

/* Factors need a block whose channels are known. */
static qc_status check_family(const planner *p, const plugin_use *use)
{
    const char *id = p->model->architecture_id;
    const void *desc = NULL;
    qc_status status = id ? registry_open(p->registry, p->job, "architecture", id, &desc) : QC_OK;
    if (status != QC_OK)
        return status;
    if (desc && ((const qc_architecture_desc *)desc)->axes)
        return QC_OK;
    return fail_at(p->job, use->at, QC_E_UNSUPPORTED,
                   "method %s scales channels, and no plugin knows those of %s%s: leave it out", use->id,
                   id ? "the family " : "this model's family", id ? id : "");
}

/* The setting that the manifest calls `orders` asks for an order of columns, which the output's format must keep. */
static qc_status check_order(planner *p, const plugin_use *use, const qc_settings *settings)
{
    const char *setting = entry_value(registry_entry(p->registry, "method", use->id), "orders");
    if (!setting || p->job->host->number(settings, setting) == 0)
        return QC_OK;
    p->plan->ordered = (p->format->base.flags & QC_FORMAT_ORDER) != 0;
    if (p->plan->ordered)
        return QC_OK;
    return fail_at(p->job, use->at, QC_E_UNSUPPORTED,
                   "%s.%s: %s cannot store an order of columns: leave it off (columns are visited by importance all "
                   "the same), or name an output.format that can",
                   use->id, setting, p->plan->format);
}

static qc_status open_method(planner *p, const plugin_use *use, const qc_method_desc **method, qc_settings **settings)
{
    char where[300];
    const void *desc;
    *settings = NULL;
    qc_status status = registry_open(p->registry, p->job, "method", use->id, &desc);
    *method = desc;
    if (status == QC_OK)
        status = check_exact(p, desc, "method");
    if (status == QC_OK)
        status = settings_new(p->job, registry_entry(p->registry, "method", use->id), (const char *const *)use->names,
                              (const char *const *)use->values, use->n_settings, settings);
    if (status != QC_OK && *place_text(use->at, where, sizeof where))
        job_add_context(p->job, "%s", where);
    return status;
}

/* All that transform do so, in their order; the last one rounds. */
static qc_status check_method(planner *p, const plugin_use *use, const struct statistics *known, int is_last)
{
    const qc_method_desc *method;
    qc_settings *settings;
    qc_status status = open_method(p, use, &method, &settings);
    if (status == QC_OK)
        status = check_statistics(p, use, method, known);
    if (status == QC_OK && method->transform)
        status = check_family(p, use);
    if (status == QC_OK && is_last && !method->round)
        status = fail_at(p->job, use->at, QC_E_INVALID,
                         "method %s scales channels and does not round: let one that rounds follow it", use->id);
    if (status == QC_OK && !is_last && !method->transform)
        status = fail_at(p->job, use->at, QC_E_INVALID,
                         "method %s rounds, so none can follow it: the last one of quantize.methods rounds, those "
                         "before it scale channels",
                         use->id);
    if (status == QC_OK && is_last)
        status = check_order(p, use, settings);
    settings_free(settings);
    return status;
}

static qc_status check_methods(planner *p, const struct statistics *known)
{
    const recipe *rec = p->plan->recipe;
    size_t n = rec->quantize.n_methods;
    qc_status status = QC_OK;
    for (size_t i = 0; status == QC_OK && i < n; i++)
        status = check_method(p, &rec->quantize.methods[i], known, i + 1 == n);
    return status;
}

/* ---- the whole ---- */

static void add_up(plan *p)
{
    double weights = 0;
    for (size_t i = 0; i < p->n_items; i++)
        weights += plan_weights(&p->items[i]);
    p->bits_stored = ratio((double)p->stored * 8, weights);
    p->bits = ratio((double)p->bytes * 8, weights);
}

/* Some tensors that no plugin decodes may stay as they are; a run in which all do is not what was asked for. */
static qc_status check_carried(const planner *p)
{
    size_t n = 0, n_rounded = 0;
    const char *encoding = NULL;
    for (size_t i = 0; i < p->plan->n_items; i++) {
        const plan_item *item = &p->plan->items[i];
        n += !item->to.desc;
        n_rounded += !item->carried;
        encoding = item->to.desc ? encoding : item->encoding;
    }
    if (n && !n_rounded)
        return qc_fail(p->job, QC_E_UNSUPPORTED,
                       "%s: no plugin decodes %s, so nothing can be quantized; start from the model in 8 bits or more",
                       p->model->path, encoding);
    if (n)
        log_say(p->job->host, QC_LOG_WARNING,
                "%zu of %zu tensors are in encodings that no plugin decodes and are carried over as they are", n,
                p->plan->n_items);
    return QC_OK;
}

/* Blocks of fewer than 8 bits a weight have lost what another encoding cannot bring back. Those that keep their codes, in
 * as many bits, lose nothing more. */
static int loses_more(const planner *p, const plan_item *item)
{
    int coded = item->from.desc && (item->from.block_cols > 1 || model_in_parts(p->model, item->tensor));
    int coarse = coded && (double)item->stored < plan_weights(item);
    if (!coarse || item->carried)
        return 0;
    return !item->to.desc || !transcode_fits(&item->from, &item->to) ||
           item->from.desc->highest != item->to.desc->highest;
}

static void warn_of_coarse(const planner *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->plan->n_items; i++)
        n += (size_t)loses_more(p, &p->plan->items[i]);
    if (n)
        log_say(p->job->host, QC_LOG_WARNING,
                "%zu of %zu tensors come from fewer than 8 bits a weight, and what those have lost adds to the error; "
                "better start from the model in 8 bits or more",
                n, p->plan->n_items);
}

qc_status plan_make(qc_job *job, registry *r, const recipe *rec, const model *m, const struct statistics *known,
                    plan **out)
{
    plan *made = *out = calloc(1, sizeof *made);
    if (!made)
        return job->fail(job, QC_E_NOMEM, "out of memory for a plan");
    made->recipe = rec;
    made->model = m;
    planner p = {.job = job, .registry = r, .rules = rec->quantize.rules, .model = m, .plan = made};
    qc_status status = choose_format(&p);
    if (status == QC_OK)
        status = check_methods(&p, known);
    if (status == QC_OK)
        status = plan_tensors(&p, known || rec->calibration.text.n > 0);
    if (status == QC_OK)
        status = check_carried(&p);
    if (status == QC_OK)
        status = plan_metas(job, made, p.rules, known);
    if (status == QC_OK)
        status = plan_ask_loaders(job, r, made, p.format);
    if (status != QC_OK) {
        plan_free(made);
        *out = NULL;
        return status;
    }
    add_up(made);
    warn_of_coarse(&p);
    return QC_OK;
}

void plan_free(plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->items && i < p->n_items; i++)
        free(p->items[i].note);
    for (size_t i = p->first_own; i < p->n_metas; i++)
        free(p->metas[i]);
    plan_loaders_free(p);
    free(p->metas);
    free(p->items);
    free(p);
}
