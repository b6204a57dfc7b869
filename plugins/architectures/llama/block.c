/* x += attention(norm(x)); x += feed_forward(norm(x)). */
#include "block.h"
#include "attention.h"
#include "heads.h"
#include "rows.h"

enum { MAX_NAME = 64, MAX_SHARED = 3 };

/* One block at work on one pass. `wide` holds q, k and v, later gate and up. */
typedef struct frame {
    const hyperparameters *h;
    const qc_pass *pass;
    qc_job *job;
    float *x, *normed, *wide;
} frame;

/* A weight of the block, by the middle of its name, and where its product goes. */
typedef struct linear {
    const char *part;
    float *y;
} linear;

/* "blk.3.attn_q.bias"; after the last block "output_norm.weight". */
static void name_tensor(const frame *f, const char *part, const char *kind, char name[MAX_NAME])
{
    if (f->pass->block < f->h->blocks)
        snprintf(name, MAX_NAME, "blk.%u.%s.%s", f->pass->block, part, kind);
    else
        snprintf(name, MAX_NAME, "%s.%s", part, kind);
}

static qc_status check_shape(const frame *f, const char *name, uint64_t cols, uint64_t rows)
{
    uint64_t found_cols = 0, found_rows = 0;
    f->pass->shape(f->pass, name, &found_cols, &found_rows);
    if (!found_cols && !found_rows)
        return qc_fail(f->job, QC_E_CORRUPT, "%s: the model has no such tensor", name);
    if (found_cols != cols || found_rows != rows)
        return qc_fail(f->job, QC_E_CORRUPT, "%s: %llu x %llu weights; the model's metadata asks for %llu x %llu", name,
                       (unsigned long long)found_cols, (unsigned long long)found_rows, (unsigned long long)cols,
                       (unsigned long long)rows);
    return QC_OK;
}

/* Before anything is allocated or computed: sizes that a file claims must be those of its weights. */
static qc_status check_weights(const frame *f)
{
    const hyperparameters *h = f->h;
    uint32_t block = f->pass->block;
    const uint64_t q = (uint64_t)h->heads[block] * h->head_size, k = (uint64_t)h->key_heads[block] * h->head_size;
    const struct {
        const char *part;
        uint64_t cols, rows;
    } weights[] = {
        {"attn_q", h->width, q},
        {"attn_k", h->width, k},
        {"attn_v", h->width, k},
        {"attn_output", q, h->width},
        {"ffn_gate", h->width, h->feed_forward[block]},
        {"ffn_up", h->width, h->feed_forward[block]},
        {"ffn_down", h->feed_forward[block], h->width},
    };
    qc_status status = QC_OK;
    for (size_t i = 0; i < sizeof weights / sizeof *weights && status == QC_OK; i++) {
        char name[MAX_NAME];
        name_tensor(f, weights[i].part, "weight", name);
        status = check_shape(f, name, weights[i].cols, weights[i].rows);
    }
    return status;
}

/* Products of n weights with one x. */
static qc_status multiply(const frame *f, const float *x, const linear *linears, size_t n)
{
    char names[MAX_SHARED][MAX_NAME];
    const char *list[MAX_SHARED];
    float *y[MAX_SHARED];
    for (size_t i = 0; i < n; i++) {
        name_tensor(f, linears[i].part, "weight", names[i]);
        list[i] = names[i];
        y[i] = linears[i].y;
    }
    return f->pass->linears(f->pass, f->job, n, list, -1, x, f->pass->n_tokens, y);
}

/* A vector of the block; NULL where the model lacks it. */
static qc_status find_vector(const frame *f, const char *part, const char *kind, uint64_t length, const float **values)
{
    char name[MAX_NAME];
    size_t n = 0;
    *values = NULL;
    name_tensor(f, part, kind, name);
    qc_status status = f->pass->vector(f->pass, f->job, name, values, &n);
    if (status == QC_OK && *values && n != length)
        return qc_fail(f->job, QC_E_CORRUPT, "%s: %zu values; the model's metadata asks for %llu", name, n,
                       (unsigned long long)length);
    return status;
}

