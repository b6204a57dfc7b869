/* A stage: matrices whose method has all it needs prepared, all their chunks run at once on all threads. */
#include "core/chunk.h"
#include "core/job.h"
#include <stdlib.h>

typedef struct stage {
    pipeline *pipeline;
    const statistics *statistics;
    progress *shown;
    portion *portions; /* of the whole run; [first, first + n) are this stage's */
    size_t first, n, n_portions;
    preparation *preparations;
    size_t n_preparations;
} stage;

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the list of work");
}

/* ---- what a run consists of ---- */

static void add_item(stage *s, work *w)
{
    for (uint64_t k = 0; w->view && k < w->n_matrices; k++) {
        const qc_input *input = is_rounded(w) ? statistics_input(s->statistics, w->item->tensor->name, k) : NULL;
        s->portions[s->n_portions++] = (portion){.work = w, .matrix = k, .input = input};
    }
}

static qc_status list_portions(stage *s, qc_job *job, const size_t *items, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += s->pipeline->works[items ? items[i] : i].n_matrices;
    s->portions = total < SIZE_MAX / sizeof *s->portions ? calloc((size_t)total + 1, sizeof *s->portions) : NULL;
    s->preparations = s->portions ? calloc((size_t)total + 1, sizeof *s->preparations) : NULL;
    if (!s->portions || !s->preparations)
        return no_memory(job);
    for (size_t i = 0; i < n; i++)
        add_item(s, &s->pipeline->works[items ? items[i] : i]);
    return QC_OK;
}

static int prepares(const pipeline *p, const portion *o)
{
    return p->rounder && p->rounder->desc->prepare && is_rounded(o->work) && o->input;
}

/* Portions that nothing is prepared for come first, the others by what they share, in the order of the first of each:
 * keys are places in the list, so sorting them is the same everywhere. */
typedef struct keyed {
    size_t key, place;
} keyed;

static int serves(const preparation *one, const portion *o)
{
    const qc_encoding_desc *a = one->shape, *b = o->work->to.desc;
    return one->input == o->input && one->ordered == (o->work->order != NULL) && a->block_cols == b->block_cols &&
           a->sub_cols == b->sub_cols;
}

static int compare_keyed(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    int order = (x->key > y->key) - (x->key < y->key);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* The preparation that a portion shares, found among those of its block's few (they are looked for from the last one
 * back, and inputs of one block follow each other closely). */
static size_t key_of(stage *s, portion *o)
{
    if (!prepares(s->pipeline, o))
        return 0;
    for (size_t i = s->n_preparations; i-- > 0;)
        if (serves(&s->preparations[i], o)) {
            o->prepared = &s->preparations[i];
            return i + 1;
        }
    const qc_method_desc *d = s->pipeline->rounder->desc;
    preparation *one = &s->preparations[s->n_preparations++];
    *one = (preparation){.input = o->input, .shape = o->work->to.desc, .ordered = o->work->order != NULL};
    one->bytes = d->memory ? d->memory(s->pipeline->rounder->state, o->work->to.cols) : 0;
    o->prepared = one;
    return s->n_preparations;
}

static qc_status sort_portions(stage *s, qc_job *job)
{
    keyed *keys = malloc((s->n_portions + 1) * sizeof *keys);
    portion *sorted = calloc(s->n_portions + 1, sizeof *sorted);
    if (!keys || !sorted) {
        free(keys);
        free(sorted);
        return no_memory(job);
    }
    for (size_t i = 0; i < s->n_portions; i++)
        keys[i] = (keyed){key_of(s, &s->portions[i]), i};
    qsort(keys, s->n_portions, sizeof *keys, compare_keyed);
    for (size_t i = 0; i < s->n_portions; i++)
        sorted[i] = s->portions[keys[i].place];
    free(keys);
    free(s->portions);
    s->portions = sorted;
    return QC_OK;
}

/* As many preparations at once as are no larger together than the largest one, and as many measured rows as its readers
 * have: small matrices then keep all threads busy, and memory stays what it must be anyway. */
static int is_too_much(const stage *s, uint64_t prepared, uint64_t measured)
{
    return prepared > s->pipeline->most_prepared || measured > s->pipeline->most_measured;
}

