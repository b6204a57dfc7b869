#include "core/pipeline.h"
#include "core/chunk.h"
#include "core/job.h"
#include <stdlib.h>
#include <unistd.h>

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the list of work");
}

/* ---- the methods ---- */

static int wants_order(const opened_method *m, const plugin_entry *e, const qc_host *host)
{
    const char *setting = entry_value(e, "orders");
    return setting && host->number(m->settings, setting) != 0;
}

static qc_status open_method(pipeline *p, qc_job *job, registry *r, const plugin_use *use)
{
    opened_method *m = &p->methods[p->n_methods++];
    const plugin_entry *e = registry_entry(r, "method", use->id);
    const void *desc;
    m->use = use;
    qc_status status = registry_open(r, job, "method", use->id, &desc);
    if (status != QC_OK)
        return status;
    m->desc = desc;
    status = settings_new(job, e, (const char *const *)use->names, (const char *const *)use->values, use->n_settings,
                          &m->settings);
    if (status == QC_OK && m->desc->create)
        status = m->desc->create(job, m->settings, &m->state);
    if (status == QC_OK)
        m->wants_order = wants_order(m, e, job->host);
    if (m->desc->round)
        p->rounder = m;
    return status;
}

/* Whose axes say where factors go, and what reads the embedding. */
static int wants_family(const pipeline *p)
{
    return pipeline_transforms(p) || (p->rounder && p->rounder->desc->statistics & QC_STAT_GRAM);
}

static qc_status open_methods(pipeline *p, qc_job *job, registry *r)
{
    const recipe *rec = p->plan->recipe;
    qc_status status = QC_OK;
    const void *family = NULL;
    p->methods = calloc(rec->quantize.n_methods + 1, sizeof *p->methods);
    if (!p->methods)
        return no_memory(job);
    for (size_t i = 0; i < rec->quantize.n_methods && status == QC_OK; i++)
        status = open_method(p, job, r, &rec->quantize.methods[i]);
    if (status == QC_OK && wants_family(p) && p->plan->model->architecture_id)
        status = registry_open(r, job, "architecture", p->plan->model->architecture_id, &family);
    p->family = family;
    return status;
}

static void close_methods(pipeline *p)
{
    for (size_t i = 0; i < p->n_methods; i++) {
        opened_method *m = &p->methods[i];
        if (m->desc && m->desc->destroy && m->state)
            m->desc->destroy(p->host, m->state);
        settings_free(m->settings);
    }
    free(p->methods);
}

/* ---- cutting ---- */

static uint64_t common_multiple(uint64_t a, uint32_t b)
{
    uint64_t multiple = a;
    while (b > 1 && multiple % b != 0)
        multiple += a;
    return multiple;
}

/* As many as the rounder likes, or about CHUNK_WEIGHTS, in whole tiles; never more than a matrix. */
static uint64_t chunk_rows(const pipeline *p, const work *w)
{
    const model_tensor *t = w->item->tensor;
    const qc_method_desc *d = p->rounder && has_grid(w) ? p->rounder->desc : NULL;
    uint64_t multiple = common_multiple(QC_LANES, output_row_multiple(p->output));
    multiple = common_multiple(multiple, p->plan->model->format->row_multiple);
    uint64_t wanted = d && d->chunk_rows ? d->chunk_rows : CHUNK_WEIGHTS / t->dims[0];
    uint64_t rows = multiple * (wanted / multiple);
    rows = rows ? rows : multiple;
    return rows < t->dims[1] ? rows : t->dims[1];
}

static int measures(const pipeline *p)
{
    return p->rounder && p->rounder->desc->statistics & (QC_STAT_GRAM | QC_STAT_SAMPLES);
}

/* What loading takes where rows are the format's to find, and storing where it packs codes anew: about 1.5 bytes each. */
static uint64_t format_bytes(const pipeline *p, const work *w)
{
    uint64_t weights = w->rows * w->from.cols;
    uint64_t load = model_load_bytes(p->plan->model, w->view, &w->from, w->rows);
    return load + (has_grid(w) && output_rearranges(p->output) ? weights + weights / 2 : 0);
}

/* Of a chunk, at most. */
static uint64_t measured_rows(const work *w)
{
    uint64_t stride = w->item->tensor->dims[1] / MEASURED_ROWS;
    uint64_t rows = stride ? w->rows / stride + 1 : w->rows;
    return rows < w->rows ? rows : w->rows;
}

