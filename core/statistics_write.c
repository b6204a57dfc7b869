/* Writing statistics as a file that llama-quantize takes for an imatrix. Beside its tensors (NAME.in_sum2, NAME.counts)
 * come ours, which it passes over, once for every shared input:
 *
 *   NAME.absmax    f32 {columns, matrices}           largest |x|
 *   NAME.gram      f32 {columns, columns, matrices}  X'X / count, both triangles
 *   NAME.samples   f32 {columns, room, matrices}     rows of X, and in
 *   NAME.n_samples f32 {1, matrices}                 how many of them are there
 *
 * and two lists of texts: qcore.statistics.tensors, sorted, and qcore.statistics.inputs: the NAME that each one's are
 * kept under. A format whose manifest says `counts = windows` has one count an entry, of windows, and mean squares times
 * that number. */
#include "core/job.h"
#include "core/names.h"
#include "core/paths.h"
#include "core/source.h"
#include "core/statistics_impl.h"
#include "core/target.h"
#include <fnmatch.h>
#include <stdlib.h>

enum { MOST_TENSORS_EACH = 6, MOST_METAS = 6 };

/* A tensor of the file. data NULL: made from the record when its turn comes. */
typedef struct piece {
    qc_tensor tensor; /* name owned */
    const input_record *record;
    const float *data;
    int is_count;
} piece;

typedef struct writing {
    qc_job *job;
    const statistics *statistics;
    const char *path;
    uint32_t which; /* QC_STAT_* */
    const plugin_entry *entry;
    const qc_format_desc *format;
    int counts_windows;
    qc_settings *settings;
    void *index;
    target *target;
    piece *pieces;
    size_t n_pieces;
    int has_wider; /* is there more than llama.cpp's tensors? */
} writing;

static qc_status no_memory(qc_job *job)
{
    return qc_fail(job, QC_E_NOMEM, "out of memory for the file of statistics");
}

/* ---- which format ---- */

static int writes_file(const plugin_entry *e, const char *path)
{
    char pattern[NAME_BYTES];
    const char *list = entry_value(e, "files");
    if (e->state != PLUGIN_USABLE || strcmp(e->kind, "format") != 0 || entry_value(e, "writes"))
        return 0;
    while ((list = list_next(list, pattern)))
        if (fnmatch(pattern, path_name(path), 0) == 0)
            return 1;
    return 0;
}

static qc_status choose_format(writing *w, registry *r)
{
    const void *desc;
    for (size_t i = 0; i < registry_count(r) && !w->entry; i++)
        w->entry = writes_file(registry_at(r, i), w->path) ? registry_at(r, i) : NULL;
    if (!w->entry)
        return qc_fail(w->job, QC_E_INVALID,
                       "%s does not tell by its name how to write statistics: name it *.gguf, or *.dat for the older "
                       "layout of llama.cpp",
                       w->path);
    qc_status status = registry_open(r, w->job, "format", w->entry->id, &desc);
    if (status != QC_OK)
        return status;
    const char *counts = entry_value(w->entry, "counts");
    w->format = desc;
    w->counts_windows = counts && !strcmp(counts, "windows");
    if (!w->format->layout)
        return qc_fail(w->job, QC_E_UNSUPPORTED, "%s: format %s can only be read, not written", w->path, w->entry->id);
    return settings_new(w->job, w->entry, NULL, NULL, 0, &w->settings);
}

/* ---- what is written ---- */

/* Windows that the entry was seen in: as many as its rows make. */
static float windows(const statistics *s, const input_record *r)
{
    float most = 1.0f, tokens = s->chunk_tokens ? (float)s->chunk_tokens : 1.0f;
    for (uint64_t i = 0; i < r->n_matrices; i++)
        most = r->counts[i] > most ? r->counts[i] : most;
    uint64_t n = (uint64_t)(most / tokens);
    return (float)n * tokens < most ? (float)n + 1.0f : (float)n;
}