static qc_status find_norm(const frame *f, const char *part, uint64_t length, const float **values)
{
    qc_status status = find_vector(f, part, "weight", length, values);
    if (status != QC_OK || *values)
        return status;
    char name[MAX_NAME];
    name_tensor(f, part, "weight", name);
    return qc_fail(f->job, QC_E_CORRUPT, "%s: the model has no such tensor", name);
}

static qc_status norm(const frame *f, const char *part, float *y)
{
    const float *weight = NULL;
    qc_status status = find_norm(f, part, f->h->width, &weight);
    const rows_norm work = {f->h->math, f->x, y, weight, f->h->width, f->h->epsilon};
    return status == QC_OK ? norm_rows(f->job, f->pass->n_tokens, &work) : status;
}

/* x += W y + bias; the product takes the place of the normed input. */
static qc_status add_product(const frame *f, const char *part, const float *y)
{
    const float *bias = NULL;
    const linear product = {part, f->normed};
    qc_status status = find_vector(f, part, "bias", f->h->width, &bias);
    if (status == QC_OK)
        status = multiply(f, y, &product, 1);
    const rows_sum work = {f->x, f->normed, bias, f->h->width};
    return status == QC_OK ? add_rows(f->job, f->pass->n_tokens, &work) : status;
}

/* What is done to q, k and v before attention. */
static qc_status prepare(const frame *f, const span *spans, size_t n_spans, heads_work *work)
{
    static const char *const parts[] = {"attn_q", "attn_k", "attn_v"};
    static const char *const norms[] = {"attn_q_norm", "attn_k_norm"};
    qc_status status = make_rotary_tables(f->job, &f->h->rotary, f->pass, &work->tables);
    for (size_t i = 0; i < 3 && status == QC_OK; i++)
        status = find_vector(f, parts[i], "bias", (uint64_t)work->of[i].heads * f->h->head_size, &work->of[i].bias);
    for (size_t i = 0; i < 2 && status == QC_OK && f->h->family->norms_heads; i++)
        status = find_norm(f, norms[i], f->h->head_size, &work->of[i].norm);
    return status == QC_OK ? prepare_heads(f->job, spans, n_spans, work) : status;
}

static qc_status run_attention(const frame *f)
{
    const hyperparameters *h = f->h;
    uint32_t block = f->pass->block, heads = h->heads[block], key_heads = h->key_heads[block];
    uint64_t q_cols = (uint64_t)heads * h->head_size, k_cols = (uint64_t)key_heads * h->head_size;
    float *q = f->wide, *k = q + f->pass->n_tokens * q_cols, *v = k + f->pass->n_tokens * k_cols;
    const linear projections[] = {{"attn_q", q}, {"attn_k", k}, {"attn_v", v}};
    heads_work work = {.h = h,
                       .of = {{.rows = q, .heads = heads, .rotated = 1},
                              {.rows = k, .heads = key_heads, .rotated = 1},
                              {.rows = v, .heads = key_heads}}};
    attention attending = {h, NULL, block, heads, key_heads, h->window[block], q, k, v};
    span *spans = NULL;
    size_t n_spans = 0;
    qc_status status = norm(f, "attn_norm", f->normed);
    if (status == QC_OK)
        status = multiply(f, f->normed, projections, 3);
    if (status == QC_OK)
        status = make_spans(f->job, f->pass, &spans, &n_spans);
    if (status == QC_OK)
        status = prepare(f, spans, n_spans, &work);
    attending.spans = spans;
    if (status == QC_OK)
        status = attend(&attending, f->job, n_spans);
    return status == QC_OK ? add_product(f, "attn_output", q) : status;
}