/* Bytes that a worker has in hand for one chunk of it; rows that are measured are there twice more. */
static uint64_t chunk_bytes(const pipeline *p, const work *w)
{
    const qc_method_desc *d = p->rounder && has_grid(w) ? p->rounder->desc : NULL;
    uint64_t piece = w->to.desc && w->to.block_cols > QC_PLAIN_COLS ? w->to.block_cols : QC_PLAIN_COLS;
    uint64_t floats = sizeof(float) * w->from.cols;
    uint64_t row = w->from.row_bytes + w->to.row_bytes + 2 * floats;
    uint64_t bytes = w->rows * row + 6 * sizeof(float) * piece * QC_LANES + format_bytes(p, w);
    if (d && measures(p))
        bytes += measured_rows(w) * (2 * floats + w->to.row_bytes);
    return d && d->round_memory ? bytes + d->round_memory(p->rounder->state, (size_t)w->rows, w->from.cols) : bytes;
}

/* What is prepared for the input of an item, and the rows of three matrices of it that are measured. */
static void count_prepared(pipeline *p, const work *w)
{
    const opened_method *m = p->rounder;
    if (!m || !has_grid(w))
        return;
    uint64_t bytes = m->desc->prepare && m->desc->memory ? m->desc->memory(m->state, w->from.cols) : 0;
    uint64_t measured = measures(p) ? 9 * sizeof(float) * (MEASURED_ROWS * 2) * w->from.cols : 0;
    if (bytes < SMALL_PREPARED && p->all_prepared < SMALL_PREPARED)
        p->all_prepared += bytes * w->n_matrices;
    p->most_prepared = bytes > p->most_prepared ? bytes : p->most_prepared;
    p->most_measured = measured > p->most_measured ? measured : p->most_measured;
}

static qc_status check_work(const pipeline *p, qc_job *job, const work *w)
{
    const plan_item *item = w->item;
    const model_tensor *t = item->tensor;
    if (!item->carried && (!item->from.desc || !item->to.desc))
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: no plugin decodes %s", t->name, t->encoding);
    if (is_rounded(w) && !p->rounder)
        return qc_fail(job, QC_E_INVALID, "%s: none of the recipe's methods rounds weights", t->name);
    if (t->n_runs && !p->plan->model->format->load && item->stored != w->from.row_bytes * t->n_rows)
        return qc_fail(job, QC_E_CORRUPT, "%s: its rows are not as long as %s makes them", t->name, t->encoding);
    return QC_OK;
}

static qc_status cut_item(pipeline *p, qc_job *job, size_t i, work *w)
{
    const plan_item *item = &p->plan->items[i];
    const model_tensor *t = item->tensor;
    *w = (work){.item = item, .index = i, .view = output_view(p->output, i), .from = item->from, .to = item->to};
    w->first_chunk = p->n_chunks;
    w->first_matrix = p->n_matrices;
    if (!w->view)
        return QC_OK;
    if (!w->from.desc) /* no plugin decodes it: only the sizes are known */
        w->from = (qc_coder){
            .size = sizeof w->from, .cols = (size_t)t->dims[0], .row_bytes = (size_t)(item->stored / t->n_rows)};
    w->n_matrices = t->dims[2] * t->dims[3];
    if (p->rounder && p->rounder->wants_order && has_grid(w) && w->n_matrices == 1)
        w->to.order = w->order = output_order(p->output, i);
    w->rows = chunk_rows(p, w);
    w->chunks_each = (t->dims[1] + w->rows - 1) / w->rows;
    p->n_chunks += w->chunks_each * w->n_matrices;
    p->n_matrices += has_grid(w) ? w->n_matrices : 0;
    count_prepared(p, w);
    if (chunk_bytes(p, w) > p->worker_bytes) {
        p->worker_bytes = chunk_bytes(p, w);
        p->widest = t->name;
    }
    return check_work(p, job, w);
}

/* Column sums of a model take little: with all of them there, no thread waits between one input's chunks and the next. */
static void allow_small_preparations(pipeline *p)
{
    uint64_t together = p->all_prepared < SMALL_PREPARED ? p->all_prepared : SMALL_PREPARED;
    p->most_prepared = together > p->most_prepared ? together : p->most_prepared;
}

static void name_linears(pipeline *p)
{
    for (size_t i = 0; i < p->n_works; i++) {
        const work *w = &p->works[i];
        for (uint64_t k = 0; has_grid(w) && k < w->n_matrices; k++)
            p->linears[w->first_matrix + k] = (linear_result){.item = w->item,
                                                              .expert = w->n_matrices > 1 ? (int32_t)k : -1};
    }
}

