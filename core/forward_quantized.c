/* Products in 8 bits: inputs are rounded once, weights stay as they are stored. Results depend on nothing but the rows:
 * qc_ops_encoding.dot is exact in the order that encoding.h gives. */
#include "core/forward_impl.h"
#include "core/rows.h"

enum {
    ROUNDED_TOKENS = 32, /* that one worker rounds at once */
    DOT_ROWS = 4 * QC_LANES, /* that one worker multiplies at once, with all tokens */
    DOT_TOKENS = 128, /* whose inputs stay in the second cache for all these rows */
    LOADED_BYTES = 1 << 18 /* of a weight that one worker reads at once */
};

int forward_as_stored(const forward *f, const model_tensor *t)
{
    const qc_coder *coder = &f->coders[t - f->model->tensors];
    return f->quantized && t->n_rows > 1 && !(t->flags & QC_NAME_ADD_ONE) && coder->size &&
           QC_HAS(coder->ops, qc_ops_encoding, dot) && coder->ops->dot && coder->cols % QC_ACTIVATION_COLS == 0;
}

uint64_t forward_activation_bytes(uint64_t cols)
{
    return cols + cols / QC_ACTIVATION_COLS * sizeof(float) + cols / 16 * sizeof(int16_t);
}

/* ---- inputs ---- */

typedef struct rounding {
    const qc_ops_row *ops;
    const float *x;
    size_t cols, tokens;
    int8_t *code;
    float *scale;
    int16_t *sum;
} rounding;

/* Pieces of a token go where pieces of the others are. */
static void spread(const rounding *r, size_t token, const int8_t *code, const float *scale, const int16_t *sum)
{
    for (size_t i = 0; i < r->cols / QC_ACTIVATION_COLS; i++) {
        const size_t at = i * r->tokens + token;
        memcpy(r->code + at * QC_ACTIVATION_COLS, code + i * QC_ACTIVATION_COLS, QC_ACTIVATION_COLS);
        r->scale[at] = scale[i];
        r->sum[2 * i * r->tokens + token] = sum[2 * i];
        r->sum[(2 * i + 1) * r->tokens + token] = sum[2 * i + 1];
    }
}

static qc_status round_tokens(void *arg, qc_job *job, size_t begin, size_t end)
{
    const rounding *r = arg;
    int8_t *code = job->scratch(job, r->cols);
    float *scale = job->scratch(job, r->cols / QC_ACTIVATION_COLS * sizeof *scale);
    int16_t *sum = job->scratch(job, r->cols / 16 * sizeof *sum);
    if (!code || !scale || !sum)
        return qc_fail(job, QC_E_NOMEM, "out of memory for an input of %zu columns", r->cols);
    for (size_t t = begin; t < end; t++) {
        r->ops->round_activations(code, scale, sum, r->x + t * r->cols, r->cols);
        spread(r, t, code, scale, sum);
    }
    return QC_OK;
}

qc_status forward_round(const forward *f, qc_job *job, const float *x, size_t n_tokens, size_t cols,
                        qc_activations *out)
{
    rounding r = {.ops = f->rows, .x = x, .cols = cols, .tokens = n_tokens};
    r.code = job->scratch(job, n_tokens * cols);
    r.scale = job->scratch(job, n_tokens * (cols / QC_ACTIVATION_COLS) * sizeof *r.scale);
    r.sum = job->scratch(job, n_tokens * (cols / 16) * sizeof *r.sum);
    if (!r.code || !r.scale || !r.sum)
        return qc_fail(job, QC_E_NOMEM, "out of memory for inputs of %zu tokens", n_tokens);
    *out = (qc_activations){sizeof *out, cols, n_tokens, r.code, r.scale, r.sum};
    return job->parallel_for(job, n_tokens, ROUNDED_TOKENS, round_tokens, &r);
}

/* ---- products ---- */

typedef struct product {
    const qc_coder *coder;
    const unsigned char *rows;
    const qc_activations *x;
    float *y;
    size_t ldy;
} product;

static qc_status multiply_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    const product *p = arg;
    (void)job;
    for (size_t token = 0, n; token < p->x->tokens; token += n) {
        n = p->x->tokens - token < DOT_TOKENS ? p->x->tokens - token : DOT_TOKENS;
        for (size_t row = begin; row < end; row += QC_LANES)
            p->coder->ops->dot(p->coder, p->y + token * p->ldy + row, p->ldy, p->rows + row * p->coder->row_bytes,
                               end - row < QC_LANES ? end - row : QC_LANES, p->x, token, n);
    }
    return QC_OK;
}

qc_status forward_dot(qc_job *job, const qc_coder *coder, const void *rows, size_t n_rows, const qc_activations *x,
                      float *y, size_t ldy)
{
    product p = {coder, rows, x, y, ldy};
    return job->parallel_for(job, n_rows, DOT_ROWS, multiply_rows, &p);
}

/* ---- weights ---- */

typedef struct reading {
    const forward *forward;
    const model_tensor *tensor;
    const qc_coder *coder;
    uint64_t row; /* the first */
    unsigned char *bytes;
} reading;

static qc_status read_piece(void *arg, qc_job *job, size_t begin, size_t end)
{
    const reading *r = arg;
    void *at = r->bytes + begin * r->coder->row_bytes;
    qc_status status = model_load(r->forward->model, job, r->tensor, r->coder, r->row + begin, end - begin, at);
    if (status == QC_OK && r->coder->desc->validate)
        status = r->coder->desc->validate(job, r->coder, at, end - begin);
    return status;
}

qc_status forward_read(forward *f, qc_job *job, const model_tensor *t, uint64_t row, size_t n, void *bytes)
{
    reading r = {.forward = f, .tensor = t, .row = row, .bytes = bytes};
    qc_status status = forward_coder(f, job, t, &r.coder);
    if (status != QC_OK)
        return status;
    status = job->parallel_for(job, n, 1 + LOADED_BYTES / (r.coder->row_bytes + 1), read_piece, &r);
    if (status != QC_OK && status != QC_E_CANCELLED)
        job_add_context(job, "%s", t->name);
    return status;
}
