#include "core/pipeline.h"
#include "core/chunk.h"
#include "core/job.h"
#include <stdlib.h>
#include <unistd.h>

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the list of work");
}

/* ---- the method ---- */

/* The last method that rounds does; the plan has refused what cannot be done without calibration. */
static qc_status open_method(pipeline *p, qc_job *job, registry *r)
{
    const recipe *rec = p->plan->recipe;
    for (size_t i = rec->quantize.n_methods; i-- > 0;) {
        const plugin_use *use = &rec->quantize.methods[i];
        const void *desc;
        qc_status status = registry_open(r, job, "method", use->id, &desc);
        if (status != QC_OK)
            return status;
        p->method = desc;
        if (!p->method->round)
            continue;
        p->method_use = use;
        status = settings_new(job, registry_entry(r, "method", use->id), (const char *const *)use->names,
                              (const char *const *)use->values, use->n_settings, &p->settings);
        if (status == QC_OK && p->method->create)
            status = p->method->create(job, p->settings, &p->state);
        return status;
    }
    p->method = NULL;
    return QC_OK;
}

/* ---- cutting ---- */

static uint64_t common_multiple(uint64_t a, uint32_t b)
{
    uint64_t multiple = a;
    while (b > 1 && multiple % b != 0)
        multiple += a;
    return multiple;
}

/* About CHUNK_WEIGHTS, in whole tiles; never more than a matrix. */
static uint64_t chunk_rows(const pipeline *p, const model_tensor *t)
{
    uint64_t multiple = common_multiple(QC_LANES, output_row_multiple(p->output));
    multiple = common_multiple(multiple, p->plan->model->format->row_multiple);
    uint64_t rows = multiple * (CHUNK_WEIGHTS / t->dims[0] / multiple);
    rows = rows ? rows : multiple;
    return rows < t->dims[1] ? rows : t->dims[1];
}

/* Bytes that a worker has in hand for one chunk of it. */
static uint64_t chunk_bytes(const work *w)
{
    uint64_t piece = w->item->to.desc && w->item->to.block_cols > QC_PLAIN_COLS ? w->item->to.block_cols
                                                                                : QC_PLAIN_COLS;
    uint64_t row = w->from.row_bytes + w->item->to.row_bytes + 2 * sizeof(float) * w->from.cols;
    return w->rows * row + 6 * sizeof(float) * piece * QC_LANES;
}

static qc_status check_work(const pipeline *p, qc_job *job, const work *w)
{
    const plan_item *item = w->item;
    const model_tensor *t = item->tensor;
    if (!item->carried && (!item->from.desc || !item->to.desc))
        return qc_fail(job, QC_E_UNSUPPORTED, "%s: no plugin decodes %s", t->name, t->encoding);
    if (is_rounded(w) && !p->method)
        return qc_fail(job, QC_E_INVALID, "%s: none of the recipe's methods rounds weights", t->name);
    if (t->n_runs && !p->plan->model->format->load && item->stored != w->from.row_bytes * t->n_rows)
        return qc_fail(job, QC_E_CORRUPT, "%s: its rows are not as long as %s makes them", t->name, t->encoding);
    return QC_OK;
}

static qc_status cut_item(pipeline *p, qc_job *job, size_t i, work *w)
{
    const plan_item *item = &p->plan->items[i];
    const model_tensor *t = item->tensor;
    *w = (work){.item = item, .index = i, .view = output_view(p->output, i), .from = item->from};
    w->first_chunk = p->n_chunks;
    w->first_matrix = p->n_matrices;
    if (!w->view)
        return QC_OK;
    if (!w->from.desc) /* no plugin decodes it: only the sizes are known */
        w->from = (qc_coder){
            .size = sizeof w->from, .cols = (size_t)t->dims[0], .row_bytes = (size_t)(item->stored / t->n_rows)};
    w->rows = chunk_rows(p, t);
    w->n_matrices = t->dims[2] * t->dims[3];
    w->chunks_each = (t->dims[1] + w->rows - 1) / w->rows;
    p->n_chunks += w->chunks_each * w->n_matrices;
    p->n_matrices += is_rounded(w) ? w->n_matrices : 0;
    if (chunk_bytes(w) > p->worker_bytes) {
        p->worker_bytes = chunk_bytes(w);
        p->widest = t->name;
    }
    return check_work(p, job, w);
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
    if (p->n_chunks > SIZE_MAX / sizeof *p->sums)
        return no_memory(job);
    p->sums = calloc((size_t)p->n_chunks + 1, sizeof *p->sums);
    return p->sums ? QC_OK : no_memory(job);
}