static void next_stage(stage *s)
{
    uint64_t prepared = 0, measured = 0;
    const preparation *last = NULL;
    s->first += s->n;
    s->n = 0;
    for (size_t i = s->first; i < s->n_portions; i++, s->n++) {
        const preparation *one = s->portions[i].prepared;
        int is_new = !one || one != last;
        measured += sample_bytes(s->pipeline, &s->portions[i]);
        prepared += one && is_new ? one->bytes : 0;
        if (s->n && is_new && is_too_much(s, prepared, measured))
            return;
        if (s->n && one && !last) /* what needs none is a stage of its own */
            return;
        last = one;
    }
}

/* ---- preparing ---- */

static qc_status blame_rounder(const pipeline *p, qc_job *job, const portion *o, qc_status status)
{
    const plugin_use *use = p->rounder->use;
    if (status == QC_E_CANCELLED)
        return status;
    job_add_context(job, "%s: method %s", o->work->item->tensor->name, use->id);
    job_add_place(job, use->at.file, use->at.line, use->at.column);
    return status;
}

static void take_figures(qc_job *job, preparation *one)
{
    size_t n;
    const job_figure *figures = job_figures(job, &n);
    one->n_figures = n < MAX_LINEAR_FIGURES ? n : MAX_LINEAR_FIGURES;
    for (size_t i = 0; i < one->n_figures; i++)
        one->figures[i] = figures[i];
}

static qc_status make_order(qc_job *job, const portion *o, preparation *one)
{
    if (!o->work->order)
        return QC_OK;
    one->order = malloc(o->work->to.cols * sizeof *one->order);
    if (!one->order)
        return no_memory(job);
    for (size_t i = 0; i < o->work->to.cols; i++)
        one->order[i] = (uint32_t)i;
    return QC_OK;
}

static int is_permutation(qc_job *job, const uint32_t *order, size_t n, qc_status *status)
{
    unsigned char *seen = calloc(n ? n : 1, 1);
    size_t i = 0;
    *status = seen ? QC_OK : no_memory(job);
    for (; seen && i < n && order[i] < n && !seen[order[i]]; i++)
        seen[order[i]] = 1;
    free(seen);
    return i == n;
}

static qc_status prepare_one(const stage *s, qc_job *job, const portion *o, preparation *one)
{
    const opened_method *m = s->pipeline->rounder;
    size_t mark = job_mark(job);
    job_forget_figures(job);
    qc_status status = make_order(job, o, one);
    if (status == QC_OK)
        status = m->desc->prepare(job, m->state, one->input, one->shape, one->order, &one->prepared);
    one->made = status == QC_OK;
    if (status == QC_OK && one->order && !is_permutation(job, one->order, o->work->to.cols, &status))
        status = status == QC_OK ? qc_fail(job, QC_E_INTERNAL, "its column order is none") : status;
    take_figures(job, one);
    job_release(job, mark);
    return status == QC_OK ? QC_OK : blame_rounder(s->pipeline, job, o, status);
}

static void release(const stage *s, preparation *one)
{
    const qc_method_desc *d = s->pipeline->rounder ? s->pipeline->rounder->desc : NULL;
    if (one->made && d && d->release)
        d->release(s->pipeline->host, one->prepared);
    free(one->order);
    one->made = 0;
    one->prepared = NULL;
    one->order = NULL;
}

/* Matrices of one input share the order too; the output's arrays get it before any row is stored. */
static void adopt_order(const portion *o)
{
    if (o->prepared && o->prepared->order && o->work->order)
        memcpy(o->work->order, o->prepared->order, o->work->to.cols * sizeof *o->work->order);
}

static void note_figures(const stage *s, const portion *o)
{
    linear_result *result = &s->pipeline->linears[o->work->first_matrix + o->matrix];
    const factors *f = &o->work->factors;
    for (size_t i = 0; i < f->n_figures && result->n_figures < MAX_LINEAR_FIGURES; i++)
        result->figures[result->n_figures++] = f->figures[i];
    for (size_t i = 0; o->prepared && i < o->prepared->n_figures && result->n_figures < MAX_LINEAR_FIGURES; i++)
        result->figures[result->n_figures++] = o->prepared->figures[i];
}

