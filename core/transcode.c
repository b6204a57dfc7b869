#include "core/transcode.h"

typedef struct transcoder {
    qc_job *job;
    const qc_coder *from, *to;
    qc_grid *read, *write; /* of a block of `from`, of a block of `to` */
    int32_t *code; /* of a block of `from` */
} transcoder;

int transcode_fits(const qc_coder *from, const qc_coder *to)
{
    const qc_encoding_desc *f = from->desc, *t = to->desc;
    if (!f || !t || !(f->base.flags & QC_ENCODING_INTEGER) || !(t->base.flags & QC_ENCODING_INTEGER))
        return 0;
    if (from->cols != to->cols || from->order || to->order || !from->ops->unpack || !to->ops->adopt)
        return 0;
    if (from->block_cols % to->block_cols || qc_sub_cols(from) % qc_sub_cols(to))
        return 0;
    return (f->lowest < 0) == (t->lowest < 0) && f->lowest >= t->lowest && f->highest <= t->highest;
}

/* Steps and offsets of the block of `to` that begins at column `col` of the block of `from`. */
static void copy_steps(const transcoder *t, size_t col)
{
    size_t wide = qc_sub_cols(t->from), narrow = qc_sub_cols(t->to);
    for (size_t sub = 0; sub < qc_n_subs(t->to); sub++) {
        size_t source = (col + sub * narrow) / wide * QC_LANES, lanes = QC_LANES * sizeof(float);
        memcpy(t->write->step + sub * QC_LANES, t->read->step + source, lanes);
        memcpy(t->write->offset + sub * QC_LANES, t->read->offset + source, lanes);
    }
}

/* Rows of one tile; src and dst: the first of them. */
static qc_status transcode_tile(const transcoder *t, size_t n_rows, const unsigned char *src, unsigned char *dst)
{
    const qc_coder *from = t->from, *to = t->to;
    for (size_t begin = 0; begin < from->cols; begin += from->block_cols, src += from->desc->block_bytes) {
        from->ops->unpack(from, t->read, t->code, src, n_rows);
        for (size_t col = 0; col < from->block_cols; col += to->block_cols, dst += to->desc->block_bytes) {
            copy_steps(t, col);
            if (!to->ops->adopt(to, t->write))
                return qc_fail(t->job, QC_E_NUMERIC, "column %zu: a step of %s cannot be kept as %s", begin + col,
                               from->desc->base.id, to->desc->base.id);
            to->ops->pack(to, dst, t->write, t->code + col * QC_LANES, n_rows);
        }
    }
    return QC_OK;
}

qc_status transcode_rows(qc_job *job, const qc_coder *from, const qc_coder *to, size_t n_rows, const void *src,
                         void *dst)
{
    transcoder t = {job, from, to, qc_grid_new(job, from), qc_grid_new(job, to), NULL};
    t.code = job->scratch(job, (size_t)from->block_cols * QC_LANES * sizeof *t.code);
    if (!t.read || !t.write || !t.code)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a tile of codes");
    memset(t.write->state, 0, to->desc->state_bytes); /* adopt may look at what is there */
    qc_status status = QC_OK;
    for (size_t row = 0, n; row < n_rows && status == QC_OK; row += n) {
        n = n_rows - row < QC_LANES ? n_rows - row : QC_LANES;
        status = transcode_tile(&t, n, (const unsigned char *)src + row * from->row_bytes,
                                (unsigned char *)dst + row * to->row_bytes);
    }
    return status;
}