static qc_status add_piece(writing *w, const char *name, const char *suffix, const input_record *record,
                           const float *data, const uint64_t dims[3])
{
    piece *p = &w->pieces[w->n_pieces];
    size_t n = strlen(name) + strlen(suffix) + 1;
    char *full = malloc(n);
    if (!full)
        return no_memory(w->job);
    snprintf(full, n, "%s%s", name, suffix);
    *p = (piece){.record = record, .data = data, .is_count = !strcmp(suffix, COUNT_SUFFIX)};
    w->has_wider |= !p->is_count && strcmp(suffix, SUM_SUFFIX) != 0;
    p->tensor = (qc_tensor){.size = sizeof p->tensor,
                            .n_dims = dims[2] > 1 ? 3 : 2,
                            .name = full,
                            .encoding = QC_ENCODING_F32,
                            .dims = {dims[0], dims[1], dims[2], 1},
                            .row_bytes = dims[0] * sizeof(float),
                            .bytes = dims[0] * dims[1] * dims[2] * sizeof(float)};
    w->n_pieces++;
    const char *why = w->format->refuses ? w->format->refuses(&p->tensor) : NULL;
    if (!why)
        return QC_OK;
    return qc_fail(w->job, QC_E_UNSUPPORTED, "%s: format %s cannot hold %s: %s", w->path, w->entry->id, full, why);
}

static qc_status add_sums(writing *w, const char *name, const input_record *r)
{
    uint64_t n = r->n_matrices;
    int converted = w->counts_windows;
    qc_status status = add_piece(w, name, SUM_SUFFIX, r, converted ? NULL : r->sums, (const uint64_t[]){r->cols, n, 1});
    if (status != QC_OK)
        return status;
    return add_piece(w, name, COUNT_SUFFIX, r, converted ? NULL : r->counts,
                     (const uint64_t[]){1, converted ? 1 : n, 1});
}

static qc_status add_wider(writing *w, const char *name, const input_record *r)
{
    uint64_t n = r->n_matrices;
    qc_status status = QC_OK;
    if (r->absmax && (w->which & QC_STAT_ABSMAX))
        status = add_piece(w, name, ABSMAX_SUFFIX, r, r->absmax, (const uint64_t[]){r->cols, n, 1});
    if (status == QC_OK && r->gram && (w->which & QC_STAT_GRAM))
        status = add_piece(w, name, GRAM_SUFFIX, r, r->gram, (const uint64_t[]){r->cols, r->cols, n});
    if (status != QC_OK || !r->samples || !(w->which & QC_STAT_SAMPLES))
        return status;
    status = add_piece(w, name, SAMPLES_SUFFIX, r, r->samples, (const uint64_t[]){r->cols, r->room, n});
    return status == QC_OK ? add_piece(w, name, N_SAMPLES_SUFFIX, r, r->n_samples, (const uint64_t[]){1, n, 1})
                           : status;
}

/* The first of the names, in their order, that share this one's input. */
static const char *first_name(const statistics *s, size_t record)
{
    for (size_t i = 0; i < s->n_names; i++)
        if (s->names[i].record == record)
            return s->names[i].tensor;
    return "";
}

static int compare_pieces(const void *a, const void *b)
{
    return strcmp(((const piece *)a)->tensor.name, ((const piece *)b)->tensor.name);
}

static qc_status add_pieces(writing *w)
{
    const statistics *s = w->statistics;
    qc_status status = QC_OK;
    w->pieces = calloc(s->n_names + 1, MOST_TENSORS_EACH * sizeof *w->pieces);
    if (!w->pieces)
        return no_memory(w->job);
    for (size_t i = 0; i < s->n_names && status == QC_OK; i++) {
        const input_name *name = &s->names[i];
        const input_record *r = &s->records[name->record];
        status = add_sums(w, name->tensor, r);
        if (status == QC_OK && first_name(s, name->record) == name->tensor)
            status = add_wider(w, name->tensor, r);
    }
    if (w->n_pieces)
        qsort(w->pieces, w->n_pieces, sizeof *w->pieces, compare_pieces);
    return status;
}

/* ---- laying out ---- */

typedef struct layout_out {
    qc_layout base;
    writing *writing;
} layout_out;

typedef struct sink_out {
    qc_sink base;
    const target *target;
} sink_out;

static writing *of(const qc_layout *out)
{
    return ((const layout_out *)(const void *)out)->writing;
}

static qc_status layout_file(const qc_layout *out, qc_job *job, const char *name, uint64_t bytes, uint32_t *file)
{
    return target_add(of(out)->target, job, name, bytes, file);
}

static qc_status layout_place(const qc_layout *out, qc_job *job, size_t tensor, uint32_t file, uint64_t at)
{
    if (tensor >= of(out)->n_pieces)
        return qc_fail(job, QC_E_INTERNAL, "the format placed a tensor that is not there");
    of(out)->pieces[tensor].tensor.file = file;
    of(out)->pieces[tensor].tensor.at = at;
    return QC_OK;
}

