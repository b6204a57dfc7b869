/* model_load: canonical rows gathered from where the source keeps them. */
#include "core/contents.h"
#include "core/model.h"
#include "qcore/number.h"

typedef struct loading {
    const model *model;
    qc_job *job;
    const model_tensor *tensor;
    const qc_coder *stored;
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

/* Rows [first, first + n) of a source tensor. Formats with `load` get whole multiples of theirs. */
static qc_status load_rows(const loading *l, const qc_tensor *s, uint64_t first, size_t n, unsigned char *dst)
{
    const qc_format_desc *f = l->model->format;
    const qc_source *src = l->model->source;
    if (!f->load)
        return src->read_at(src, l->job, s->file, s->at + first * s->row_bytes, n * (size_t)s->row_bytes, dst);
    uint64_t multiple = f->row_multiple ? f->row_multiple : 1, rows = tensor_rows(s);
    uint64_t begin = first - first % multiple, end = first + n;
    end += (multiple - end % multiple) % multiple;
    end = end < rows ? end : rows;
    size_t row_bytes = l->stored->row_bytes;
    unsigned char *to = dst;
    if (end - begin != n && !(to = l->job->scratch(l->job, (size_t)(end - begin) * row_bytes)))
        return qc_fail(l->job, QC_E_NOMEM, "out of memory for %llu rows", (unsigned long long)(end - begin));
    qc_status status = f->load(l->job, l->model->index, src, s, l->stored, begin, (size_t)(end - begin), to);
    if (to != dst && status == QC_OK)
        memcpy(dst, to + (size_t)(first - begin) * row_bytes, n * row_bytes);
    return status;
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
static qc_status gather(const loading *l, uint64_t row, size_t n, unsigned char *dst)
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
        status = load_rows(l, s, run->first + source_row, count, dst);
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
    if (l->model->format->load || !e->desc || e->desc->block_cols != 1)
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
    const loading l = {m, job, t, stored};
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
