#include "core/forward_impl.h"
#include <stdatomic.h>

enum { CHECKED_ROWS = 64 };

static const pass *own(const qc_pass *api)
{
    return (const pass *)(const void *)api;
}

/* ---- where ---- */

const char *pass_block(const pass *p, char text[32])
{
    if (p->api.block < p->forward->n_blocks)
        snprintf(text, 32, "block %u", p->api.block);
    else
        snprintf(text, 32, "the final norm");
    return text;
}

const char *pass_place(const pass *p, size_t row, char text[64])
{
    size_t s = 0;
    while (s + 1 < p->api.n_sequences && p->api.starts[s + 1] <= row)
        s++;
    snprintf(text, 64, "sequence %zu, token %zu", p->first_sequence + s, row - p->api.starts[s]);
    return text;
}

/* ---- NaN and Inf ---- */

typedef struct checking {
    const qc_ops_row *ops;
    const float *x;
    size_t cols;
    atomic_size_t bad; /* lowest so far */
} checking;

static qc_status check_rows(void *arg, qc_job *job, size_t begin, size_t end)
{
    checking *c = arg;
    (void)job;
    for (size_t i = begin; i < end; i++) {
        if (c->ops->all_finite(c->x + i * c->cols, c->cols))
            continue;
        size_t lowest = atomic_load(&c->bad);
        while (i < lowest && !atomic_compare_exchange_weak(&c->bad, &lowest, i))
            ;
        return QC_OK;
    }
    return QC_OK;
}

qc_status forward_check(const forward *f, qc_job *job, const float *x, size_t n, size_t cols, size_t *bad)
{
    checking c = {.ops = f->rows, .x = x, .cols = cols};
    atomic_init(&c.bad, n);
    qc_status status = job->parallel_for(job, n, CHECKED_ROWS, check_rows, &c);
    *bad = atomic_load(&c.bad);
    return status;
}

/* A product that is no number. Which token an expert's row is, only the architecture knows. */
static qc_status refuse_product(const pass *p, qc_job *job, const model_tensor *t, size_t n_tokens, size_t row)
{
    char block[32], where[64] = "an expert's token";
    if (n_tokens == p->api.n_tokens)
        pass_place(p, row, where);
    return qc_fail(job, QC_E_NUMERIC, "%s: its product with %s (%s) has NaN or Inf", t->name, where,
                   pass_block(p, block));
}

/* ---- what the architecture asks for ---- */

static qc_status find_weight(const pass *p, qc_job *job, const char *name, int32_t expert, const model_tensor **weight)
{
    const model_tensor *t = forward_tensor(p->forward, name);
    char block[32];
    *weight = t;
    if (!t)
        return qc_fail(job, QC_E_CORRUPT, "%s: the model has no tensor %s", pass_block(p, block), name);
    uint64_t matrices = t->dims[2] * t->dims[3];
    if (expert < 0 && matrices != 1)
        return qc_fail(job, QC_E_CORRUPT, "%s: one matrix was expected, it has %llu", name,
                       (unsigned long long)matrices);
    if (expert >= 0 && (uint64_t)expert >= matrices)
        return qc_fail(job, QC_E_CORRUPT, "%s: there is no matrix %d among its %llu", name, (int)expert,
                       (unsigned long long)matrices);
    return QC_OK;
}

static qc_status find_weights(const pass *p, qc_job *job, size_t n, const char *const *names, int32_t expert,
                              const model_tensor **weights)
{
    for (size_t i = 0; i < n; i++) {
        qc_status status = find_weight(p, job, names[i], expert, &weights[i]);
        if (status != QC_OK)
            return status;
        if (weights[i]->dims[0] != weights[0]->dims[0])
            return qc_fail(job, QC_E_CORRUPT, "%s has %llu columns, but %s, which reads the same input, %llu", names[i],
                           (unsigned long long)weights[i]->dims[0], names[0], (unsigned long long)weights[0]->dims[0]);
    }
    return QC_OK;
}

/* What linears read: as float32, and in 8 bits once one of them asks for that (rounded.size is 0 until then). */
typedef struct linear_input {
    const float *x;
    size_t n_tokens;
    qc_activations rounded;
} linear_input;

static qc_status round_input(const pass *p, qc_job *job, const model_tensor *t, linear_input *in)
{
    size_t cols = (size_t)t->dims[0], bad;
    if (in->rounded.size)
        return QC_OK;
    qc_status status = forward_check(p->forward, job, in->x, in->n_tokens, cols, &bad);
    if (status == QC_OK && bad < in->n_tokens)
        status = refuse_product(p, job, t, in->n_tokens, bad);
    return status == QC_OK ? forward_round(p->forward, job, in->x, in->n_tokens, cols, &in->rounded) : status;
}

