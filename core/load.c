/* model_load: canonical rows gathered from where the source keeps them. */
#include "core/contents.h"
#include "core/job.h"
#include "core/model.h"
#include "core/source.h"
#include "qcore/number.h"

/* Rows that a format's `load` gave, kept while rows of a head's two halves are asked for in turn. */
typedef struct tile {
    const qc_tensor *source; /* NULL: none yet */
    uint64_t first;
    unsigned char *rows;
} tile;

enum { N_TILES = 2 };

typedef struct loading {
    const model *model;
    qc_job *job;
    const model_tensor *tensor;
    const qc_coder *stored;
    tile tiles[N_TILES];
    size_t oldest;
} loading;

/* Row (or element, of a bias) of the run that becomes canonical row `row`. */
static uint64_t mapped(const model_tensor *t, uint64_t row)
{
    uint64_t half = t->head_rows / 2, begin, k;
    if (!t->row_map)
        return row;
    begin = row / t->head_rows * t->head_rows;
    k = row - begin;
    return t->row_map & ROWS_INVERSE ? begin + k % half * 2 + k / half : begin + k % 2 * half + k / 2;
}

static qc_status no_memory(const loading *l, uint64_t rows)
{
    return qc_fail(l->job, QC_E_NOMEM, "out of memory for %llu rows", (unsigned long long)rows);
}

static uint64_t row_multiple(const model *m)
{
    return m->format->row_multiple ? m->format->row_multiple : 1;
}

/* Rows that only the format finds, whole multiples of its own; the last may be short. */
static qc_status ask_format(const loading *l, const qc_tensor *s, uint64_t first, uint64_t n, unsigned char *dst)
{
    const qc_format_desc *f = l->model->format;
    if (!f->load)
        return qc_fail(l->job, QC_E_INTERNAL, "format %s does not say where tensor '%s' is", f->base.id, s->name);
    size_t mark = job_mark(l->job);
    qc_status status = f->load(l->job, l->model->index, l->model->source, s, l->stored, first, (size_t)n, dst);
    job_release(l->job, mark);
    return status;
}

/* Rows [first, first + n) of a source tensor, wherever its multiples begin. */
static qc_status load_parts(const loading *l, const qc_tensor *s, uint64_t first, size_t n, unsigned char *dst)
{
    uint64_t multiple = row_multiple(l->model), rows = tensor_rows(s);
    uint64_t begin = first - first % multiple, end = first + n;
    end += (multiple - end % multiple) % multiple;
    end = end < rows ? end : rows;
    size_t row_bytes = l->stored->row_bytes;
    unsigned char *to = dst;
    if (end - begin != n && !(to = l->job->scratch(l->job, (size_t)(end - begin) * row_bytes)))
        return no_memory(l, end - begin);
    qc_status status = ask_format(l, s, begin, end - begin, to);
    if (to != dst && status == QC_OK)
        memcpy(dst, to + (size_t)(first - begin) * row_bytes, n * row_bytes);
    return status;
}

static qc_status load_rows(const loading *l, const qc_tensor *s, uint64_t first, size_t n, unsigned char *dst)
{
    const qc_source *src = l->model->source;
    if (tensor_in_parts(s))
        return load_parts(l, s, first, n, dst);
    return src->read_at(src, l->job, s->file, s->at + first * s->row_bytes, n * (size_t)s->row_bytes, dst);
}

/* One row, out of the multiple of rows that it is in. */
static qc_status load_single(loading *l, const qc_tensor *s, uint64_t row, unsigned char *dst)
{
    uint64_t multiple = row_multiple(l->model), first = row - row % multiple, rest = tensor_rows(s) - first;
    size_t i = 0, row_bytes = l->stored->row_bytes;
    while (i < N_TILES && (l->tiles[i].source != s || l->tiles[i].first != first))
        i++;
    if (i == N_TILES) {
        i = l->oldest++ % N_TILES;
        tile *t = &l->tiles[i];
        if (!t->rows && !(t->rows = l->job->scratch(l->job, (size_t)multiple * row_bytes)))
            return no_memory(l, multiple);
        t->source = NULL;
        qc_status status = ask_format(l, s, first, rest < multiple ? rest : multiple, t->rows);
        if (status != QC_OK)
            return status;
        t->source = s;
        t->first = first;
    }
    memcpy(dst, l->tiles[i].rows + (size_t)(row - first) * row_bytes, row_bytes);
    return QC_OK;
}

/* The run that row lies in, made relative to it. */
static const row_run *find_run(const model_tensor *t, uint64_t *row)
{
    const row_run *run = t->runs;
    for (; *row >= run->n; run++)
        *row -= run->n;
    return run;
}

