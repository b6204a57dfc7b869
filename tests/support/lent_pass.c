#include "lent_pass.h"
#include <math.h>

static lent_pass *own(const qc_pass *pass)
{
    return (lent_pass *)(uintptr_t)pass;
}

static int is(const char *wanted, const char *name)
{
    return wanted && strcmp(wanted, name) == 0;
}

static int ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* -1 .. 1: FNV-1a over the name and the place. */
static float value_at(const char *name, size_t i)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    for (size_t k = 0; k < 4; k++)
        hash = (hash ^ (uint8_t)(i >> (8 * k))) * 16777619u;
    return (float)((double)(hash >> 8) / 8388608.0 - 1);
}

static void find_shape(const qc_pass *pass, const char *name, uint64_t *cols, uint64_t *rows)
{
    const lent_pass *p = own(pass);
    const uint64_t q = p->heads * p->head_size, k = p->key_heads * p->head_size;
    const struct {
        const char *part;
        uint64_t cols, rows;
    } shapes[] = {
        {"token_embd.weight", p->width, 99},    {".attn_q.weight", p->width, q},
        {".attn_k.weight", p->width, k},        {".attn_v.weight", p->width, k},
        {".attn_output.weight", q, p->width},   {".ffn_gate.weight", p->width, p->inner},
        {".ffn_up.weight", p->width, p->inner}, {".ffn_down.weight", p->inner, p->width},
    };
    *cols = *rows = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (ends(name, shapes[i].part) && !is(p->missing, name)) {
            *cols = shapes[i].cols;
            *rows = shapes[i].rows + (is(p->odd, name) ? 1 : 0);
        }
}

static void note_call(lent_pass *p, size_t n, const char *const *names)
{
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(p->calls);
        snprintf(p->calls + used, sizeof p->calls - used, "%s%s", i ? "+" : used ? ", " : "", names[i]);
    }
}

static void multiply(const lent_pass *p, const char *name, const float *x, size_t n_tokens, float *y)
{
    uint64_t cols, rows;
    find_shape(&p->pass, name, &cols, &rows);
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < rows; r++) {
            float sum = 0;
            for (size_t c = 0; c < cols; c++)
                sum = fmaf(x[t * cols + c], 0.25f * value_at(name, r * cols + c), sum);
            y[t * rows + r] = is(p->infinite, name) ? INFINITY : sum;
        }
}

static qc_status run_linears(const qc_pass *pass, qc_job *job, size_t n, const char *const *names, int32_t expert,
                             const float *x, size_t n_tokens, float *const *y)
{
    lent_pass *p = own(pass);
    if (expert != -1)
        return qc_fail(job, QC_E_INTERNAL, "expert %d of plain weights", (int)expert);
    note_call(p, n, names);
    for (size_t i = 0; i < n; i++) {
        if (is(p->stop, names[i]))
            return LENT_STOP;
        multiply(p, names[i], x, n_tokens, y[i]);
    }
    return QC_OK;
}

/* 0: the model has no such vector. */
static size_t vector_length(const lent_pass *p, const char *name)
{
    uint64_t cols, rows;
    char weight[64];
    if (is(p->factors_name, name))
        return p->head_size / 2;
    if (ends(name, "attn_q_norm.weight") || ends(name, "attn_k_norm.weight"))
        return p->norms_heads ? p->head_size : 0;
    if (ends(name, "norm.weight"))
        return p->width;
    if (!ends(name, ".bias") || !p->has_biases)
        return 0;
    snprintf(weight, sizeof weight, "%.*sweight", (int)strlen(name) - 4, name);
    find_shape(&p->pass, weight, &cols, &rows);
    return rows - (is(p->odd, weight) ? 1 : 0);
}

static qc_status find_vector(const qc_pass *pass, qc_job *job, const char *name, const float **values, size_t *n)
{
    lent_pass *p = own(pass);
    size_t length = is(p->missing, name) ? 0 : vector_length(p, name) + (is(p->odd, name) ? 1 : 0);
    *values = NULL;
    *n = length;
    if (length == 0)
        return QC_OK;
    if (p->n_vectors == LENT_VECTORS || length > LENT_LENGTH)
        return qc_fail(job, QC_E_INTERNAL, "no room for %s", name);
    float *v = p->vectors[p->n_vectors++];
    for (size_t i = 0; i < length; i++)
        v[i] = is(p->factors_name, name) ? p->factor : (ends(name, ".bias") ? 0 : 1) + 0.5f * value_at(name, i);
    *values = v;
    return QC_OK;
}

void lent_begin(lent_pass *p, uint32_t block, const size_t *starts, size_t n_sequences)
{
    *p = (lent_pass){.width = 16, .heads = 4, .key_heads = 2, .head_size = 4, .inner = 24};
    p->pass = (qc_pass){.size = sizeof p->pass,
                        .block = block,
                        .n_tokens = starts[n_sequences],
                        .n_sequences = n_sequences,
                        .starts = starts,
                        .linears = run_linears,
                        .vector = find_vector,
                        .shape = find_shape};
}
