/* Rows of a packed linear in the encoding that the scan chose: codes as they are, or float32. */
#include "qcore/number.h"
#include "read_packed.h"

typedef struct rows {
    qc_job *job;
    pk_reader *reader;
    const pk_linear *linear;
    const qc_coder *coder;
    uint64_t row;
    size_t n;
    const uint32_t *group; /* of every column; NULL: in order */
} rows;

static qc_status check_scales(const rows *w)
{
    const float *scale = w->reader->scales.data;
    const size_t groups = (size_t)w->linear->n_groups;
    for (size_t i = 0; i < w->n * groups; i++)
        if (!qc_is_finite(scale[i]))
            return qc_fail(w->job, QC_E_NUMERIC, "tensor '%.150s': the scale of output %llu, group %zu is %s",
                           w->linear->scales->name, (unsigned long long)w->row + i / groups, i % groups,
                           scale[i] != scale[i] ? "NaN" : "Inf");
    return QC_OK;
}

/* ---- float32 ---- */

/* E4M3 without infinities: s eeee mmm, bias 7; e = 0: m * 2^-9; all ones: NaN. */
static float from_fp8(unsigned code)
{
    unsigned magnitude = code & 0x7f;
    uint32_t bits = magnitude >= 8 ? (magnitude << 20) + (120u << 23) : 0;
    float small = (float)magnitude * 0x1p-9f;
    float value = magnitude == 0x7f ? qc_float_from_bits(0x7fc00000u)
                  : magnitude < 8   ? small
                                    : qc_float_from_bits(bits);
    return code & 0x80 ? -value : value;
}

/* Numbers that codes of this linear stand for, less the zero point. */
static void list_values(const pk_linear *l, float value[256])
{
    for (unsigned code = 0; code < 256; code++)
        value[code] = l->layout == PK_FP8 ? from_fp8(code) : (float)code;
}

static void write_floats(const rows *w, unsigned char *dst)
{
    const pk_linear *l = w->linear;
    const size_t cols = (size_t)l->cols, groups = (size_t)l->n_groups;
    const uint8_t *code = w->reader->codes.data;
    const float *scale = w->reader->scales.data;
    const int16_t *zeros = l->zeros ? w->reader->zeros.data : NULL;
    const float middle = l->layout == PK_FP8 ? 0.0f : (float)(1 << (l->bits - 1));
    float value[256];
    list_values(l, value);
    for (size_t i = 0; i < w->n; i++)
        for (size_t col = 0; col < cols; col++) {
            size_t g = i * groups + (w->group ? w->group[col] : col / (size_t)l->group);
            float zero = zeros ? (float)zeros[g] : middle;
            float x = scale[g] * (value[code[i * cols + col]] - zero);
            qc_store_le32(dst + 4 * (i * cols + col), qc_float_bits(x));
        }
}

/* ---- codes ---- */

typedef struct tile {
    qc_grid *grid;
    int32_t *code;
    size_t first, n; /* rows of the chunk */
} tile;

/* Steps and offsets of the block of columns from `begin` on. */
static void set_grid(const rows *w, const tile *t, size_t begin)
{
    const pk_linear *l = w->linear;
    const size_t groups = (size_t)l->n_groups;
    for (size_t sub = 0; sub < qc_n_subs(w->coder); sub++)
        for (size_t lane = 0; lane < QC_LANES; lane++) {
            size_t g = (t->first + lane) * groups + (begin + sub * qc_sub_cols(w->coder)) / (size_t)l->group;
            int there = lane < t->n;
            float step = there ? ((const float *)w->reader->scales.data)[g] : 0.0f;
            float zero = there && !l->signed_codes ? (float)((const int16_t *)w->reader->zeros.data)[g] : 0.0f;
            t->grid->step[sub * QC_LANES + lane] = step;
            t->grid->offset[sub * QC_LANES + lane] = -(step * zero);
        }
}