static qc_status layout_bytes(const qc_layout *out, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    return target_write(of(out)->target, job, file, at, data, n);
}

static qc_status sink_write(const qc_sink *sink, qc_job *job, uint32_t file, uint64_t at, const void *data, size_t n)
{
    return target_write(((const sink_out *)(const void *)sink)->target, job, file, at, data, n);
}

static qc_text text_of(const char *text)
{
    return (qc_text){text, strlen(text)};
}

/* Lists of texts, one of each name and then one of each name's input. */
static qc_text *list_names(const writing *w)
{
    const statistics *s = w->statistics;
    qc_text *texts = w->job->scratch(w->job, (2 * s->n_names + s->n_datasets + 1) * sizeof *texts);
    for (size_t i = 0; texts && i < s->n_names; i++) {
        texts[i] = text_of(s->names[i].tensor);
        texts[s->n_names + i] = text_of(first_name(s, s->names[i].record));
    }
    for (size_t i = 0; texts && i < s->n_datasets; i++)
        texts[2 * s->n_names + i] = text_of(s->datasets[i]);
    return texts;
}

static uint32_t u32_of(uint64_t n)
{
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static qc_status lay_out(writing *w)
{
    const statistics *s = w->statistics;
    const qc_tensor **tensors = w->job->scratch(w->job, (w->n_pieces + 1) * sizeof(const qc_tensor *));
    const qc_text *texts = list_names(w);
    if (!tensors || !texts)
        return no_memory(w->job);
    for (size_t i = 0; i < w->n_pieces; i++)
        tensors[i] = &w->pieces[i].tensor;
    const qc_text kind = text_of("imatrix");
    const uint32_t chunks = u32_of(s->chunks), tokens = u32_of(s->chunk_tokens);
    const qc_meta metas[MOST_METAS] = {
        {sizeof *metas, "general.type", QC_TEXT, 0, 1, &kind},
        {sizeof *metas, "imatrix.datasets", QC_TEXT, 1, s->n_datasets, texts + 2 * s->n_names},
        {sizeof *metas, "imatrix.chunk_count", QC_U32, 0, 1, &chunks},
        {sizeof *metas, "imatrix.chunk_size", QC_U32, 0, 1, &tokens},
        {sizeof *metas, NAMES_KEY, QC_TEXT, 1, s->n_names, texts},
        {sizeof *metas, INPUTS_KEY, QC_TEXT, 1, s->n_names, texts + s->n_names}};
    const qc_meta *const list[MOST_METAS] = {&metas[0], &metas[1], &metas[2], &metas[3], &metas[4], &metas[5]};
    const qc_model whole = {.size = sizeof whole,
                            .n_tensors = w->n_pieces,
                            .n_metas = w->has_wider ? MOST_METAS : MOST_METAS - 2,
                            .tensors = tensors,
                            .metas = list};
    const layout_out out = {
        {.size = sizeof out.base, .file = layout_file, .place = layout_place, .bytes = layout_bytes}, w};
    return w->format->layout(w->job, &whole, w->settings, &out.base, &w->index);
}

/* ---- numbers ---- */

/* Mean squares times the number of windows, or that number. */
static void convert(const writing *w, const piece *p, float *to)
{
    float n = windows(w->statistics, p->record);
    uint64_t values = p->is_count ? 1 : p->record->cols * p->record->n_matrices;
    for (uint64_t i = 0; i < values; i++)
        to[i] = p->is_count ? n : p->record->means[i] * n;
}

static qc_status store_rows(const writing *w, const piece *p, const float *values)
{
    const sink_out sink = {{.size = sizeof sink.base, .write_at = sink_write}, w->target};
    const qc_tensor *t = &p->tensor;
    const qc_coder f32 = {
        .size = sizeof f32, .block_cols = 1, .cols = (size_t)t->dims[0], .row_bytes = (size_t)t->row_bytes};
    size_t rows = (size_t)(t->dims[1] * t->dims[2]);
    if (w->format->store)
        return w->format->store(w->job, w->index, &sink.base, t, &f32, 0, rows, values);
    return target_write(w->target, w->job, t->file, t->at, values, (size_t)t->bytes);
}

static qc_status store(const writing *w, const piece *p)
{
    size_t n = (size_t)(p->tensor.bytes / sizeof(float));
    if (p->data && !QC_BIG_ENDIAN)
        return store_rows(w, p, p->data);
    size_t mark = job_mark(w->job);
    float *values = w->job->scratch(w->job, (size_t)p->tensor.bytes);
    if (!values)
        return no_memory(w->job);
    if (p->data)
        memcpy(values, p->data, (size_t)p->tensor.bytes);
    else
        convert(w, p, values);
    for (size_t i = 0; i < n; i++)
        qc_store_le32(&values[i], qc_float_bits(values[i]));
    qc_status status = store_rows(w, p, values);
    job_release(w->job, mark);
    return status;
}

/* ---- the whole ---- */

/* Whatever overwrite says: what we read, we do not replace. */
static qc_status spare_inputs(const writing *w, const recipe *rec)
{
    struct stat out, in;
    if (stat(w->path, &out) != 0)
        return QC_OK; /* not there, or target_new says why */
    for (size_t i = 0; i < rec->calibration.text.n + 2; i++) {
        const char *read = i < rec->calibration.text.n    ? rec->calibration.text.items[i]
                           : i == rec->calibration.text.n ? rec->model.path
                                                          : rec->calibration.imatrix;
        if (read && stat(read, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return qc_fail(w->job, QC_E_INVALID, "%s is an input: name another file for the statistics", w->path);
    }
    return QC_OK;
}

static qc_status write_all(writing *w, registry *r, const recipe *rec)
{
    qc_status status = choose_format(w, r);
    if (status == QC_OK)
        status = spare_inputs(w, rec);
    if (status == QC_OK)
        status = add_pieces(w);
    if (status == QC_OK)
        status = target_new(w->job, w->path, 0, rec->output.overwrite, &w->target);
    if (status == QC_OK)
        status = lay_out(w);
    for (size_t i = 0; i < w->n_pieces && status == QC_OK; i++)
        status = store(w, &w->pieces[i]);
    return status == QC_OK ? target_commit(w->target, w->job) : status;
}

qc_status statistics_write(const statistics *s, qc_job *job, registry *r, const recipe *rec, const char *path,
                           uint32_t which)
{
    writing w = {.job = job, .statistics = s, .path = path, .which = which};
    size_t mark = job_mark(job);
    qc_status status = write_all(&w, r, rec);
    if (w.index && w.format->release)
        w.format->release(job->host, w.index);
    target_free(w.target);
    settings_free(w.settings);
    for (size_t i = 0; i < w.n_pieces; i++)
        free((char *)w.pieces[i].tensor.name);
    free(w.pieces);
    job_release(job, mark);
    return status;
}

/* Asked with a tensor of the name that the statistic will have. */
static qc_status check_statistics(const writing *w)
{
    static const struct {
        uint32_t statistic;
        const char *name, *word;
    } all[] = {{QC_STAT_GRAM, "blk.0" GRAM_SUFFIX, "gram"},
               {QC_STAT_ABSMAX, "blk.0" ABSMAX_SUFFIX, "absmax"},
               {QC_STAT_SAMPLES, "blk.0" SAMPLES_SUFFIX, "samples"}};
    const qc_format_desc *format = w->format;
    for (size_t i = 0; i < sizeof all / sizeof *all && format && format->refuses; i++) {
        const qc_tensor t = {.size = sizeof t,
                             .n_dims = 2,
                             .name = all[i].name,
                             .encoding = QC_ENCODING_F32,
                             .dims = {1, 1, 1, 1},
                             .row_bytes = sizeof(float),
                             .bytes = sizeof(float)};
        const char *why = w->which & all[i].statistic ? format->refuses(&t) : NULL;
        if (why)
            return qc_fail(w->job, QC_E_UNSUPPORTED, "%s: format %s cannot hold %s: %s; name it *.gguf", w->path,
                           w->entry->id, all[i].word, why);
    }
    return QC_OK;
}

qc_status statistics_check_path(qc_job *job, registry *r, const recipe *rec, const char *path, uint32_t which)
{
    writing w = {.job = job, .path = path, .which = which};
    qc_status status = choose_format(&w, r);
    if (status == QC_OK)
        status = check_statistics(&w);
    if (status == QC_OK)
        status = spare_inputs(&w, rec);
    if (status == QC_OK)
        status = target_try(job, path, rec->output.overwrite);
    settings_free(w.settings);
    return status;
}