static qc_status run_feed_forward(const frame *f)
{
    uint32_t inner = f->h->feed_forward[f->pass->block];
    float *gate = f->wide, *up = gate + f->pass->n_tokens * inner;
    const linear both[] = {{"ffn_gate", gate}, {"ffn_up", up}};
    rows_gate work = {f->h->math, gate, up, NULL, NULL, inner};
    qc_status status = norm(f, "ffn_norm", f->normed);
    if (status == QC_OK)
        status = multiply(f, f->normed, both, 2);
    if (status == QC_OK)
        status = find_vector(f, "ffn_gate", "bias", inner, &work.gate_bias);
    if (status == QC_OK)
        status = find_vector(f, "ffn_up", "bias", inner, &work.up_bias);
    if (status == QC_OK)
        status = gate_rows(f->job, f->pass->n_tokens, &work);
    return status == QC_OK ? add_product(f, "ffn_down", gate) : status;
}

static float *take_rows(qc_job *job, size_t n_tokens, uint64_t cols)
{
    uint64_t bytes = 0;
    int fits = qc_mul_size(cols, sizeof(float), &bytes) && qc_mul_size(n_tokens, bytes, &bytes);
    return fits && (size_t)bytes == bytes ? (float *)job->scratch(job, (size_t)bytes) : NULL;
}

static qc_status take_buffers(frame *f)
{
    const hyperparameters *h = f->h;
    uint32_t block = f->pass->block;
    uint64_t attention_cols = (h->heads[block] + 2 * (uint64_t)h->key_heads[block]) * h->head_size;
    uint64_t inner_cols = 2 * (uint64_t)h->feed_forward[block];
    f->normed = take_rows(f->job, f->pass->n_tokens, h->width);
    f->wide = take_rows(f->job, f->pass->n_tokens, attention_cols > inner_cols ? attention_cols : inner_cols);
    if (!f->normed || !f->wide)
        return qc_fail(f->job, QC_E_NOMEM, "blk.%u: out of memory for %zu tokens", block, f->pass->n_tokens);
    return QC_OK;
}

/* The rows of x are as wide as the embedding is. */
static qc_status check_pass(const frame *f)
{
    uint64_t cols = 0, rows = 0;
    if (!QC_HAS(f->pass, qc_pass, shape) || !f->pass->shape || f->pass->block > f->h->blocks)
        return qc_fail(f->job, QC_E_INTERNAL, "block %u of %u cannot be run", f->pass->block, f->h->blocks);
    f->pass->shape(f->pass, "token_embd.weight", &cols, &rows);
    if (cols != f->h->width)
        return qc_fail(f->job, QC_E_CORRUPT, "token_embd.weight: %llu columns; the model's metadata asks for %u",
                       (unsigned long long)cols, f->h->width);
    return QC_OK;
}

qc_status run_block(qc_job *job, const void *state, const qc_pass *pass, float *x)
{
    frame f = {(const hyperparameters *)state, pass, job, x, NULL, NULL};
    qc_status status = check_pass(&f);
    if (status == QC_OK && pass->block == f.h->blocks)
        status = qc_fail(job, QC_E_INTERNAL, "block %u is beyond the last one", pass->block);
    if (status == QC_OK)
        status = check_weights(&f);
    if (status == QC_OK)
        status = take_buffers(&f);
    if (status == QC_OK)
        status = run_attention(&f);
    return status == QC_OK ? run_feed_forward(&f) : status;
}

qc_status run_finish(qc_job *job, const void *state, const qc_pass *pass, float *x)
{
    frame f = {(const hyperparameters *)state, pass, job, x, NULL, NULL};
    qc_status status = check_pass(&f);
    if (status == QC_OK && pass->block != f.h->blocks)
        status = qc_fail(job, QC_E_INTERNAL, "block %u is not the end", pass->block);
    return status == QC_OK ? norm(&f, "output_norm", x) : status;
}
