/* Rows of an encoding back to codes, scales and zero points, and these into a layout's arrays. */
#include "checkpoint.h"
#include "qcore/number.h"
#include <stdlib.h>

static int named(const void *name, const void *linear)
{
    return strcmp(name, ((const ck_linear *)linear)->name);
}

/* ---- rows to codes ---- */

static void take_group(const ck_rows *r, const qc_grid *g, size_t sub, size_t group, size_t first, size_t n)
{
    int32_t middle = 1 << (r->linear->scheme.bits - 1);
    for (size_t lane = 0; lane < n; lane++) {
        float step = g->step[sub * QC_LANES + lane], offset = g->offset[sub * QC_LANES + lane];
        int32_t zero = r->linear->scheme.symmetric ? middle : step != 0.0f ? qc_round_even(-offset / step) : 0;
        r->scale[group * r->n + first + lane] = step;
        r->zero[group * r->n + first + lane] = (uint8_t)zero;
    }
}

static void take_codes(const ck_rows *r, const int32_t *code, size_t col, size_t n_cols, size_t first, size_t n)
{
    int32_t up = r->linear->scheme.symmetric ? 1 << (r->linear->scheme.bits - 1) : 0;
    for (size_t c = 0; c < n_cols; c++) {
        size_t input = r->order ? r->order[col + c] : col + c;
        for (size_t lane = 0; lane < n; lane++)
            r->code[input * r->n + first + lane] = (uint8_t)(code[c * QC_LANES + lane] + up);
    }
}

static qc_status unpack(const ck_rows *r, const qc_coder *e, const unsigned char *src)
{
    qc_grid *g = qc_grid_new(r->job, e);
    int32_t *code = r->job->scratch(r->job, (size_t)e->block_cols * QC_LANES * sizeof *code);
    size_t n_subs = qc_n_subs(e), group_cols = qc_sub_cols(e);
    if (!g || !code)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for a tile");
    for (size_t row = 0; row < r->n; row += QC_LANES) {
        size_t n = r->n - row < QC_LANES ? r->n - row : QC_LANES;
        for (size_t col = 0; col < e->cols; col += e->block_cols) {
            e->ops->unpack(e, g, code, src + row * e->row_bytes + qc_piece_at(e, col), n);
            for (size_t sub = 0; sub < n_subs; sub++)
                take_group(r, g, sub, col / group_cols + sub, row, n);
            take_codes(r, code, col, e->block_cols, row, n);
        }
    }
    return QC_OK;
}

/* ---- into the arrays ---- */

qc_status ck_put(const ck_rows *r, int part, uint64_t at, uint64_t stride, const void *data, size_t bytes,
                 size_t n_lines)
{
    uint32_t file = r->linear->part[part].file;
    uint64_t begin = r->linear->part[part].at + at;
    qc_status status = QC_OK;
    if (stride == bytes)
        return r->sink->write_at(r->sink, r->job, file, begin, data, bytes * n_lines);
    for (size_t i = 0; i < n_lines && status == QC_OK; i++)
        status = r->sink->write_at(r->sink, r->job, file, begin + i * stride, (const char *)data + i * bytes, bytes);
    return status;
}

qc_status ck_put_strings(const ck_rows *r, const ck_strings *s)
{
    uint32_t bits = r->linear->scheme.bits;
    size_t words = ck_words(s->n_fields, bits), n = s->n_strings;
    ck_strides to = s->down ? (ck_strides){n, 1} : (ck_strides){1, words};
    uint32_t *packed = r->job->scratch(r->job, words * n * 4);
    if (!packed)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for codes");
    memset(packed, 0, words * n * 4);
    ck_pack(packed, to, s->fields, s->from, bits, s->n_fields, n);
    ck_little_endian(packed, words * n);
    return ck_put(r, s->part, s->at, s->stride, packed, 4 * (s->down ? n : words), s->down ? words : n);
}

/* 0: cannot be kept exactly. */
static int store_scale(const char *encoding, float scale, unsigned char *to)
{
    if (!strcmp(encoding, "f32")) {
        qc_store_le32(to, qc_float_bits(scale));
        return 1;
    }
    int half = !strcmp(encoding, "f16");
    uint16_t stored = half ? qc_f16_from_f32(scale) : qc_bf16_from_f32(scale);
    qc_store_le16(to, stored);
    return (half ? qc_f32_from_f16(stored) : qc_f32_from_bf16(stored)) == scale;
}

qc_status ck_put_scales(const ck_rows *r, uint64_t at, uint64_t stride, int across)
{
    size_t groups = (size_t)r->linear->groups, n = r->n, bytes = r->folder->scale_dtype->bytes;
    const char *encoding = r->folder->scale_dtype->encoding;
    unsigned char *data = r->job->scratch(r->job, groups * n * bytes);
    if (!data)
        return qc_fail(r->job, QC_E_NOMEM, "out of memory for scales");
    for (size_t g = 0; g < groups; g++)
        for (size_t i = 0; i < n; i++)
            if (!store_scale(encoding, r->scale[g * n + i], data + (across ? i * groups + g : g * n + i) * bytes))
                return qc_fail(r->job, QC_E_NUMERIC,
                               "row %llu: the scale %.9g is no %s, the type that scales are kept in: set scale_dtype "
                               "f16 or f32, or take an int encoding, whose scales are numbers of either type",
                               (unsigned long long)r->row + i, (double)r->scale[g * n + i], encoding);
    return across ? ck_put(r, CK_SCALES, at, groups * bytes, data, groups * bytes, n)
                  : ck_put(r, CK_SCALES, at, stride, data, n * bytes, groups);
}

qc_status ck_store(qc_job *job, const void *index, const qc_sink *sink, const qc_tensor *t, const qc_coder *e,
                   uint64_t row, size_t n_rows, const void *src)
{
    const ck_folder *f = index;
    const ck_linear *l = bsearch(t->name, f->linears, f->n, sizeof *f->linears, named);
    if (!l)
        return sink->write_at(sink, job, t->file, t->at + row * t->row_bytes, src, n_rows * (size_t)t->row_bytes);
    ck_rows r = {.job = job, .sink = sink, .folder = f, .linear = l, .order = t->order, .row = row, .n = n_rows};
    size_t groups = (size_t)l->groups;
    r.code = job->scratch(job, (size_t)l->cols * n_rows);
    r.zero = job->scratch(job, groups * n_rows);
    r.scale = job->scratch(job, groups * n_rows * sizeof *r.scale);
    if (!r.code || !r.zero || !r.scale)
        return qc_fail(job, QC_E_NOMEM, "%s: out of memory for its codes", l->name);
    qc_status status = unpack(&r, e, src);
    return status == QC_OK ? f->layout->store(&r) : status;
}