static void set_codes(const rows *w, const tile *t, size_t begin)
{
    const size_t cols = (size_t)w->linear->cols;
    const uint8_t *code = (const uint8_t *)w->reader->codes.data + t->first * cols + begin;
    const int32_t middle = w->linear->signed_codes ? 1 << (w->linear->bits - 1) : 0;
    memset(t->code, 0, (size_t)w->coder->block_cols * QC_LANES * sizeof *t->code);
    for (size_t lane = 0; lane < t->n; lane++)
        for (size_t c = 0; c < w->coder->block_cols; c++)
            t->code[c * QC_LANES + lane] = code[lane * cols + c] - middle;
}

static qc_status pack_tile(const rows *w, const tile *t, unsigned char *dst)
{
    const qc_coder *e = w->coder;
    for (size_t begin = 0; begin < e->cols; begin += e->block_cols) {
        set_grid(w, t, begin);
        set_codes(w, t, begin);
        if (!e->ops->adopt(e, t->grid))
            return qc_fail(w->job, QC_E_NUMERIC, "tensor '%.150s': %s cannot keep its scales", w->linear->scales->name,
                           e->desc->base.id);
        e->ops->pack(e, dst + t->first * e->row_bytes + qc_piece_at(e, begin), t->grid, t->code, t->n);
    }
    return QC_OK;
}

static qc_status write_codes(const rows *w, unsigned char *dst)
{
    const qc_coder *e = w->coder;
    const pk_linear *l = w->linear;
    tile t = {0};
    if (!e->desc || !(e->desc->base.flags & QC_ENCODING_INTEGER) || !e->ops->adopt || l->group % qc_sub_cols(e) ||
        l->signed_codes != (e->desc->lowest < 0))
        return qc_fail(w->job, QC_E_INTERNAL, "tensor '%.150s' does not go into the encoding asked for",
                       l->codes->name);
    t.grid = qc_grid_new(w->job, e);
    t.code = w->job->scratch(w->job, (size_t)e->block_cols * QC_LANES * sizeof *t.code);
    if (!t.grid || !t.code)
        return qc_fail(w->job, QC_E_NOMEM, "out of memory for a tile");
    memset(t.grid->state, 0, e->desc->state_bytes);
    qc_status status = QC_OK;
    for (; t.first < w->n && status == QC_OK; t.first += t.n) {
        t.n = w->n - t.first < QC_LANES ? w->n - t.first : QC_LANES;
        status = pack_tile(w, &t, dst);
    }
    return status;
}

/* ---- both ---- */

static qc_status read_parts(rows *w)
{
    pk_reader *r = w->reader;
    int in_order = 1;
    qc_status status = w->linear->groups ? pk_read_groups(r, &in_order) : QC_OK;
    if (status == QC_OK)
        status = pk_read_scales(r, w->row, w->n);
    if (status == QC_OK)
        status = check_scales(w);
    if (status == QC_OK && w->linear->zeros)
        status = pk_read_zeros(r, w->row, w->n);
    if (status == QC_OK)
        status = pk_read_codes(r, w->row, w->n);
    w->group = in_order ? NULL : r->groups.data;
    return status;
}

qc_status pk_load(qc_job *job, const void *index, const qc_source *src, const qc_tensor *t, const qc_coder *e,
                  uint64_t row, size_t n_rows, void *dst)
{
    const pk_index *found = index;
    if (!found || t->at >= found->n_linears || n_rows == 0)
        return n_rows == 0 ? QC_OK : qc_fail(job, QC_E_INTERNAL, "tensor '%.150s' is no packed linear", t->name);
    const pk_linear *l = &found->linears[t->at];
    pk_reader reader = {.job = job, .src = src, .linear = l};
    rows w = {job, &reader, l, e, row, n_rows, NULL};
    if (row > l->rows || n_rows > l->rows - row || e->cols != l->cols)
        return qc_fail(job, QC_E_INTERNAL, "tensor '%.150s': rows past its end were asked for", t->name);
    qc_status status = read_parts(&w);
    if (status == QC_OK && !strcmp(t->encoding, QC_ENCODING_F32))
        write_floats(&w, dst);
    else if (status == QC_OK)
        status = write_codes(&w, dst);
    pk_free_rooms(&reader);
    return status;
}