static qc_status prepare_stage(stage *s, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = s->first; i < s->first + s->n && status == QC_OK; i++) {
        portion *o = &s->portions[i];
        preparation *one = o->prepared ? &s->preparations[o->prepared - s->preparations] : NULL;
        if (one && !one->made)
            status = prepare_one(s, job, o, one);
        if (status == QC_OK)
            status = sample_begin(s->pipeline, job, o);
        if (status == QC_OK)
            adopt_order(o);
        if (status == QC_OK && is_rounded(o->work))
            note_figures(s, o);
    }
    return status;
}

static void end_stage(stage *s)
{
    for (size_t i = s->first; i < s->first + s->n; i++) {
        portion *o = &s->portions[i];
        sample_free(s->pipeline, o);
        if (o->prepared)
            release(s, &s->preparations[o->prepared - s->preparations]);
    }
}

/* ---- running ---- */

static const portion *find_portion(const stage *s, uint64_t index)
{
    size_t low = s->first, high = s->first + s->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->portions[middle].first_chunk <= index)
            low = middle;
        else
            high = middle;
    }
    return &s->portions[low];
}

static chunk find_chunk(const stage *s, uint64_t index)
{
    const portion *o = find_portion(s, index);
    const work *w = o->work;
    uint64_t nth = index - o->first_chunk, rows = w->item->tensor->dims[1], first = nth * w->rows;
    chunk c = {.portion = o, .work = w};
    c.sums = &s->pipeline->sums[w->first_chunk + o->matrix * w->chunks_each + nth];
    c.row = o->matrix * rows + first;
    c.n_rows = (size_t)(rows - first < w->rows ? rows - first : w->rows);
    return c;
}

static void show_progress(const stage *s, const chunk *c)
{
    const pipeline *p = s->pipeline;
    uint64_t bytes = c->n_rows * c->work->from.row_bytes;
    double steps = p->pace_bytes ? (double)bytes * (double)p->pace_steps / (double)p->pace_bytes : (double)bytes;
    progress_step(s->shown, c->work->item->tensor->name, (uint64_t)steps);
}

static qc_status run_chunks(void *arg, qc_job *job, size_t begin, size_t end)
{
    const stage *s = arg;
    for (size_t i = begin; i < end; i++) {
        chunk c = find_chunk(s, i);
        size_t mark = job_mark(job);
        qc_status status = chunk_run(s->pipeline, job, &c);
        job_release(job, mark);
        if (status != QC_OK && status != QC_E_CANCELLED)
            job_add_context(job, "%s", c.work->item->tensor->name);
        if (status != QC_OK)
            return status;
        show_progress(s, &c);
    }
    return QC_OK;
}

static qc_status run_stage(stage *s, qc_job *job)
{
    uint64_t n_chunks = 0;
    qc_status status = prepare_stage(s, job);
    for (size_t i = s->first; i < s->first + s->n; i++) {
        s->portions[i].first_chunk = n_chunks;
        n_chunks += s->portions[i].work->chunks_each;
    }
    if (status == QC_OK)
        status = job->parallel_for(job, (size_t)n_chunks, 1, run_chunks, s);
    for (size_t i = s->first; i < s->first + s->n && status == QC_OK; i++)
        status = sample_finish(s->pipeline, job, &s->portions[i]);
    end_stage(s);
    return status;
}

/* Chunks of an item in their order, whatever order they ran in. */
static void add_up(const pipeline *p, const size_t *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const work *w = &p->works[items ? items[i] : i];
        for (uint64_t k = 0; k < w->chunks_each * w->n_matrices; k++) {
            p->results[w->index].energy += p->sums[w->first_chunk + k].energy;
            p->results[w->index].error += p->sums[w->first_chunk + k].error;
        }
    }
}

qc_status pipeline_run(pipeline *p, qc_job *job, const size_t *items, size_t n, const statistics *known,
                       progress *shown)
{
    stage s = {.pipeline = p, .statistics = known, .shown = shown};
    qc_status status = list_portions(&s, job, items, n);
    if (status == QC_OK)
        status = sort_portions(&s, job);
    while (status == QC_OK && s.first + s.n < s.n_portions) {
        next_stage(&s);
        status = run_stage(&s, job);
    }
    if (status == QC_OK)
        add_up(p, items, n);
    free(s.portions);
    free(s.preparations);
    return status;
}