static qc_status cut(pipeline *p, qc_job *job)
{
    p->works = calloc(p->plan->n_items + 1, sizeof *p->works);
    p->results = calloc(p->plan->n_items + 1, sizeof *p->results);
    if (!p->works || !p->results)
        return no_memory(job);
    qc_status status = QC_OK;
    for (; p->n_works < p->plan->n_items && status == QC_OK; p->n_works++)
        status = cut_item(p, job, p->n_works, &p->works[p->n_works]);
    if (status != QC_OK)
        return status;
    allow_small_preparations(p);
    if (p->n_chunks > SIZE_MAX / sizeof *p->sums || p->n_matrices > SIZE_MAX / sizeof *p->linears - 1)
        return no_memory(job);
    p->sums = calloc((size_t)p->n_chunks + 1, sizeof *p->sums);
    p->linears = calloc((size_t)p->n_matrices + 1, sizeof *p->linears);
    if (!p->sums || !p->linears)
        return no_memory(job);
    name_linears(p);
    return QC_OK;
}

qc_status pipeline_new(qc_job *job, registry *r, const plan *planned, const output *out, pipeline **result)
{
    *result = NULL;
    pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return no_memory(job);
    p->host = job->host;
    p->plan = planned;
    p->output = out;
    p->ops = job->host->find(job->host, QC_OPS_ROW);
    p->matrices = job->host->find(job->host, QC_OPS_MATRIX);
    qc_status status = p->ops ? open_methods(p, job, r) : qc_fail(job, QC_E_INTERNAL, "no backend gives " QC_OPS_ROW);
    if (status == QC_OK)
        status = cut(p, job);
    if (status == QC_OK)
        *result = p;
    else
        pipeline_free(p);
    return status;
}

void pipeline_free(pipeline *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->works && i < p->n_works; i++) {
        free(p->works[i].factors.multiply);
        free(p->works[i].factors.divide);
    }
    close_methods(p);
    free(p->works);
    free(p->results);
    free(p->sums);
    free(p->linears);
    free(p);
}

/* ---- memory ---- */

static uint64_t mebibytes(uint64_t bytes)
{
    return (bytes >> 20) + ((bytes & 0xfffff) != 0);
}

uint64_t pipeline_worker_bytes(const pipeline *p)
{
    return p->worker_bytes;
}

uint64_t pipeline_prepared_bytes(const pipeline *p)
{
    return p->most_prepared < UINT64_MAX / 2 ? p->most_prepared + p->most_measured : UINT64_MAX / 2;
}

qc_status pipeline_threads(const pipeline *p, qc_job *job, unsigned wanted, uint64_t fixed, unsigned *n)
{
    uint64_t limit = p->plan->recipe->run.memory, each = p->worker_bytes;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    fixed = fixed < UINT64_MAX / 4 ? fixed : UINT64_MAX / 4;
    fixed += p->n_chunks * sizeof *p->sums + pipeline_prepared_bytes(p);
    if (fixed > limit || each > limit - fixed)
        return qc_fail(job, QC_E_LIMIT, "%s needs %llu MiB of memory, run.memory allows %llu MiB", p->widest,
                       (unsigned long long)mebibytes(fixed + each), (unsigned long long)(limit >> 20));
    uint64_t fit = each ? (limit - fixed) / each : 1;
    *n = wanted ? wanted : cpus > 0 ? (unsigned)cpus : 1;
    if (*n > fit)
        *n = (unsigned)fit;
    return QC_OK;
}

/* ---- what it came to ---- */

uint64_t pipeline_bytes(const pipeline *p)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->n_works; i++)
        bytes += p->works[i].view ? p->works[i].item->tensor->n_rows * p->works[i].from.row_bytes : 0;
    return bytes;
}

const item_result *pipeline_results(const pipeline *p)
{
    return p->results;
}

const linear_result *pipeline_linears(const pipeline *p, size_t *n)
{
    *n = (size_t)p->n_matrices;
    return p->linears;
}

void pipeline_set_tap(pipeline *p, const pipeline_tap *tap)
{
    p->tap = tap;
}

void pipeline_set_pace(pipeline *p, uint64_t steps, uint64_t bytes)
{
    p->pace_steps = steps;
    p->pace_bytes = bytes;
}