static qc_status multiply_stored(const pass *p, qc_job *job, const model_tensor *t, uint64_t matrix, linear_input *in,
                                 float *y)
{
    const qc_coder *coder;
    const void *rows = NULL;
    qc_status status = forward_coder(p->forward, job, t, &coder);
    if (status == QC_OK)
        status = forward_take_stored(p->forward, job, t, matrix, &rows);
    if (status == QC_OK)
        status = round_input(p, job, t, in);
    return status == QC_OK ? forward_dot(job, coder, rows, (size_t)t->dims[1], &in->rounded, y, (size_t)t->dims[1])
                           : status;
}

static qc_status multiply_floats(const pass *p, qc_job *job, const model_tensor *t, uint64_t matrix,
                                 const linear_input *in, float *y)
{
    size_t rows = (size_t)t->dims[1], cols = (size_t)t->dims[0], mark = job_mark(job);
    const float *w;
    qc_status status = forward_take(p->forward, job, t, matrix, &w);
    if (status == QC_OK)
        status = p->forward->matrices->gemm(job, in->n_tokens, rows, cols, in->x, cols, w, cols, 1, y, rows);
    job_release(job, mark); /* what a backend packed */
    return status;
}

static qc_status multiply(const pass *p, qc_job *job, const model_tensor *t, int32_t expert, linear_input *in, float *y)
{
    uint64_t matrix = expert < 0 ? 0 : (uint64_t)expert;
    size_t bad = in->n_tokens;
    qc_status status = forward_as_stored(p->forward, t) ? multiply_stored(p, job, t, matrix, in, y)
                                                        : multiply_floats(p, job, t, matrix, in, y);
    if (status == QC_OK)
        status = forward_check(p->forward, job, y, in->n_tokens, (size_t)t->dims[1], &bad);
    return status == QC_OK && bad < in->n_tokens ? refuse_product(p, job, t, in->n_tokens, bad) : status;
}

static qc_status run_linears(const pass *p, qc_job *job, size_t n, const char *const *names, int32_t expert,
                             const float *x, size_t n_tokens, float *const *y)
{
    const model_tensor **weights = job->scratch(job, n * sizeof *weights);
    const float **products = job->scratch(job, n * sizeof *products);
    if (!weights || !products)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu names", n);
    const forward_watch *w = p->watch && p->watch->linears ? p->watch : NULL;
    linear_input in = {.x = x, .n_tokens = n_tokens};
    qc_status status = find_weights(p, job, n, names, expert, weights);
    if (status == QC_OK && w && w->before)
        status = w->linears(w->arg, job, n, weights, expert, x, n_tokens, NULL);
    for (size_t i = 0; i < n && status == QC_OK; i++) {
        status = multiply(p, job, weights[i], expert, &in, y[i]);
        products[i] = y[i];
    }
    if (status == QC_OK && w && !w->before)
        status = w->linears(w->arg, job, n, weights, expert, x, n_tokens, products);
    return status;
}

static qc_status pass_linears(const qc_pass *api, qc_job *job, size_t n, const char *const *names, int32_t expert,
                              const float *x, size_t n_tokens, float *const *y)
{
    if (n == 0 || n_tokens == 0)
        return QC_OK;
    size_t mark = job_mark(job);
    qc_status status = run_linears(own(api), job, n, names, expert, x, n_tokens, y);
    job_release(job, mark);
    return status;
}

static qc_status pass_vector(const qc_pass *api, qc_job *job, const char *name, const float **values, size_t *n)
{
    forward *f = own(api)->forward;
    const model_tensor *t = model_find(f->model, name);
    *values = NULL;
    *n = 0;
    if (!t)
        return QC_OK;
    if (t->n_rows != 1)
        return qc_fail(job, QC_E_CORRUPT, "%s should be a vector, it has %llu rows", name,
                       (unsigned long long)t->n_rows);
    *n = (size_t)t->dims[0];
    return forward_take(f, job, t, 0, values);
}

static void pass_shape(const qc_pass *api, const char *name, uint64_t *cols, uint64_t *rows)
{
    const model_tensor *t = forward_tensor(own(api)->forward, name);
    *cols = t ? t->dims[0] : 0;
    *rows = t ? t->dims[1] : 0;
}

void pass_init(pass *p, forward *f, size_t *starts)
{
    *p = (pass){.forward = f, .starts = starts};
    p->api = (qc_pass){
        .size = sizeof p->api, .starts = starts, .linears = pass_linears, .vector = pass_vector, .shape = pass_shape};
}
