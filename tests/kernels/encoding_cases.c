#include "encoding_cases.h"
#include "test_host.h"

static test_host scratch;

qc_job *scratch_job(void)
{
    static int begun;
    if (!begun)
        test_host_begin(&scratch);
    begun = 1;
    return &scratch.job;
}

void scratch_end(void)
{
    test_host_reset(&scratch);
}

qc_coder coder_for(const encoding_side *side, size_t cols)
{
    const qc_encoding_desc *d = side->desc;
    const uint32_t block_cols = d->block_cols ? d->block_cols : (uint32_t)cols;
    const size_t codes = d->block_cols ? 0 : (cols * d->code_bits + 7) / 8;
    return (qc_coder){.size = sizeof(qc_coder),
                      .block_cols = block_cols,
                      .cols = cols,
                      .row_bytes = cols / block_cols * d->block_bytes + codes,
                      .desc = d,
                      .ops = side->ops};
}

/* ---- which case ---- */

enum { BENCH_COLS = 256 };

static size_t case_cols(const qc_encoding_desc *d, size_t i, uint32_t *random, size_t *piece_cols)
{
    if (d->block_cols > 1) {
        const size_t bench = d->block_cols < BENCH_COLS ? BENCH_COLS / d->block_cols : 1;
        *piece_cols = d->block_cols;
        return d->block_cols * (i == BENCH_CASE ? bench : 1 + random_below(random, 2));
    }
    *piece_cols = i == BENCH_CASE ? BENCH_COLS
                  : i % 4 == 3    ? 64 + random_below(random, 193)
                                  : 1 + i / 2 + random_below(random, 20);
    return *piece_cols + (d->block_cols && i != BENCH_CASE ? random_below(random, 4) : 0);
}

int encoding_case_new(const kernel *k, size_t i, uint32_t *random, call *c, encoding_case *z)
{
    static const size_t rows[] = {QC_LANES, 1, 5, QC_LANES, 15, 8, 2, QC_LANES - 3};
    const size_t step = k->effort ? 1 : 5, rounds = k->effort ? k->effort : 1;
    if (i != BENCH_CASE && i * step >= INPUT_KINDS * rounds)
        return 0;
    const encoding_side *side = k->reference_side;
    *z = (encoding_case){.reference = side};
    const size_t turn = random_below(random, 8), at = i * step;
    z->kind = i == BENCH_CASE ? INPUT_GAUSS : (input_kind)(at % INPUT_KINDS);
    z->importance = i == BENCH_CASE ? 1 : turn % 2 ? random_below(random, IMPORTANCE_KINDS) : 0;
    z->n_rows = i == BENCH_CASE ? QC_LANES : rows[(at + turn) % 8];
    z->cols = case_cols(side->desc, i == BENCH_CASE ? i : at, random, &z->piece_cols);
    z->coder = coder_for(side, z->cols);
    c->number[COLS] = z->cols;
    c->number[ROWS] = z->n_rows;
    c->number[PIECE_COLS] = z->piece_cols;
    c->elements = z->piece_cols * z->n_rows;
    snprintf(c->input, sizeof c->input, "%zu rows of %zu, %s, %s", z->n_rows, z->cols, input_name(z->kind),
             importance_name(z->importance));
    return 1;
}

/* ---- weights ---- */

size_t piece_bytes(const encoding_case *z)
{
    const qc_encoding_desc *d = z->reference->desc;
    const size_t piece = d->block_cols == 1 ? z->piece_cols * d->block_bytes
                         : d->block_cols    ? d->block_bytes
                                            : z->coder.row_bytes;
    return (z->n_rows - 1) * z->coder.row_bytes + piece;
}

const float *new_rows(const encoding_case *z, size_t n_rows, uint32_t *random)
{
    float *x = case_room(n_rows * z->cols * sizeof *x);
    for (size_t row = 0; row < n_rows; row++)
        input_fill(x + row * z->cols, z->cols, z->kind, random);
    return x;
}

float *new_tile(const encoding_case *z, uint32_t *random)
{
    const float *rows = new_rows(z, z->n_rows, random);
    float *tile = case_room(z->piece_cols * QC_LANES * sizeof *tile);
    for (size_t col = 0; col < z->piece_cols; col++)
        for (size_t lane = 0; lane < QC_LANES; lane++)
            tile[col * QC_LANES + lane] = lane < z->n_rows ? rows[lane * z->cols + col] : 0.0f;
    return tile;
}

const float *new_importance(const encoding_case *z, size_t n, uint32_t *random)
{
    float *f = case_room(n * sizeof *f);
    if (z->importance == 0)
        return NULL;
    importance_fill(f, n, z->importance, random);
    return f;
}

/* ---- bytes ---- */

static qc_ops_encoding by_pieces(const qc_ops_encoding *ops)
{
    qc_ops_encoding o = *ops;
    o.encode_rows = NULL;
    o.decode_rows = NULL;
    return o;
}

static int any_valid_row(const encoding_case *z, unsigned char *row, uint32_t *random)
{
    const qc_encoding_desc *d = z->reference->desc;
    for (int tries = 0; tries < 30; tries++) {
        input_bytes(row, z->coder.row_bytes, random);
        const int fine = !d->validate || d->validate(scratch_job(), &z->coder, row, 1) == QC_OK;
        scratch_end();
        if (fine)
            return 1;
    }
    return 0;
}

const unsigned char *new_bytes(const encoding_case *z, size_t n_rows, uint32_t *random)
{
    const qc_ops_encoding ops = by_pieces(z->reference->ops);
    qc_coder e = z->coder;
    unsigned char *bytes = case_room(n_rows * e.row_bytes);
    e.ops = &ops;
    qc_encode_rows(scratch_job(), &e, bytes, new_rows(z, n_rows, random), NULL, n_rows);
    scratch_end();
    unsigned char *row = case_room(e.row_bytes);
    for (size_t i = 0; i < n_rows; i++)
        if ((random_next(random) & 1) && any_valid_row(z, row, random))
            memcpy(bytes + i * e.row_bytes, row, e.row_bytes);
    return bytes;
}

const unsigned char *new_any_bytes(const encoding_case *z, uint32_t *random)
{
    if (random_next(random) & 1)
        return new_bytes(z, z->n_rows, random);
    unsigned char *bytes = case_room(z->n_rows * z->coder.row_bytes);
    input_bytes(bytes, z->n_rows * z->coder.row_bytes, random);
    return bytes;
}

/* ---- grids ---- */

qc_grid new_grid(const encoding_case *z, uint32_t *random)
{
    const qc_coder *e = &z->coder;
    const size_t n_subs = qc_n_subs(e);
    qc_grid g = {.size = sizeof g,
                 .step = case_room(n_subs * QC_LANES * sizeof(float)),
                 .offset = case_room(n_subs * QC_LANES * sizeof(float)),
                 .state = case_room(e->desc->state_bytes)};
    const float *tile = new_tile(z, random), *importance = new_importance(z, z->piece_cols, random);
    memset(g.state, 0, e->desc->state_bytes);
    e->ops->fit(e, &g, tile, importance, 0, (uint32_t)n_subs);
    return g;
}

const int32_t *new_codes(const encoding_case *z, uint32_t *random)
{
    const qc_encoding_desc *d = z->reference->desc;
    int32_t *code = case_room(z->piece_cols * QC_LANES * sizeof *code);
    for (size_t i = 0; i < z->piece_cols * QC_LANES; i++)
        code[i] = d->lowest + (int32_t)random_below(random, (size_t)(d->highest - d->lowest) + 1);
    return code;
}