/* Rows of the file that follow each other are read at once. */
static qc_status gather(loading *l, uint64_t row, size_t n, unsigned char *dst)
{
    const model_tensor *t = l->tensor;
    qc_status status = QC_OK;
    while (n > 0 && status == QC_OK) {
        uint64_t first = row, last;
        const row_run *run = find_run(t, &first);
        size_t count = 1;
        uint64_t source_row = mapped(t, first);
        for (last = source_row; count < n && first + count < run->n && mapped(t, first + count) == last + 1; last++)
            count++;
        const qc_tensor *s = l->model->sources[run->source];
        status = t->row_map && tensor_in_parts(s) && count == 1 ? load_single(l, s, run->first + source_row, dst)
                                                                : load_rows(l, s, run->first + source_row, count, dst);
        dst += count * l->stored->row_bytes;
        row += count;
        n -= count;
    }
    return status;
}

static qc_status refuse_pieces(const loading *l)
{
    return qc_fail(l->job, QC_E_UNSUPPORTED, "%s cannot be reordered: its encoding %s has no single elements",
                   l->tensor->source_name, l->tensor->encoding);
}

/* A bias: its elements go the way the rows of its weight go. */
static qc_status gather_elements(const loading *l, unsigned char *dst)
{
    const qc_coder *e = l->stored;
    size_t bytes = e->cols ? e->row_bytes / e->cols : 0;
    if (bytes * e->cols != e->row_bytes || (e->desc && e->desc->block_cols != 1))
        return refuse_pieces(l);
    unsigned char *row = l->job->scratch(l->job, e->row_bytes);
    if (!row)
        return qc_fail(l->job, QC_E_NOMEM, "out of memory for a row of %zu bytes", e->row_bytes);
    const row_run *run = l->tensor->runs;
    qc_status status = load_rows(l, l->model->sources[run->source], run->first, 1, row);
    for (size_t i = 0; i < e->cols && status == QC_OK; i++)
        memcpy(dst + i * bytes, row + mapped(l->tensor, i) * bytes, bytes);
    return status;
}

/* Canonical rows are columns of the source: a piece of each of its rows. */
static qc_status gather_columns(const loading *l, uint64_t row, size_t n, unsigned char *dst)
{
    const qc_coder *e = l->stored;
    const qc_tensor *s = l->model->sources[l->tensor->runs->source];
    const qc_source *src = l->model->source;
    size_t bytes = e->cols ? e->row_bytes / e->cols : 0;
    if (tensor_in_parts(s) || !e->desc || e->desc->block_cols != 1)
        return refuse_pieces(l);
    unsigned char *piece = l->job->scratch(l->job, n * bytes);
    if (!piece)
        return qc_fail(l->job, QC_E_NOMEM, "out of memory for a piece of a row");
    for (size_t col = 0; col < e->cols; col++) {
        qc_status status = src->read_at(src, l->job, s->file, s->at + col * s->row_bytes + row * bytes, n * bytes,
                                        piece);
        if (status != QC_OK)
            return status;
        for (size_t i = 0; i < n; i++)
            memcpy(dst + i * e->row_bytes + col * bytes, piece + i * bytes, bytes);
    }
    return QC_OK;
}

qc_status model_load(const model *m, qc_job *job, const model_tensor *t, const qc_coder *stored, uint64_t row, size_t n,
                     void *dst)
{
    loading l = {.model = m, .job = job, .tensor = t, .stored = stored};
    if (row > t->n_rows || n > t->n_rows - row)
        return qc_fail(job, QC_E_INTERNAL, "%s: rows past its end were asked for", t->name);
    for (uint64_t i = 0; t->values && i < t->dims[0]; i++)
        qc_store_le32((unsigned char *)dst + 4 * i, qc_float_bits(t->values[i]));
    if (t->values || n == 0)
        return QC_OK;
    if (t->flags & QC_NAME_TRANSPOSE)
        return gather_columns(&l, row, n, dst);
    if (t->n_dims < 2 && t->row_map)
        return gather_elements(&l, dst);
    return gather(&l, row, n, dst);
}

/* A row map stays within a head: what is forgotten a little early is read once more. */
void model_forget(const model *m, const model_tensor *t, uint64_t row, size_t n)
{
    while (n > 0 && t->n_runs && !(t->flags & QC_NAME_TRANSPOSE)) {
        uint64_t first = row;
        const row_run *run = find_run(t, &first);
        const qc_tensor *s = m->sources[run->source];
        uint64_t count = run->n - first < n ? run->n - first : n;
        if (!tensor_in_parts(s))
            source_forget(m->source, s->file, s->at + (run->first + first) * s->row_bytes, count * s->row_bytes);
        row += count;
        n -= (size_t)count;
    }
}

uint64_t model_load_bytes(const model *m, const model_tensor *t, const qc_coder *stored, uint64_t n)
{
    uint64_t kept = t->row_map ? N_TILES * row_multiple(m) : row_multiple(m) > 1 ? n + 2 * row_multiple(m) : 0;
    uint64_t weights = (n > row_multiple(m) ? n : row_multiple(m)) * stored->cols;
    return model_in_parts(m, t) ? kept * stored->row_bytes + 3 * weights : 0;
}