qc_status pipeline_new(qc_job *job, registry *r, const plan *planned, const statistics *known, const output *out,
                       pipeline **result)
{
    *result = NULL;
    pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return no_memory(job);
    p->host = job->host;
    p->plan = planned;
    p->statistics = known;
    p->output = out;
    p->ops = job->host->find(job->host, QC_OPS_ROW);
    qc_status status = p->ops ? open_method(p, job, r) : qc_fail(job, QC_E_INTERNAL, "no backend gives " QC_OPS_ROW);
    if (status == QC_OK)
        status = cut(p, job);
    if (status == QC_OK)
        status = preparations_new(p, job);
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
    preparations_free(p);
    if (p->method && p->method->destroy && p->state)
        p->method->destroy(p->host, p->state);
    settings_free(p->settings);
    free(p->works);
    free(p->results);
    free(p->sums);
    free(p);
}

/* ---- memory ---- */

static uint64_t mebibytes(uint64_t bytes)
{
    return (bytes >> 20) + ((bytes & 0xfffff) != 0);
}

qc_status pipeline_threads(const pipeline *p, qc_job *job, unsigned wanted, unsigned *n)
{
    uint64_t limit = p->plan->recipe->run.memory, fixed = statistics_bytes(p->statistics), each = p->worker_bytes;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    fixed += p->n_chunks * sizeof *p->sums;
    if (p->method && p->method->memory && p->method->prepare)
        each = p->most_prepared < UINT64_MAX / 2 ? each + p->most_prepared : UINT64_MAX / 2;
    if (fixed > limit || each > limit - fixed)
        return qc_fail(job, QC_E_LIMIT, "%s needs %llu MiB of memory, run.memory allows %llu MiB", p->widest,
                       (unsigned long long)mebibytes(fixed + each), (unsigned long long)(limit >> 20));
    uint64_t fit = each ? (limit - fixed) / each : 1;
    *n = wanted ? wanted : cpus > 0 ? (unsigned)cpus : 1;
    if (*n > fit)
        *n = (unsigned)fit;
    return QC_OK;
}

/* ---- running ---- */

typedef struct run_state {
    pipeline *pipeline;
    progress *progress;
} run_state;

/* The item that chunk `index` belongs to: the last one that begins at or before it. */
static const work *find_work(const pipeline *p, uint64_t index)
{
    size_t low = 0, high = p->n_works;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (p->works[middle].first_chunk <= index)
            low = middle;
        else
            high = middle;
    }
    return &p->works[low];
}

static chunk find_chunk(const pipeline *p, uint64_t index)
{
    const work *w = find_work(p, index);
    uint64_t nth = index - w->first_chunk, rows = w->item->tensor->dims[1];
    chunk c = {.work = w, .matrix = nth / w->chunks_each, .sums = &p->sums[index]};
    uint64_t first = nth % w->chunks_each * w->rows;
    c.row = c.matrix * rows + first;
    c.n_rows = (size_t)(rows - first < w->rows ? rows - first : w->rows);
    return c;
}

static qc_status run_chunks(void *arg, qc_job *job, size_t begin, size_t end)
{
    const run_state *s = arg;
    for (size_t i = begin; i < end; i++) {
        chunk c = find_chunk(s->pipeline, i);
        size_t mark = job_mark(job);
        qc_status status = chunk_run(s->pipeline, job, &c);
        job_release(job, mark);
        if (status != QC_OK) {
            job_add_context(job, "%s", c.work->item->tensor->name);
            return status;
        }
        progress_step(s->progress, c.work->item->tensor->name, c.n_rows * c.work->from.row_bytes);
    }
    return QC_OK;
}

static void add_up(pipeline *p)
{
    for (size_t i = 0; i < p->n_works; i++) {
        const work *w = &p->works[i];
        for (uint64_t k = 0; k < w->chunks_each * w->n_matrices; k++) {
            p->results[i].energy += p->sums[w->first_chunk + k].energy;
            p->results[i].error += p->sums[w->first_chunk + k].error;
        }
    }
}

qc_status pipeline_run(pipeline *p, qc_job *job, progress *shown)
{
    run_state s = {p, shown};
    qc_status status = job->parallel_for(job, (size_t)p->n_chunks, 1, run_chunks, &s);
    if (status == QC_OK)
        add_up(p);
    return status;
}

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
