/* Rounding, columns weighted as imatrix does, and the search for ranges: of every block of a row, the bytes with the least
 * error of its output are kept, among those of the block as it is and of the block clipped to less and less of its
 * range. A clipped block has finer steps for what is left.
 *
 *     loss = e' S e,     e = what the block became - what it was,     S = X_b' X_b / n over the block's columns
 *
 * S comes from the samples, its diagonal from all of calibration.
 */
#include "awq.h"

enum { WIDEST_BLOCK = 256 };

typedef struct prepared {
    size_t cols, block_cols; /* block_cols 0: nothing is clipped */
    float *importance; /* [cols] */
    float *second; /* S of each block, [cols / block_cols][block_cols][block_cols] */
} prepared;

/* ---- once per input ---- */

typedef struct seconds {
    const awq_state *s;
    const qc_input *input;
    prepared *p;
} seconds;

static qc_status fill_second(void *arg, qc_job *job, size_t begin, size_t end)
{
    const seconds *f = (const seconds *)arg;
    const qc_input *input = f->input;
    const size_t n = f->p->block_cols;
    const float scale = 1.0f / (float)input->n_samples;
    qc_status status = QC_OK;
    for (size_t block = begin; block < end && status == QC_OK; block++) {
        float *h = f->p->second + block * n * n; /* zeroed */
        status = f->s->matrix->gram(job, n, input->n_samples, input->samples + block * n, input->cols, h);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = i + 1; j < n; j++)
                h[j * n + i] = h[i * n + j] *= scale;
            h[i * n + i] = input->mean_square[block * n + i];
        }
    }
    return status;
}

static int is_clipped(const awq_state *s, const qc_input *input, const qc_encoding_desc *shape)
{
    return s->clip > 0 && shape->block_cols > 1 && shape->block_cols <= WIDEST_BLOCK && input->samples &&
           input->n_samples > 0 && input->cols % shape->block_cols == 0;
}

static qc_status fill(qc_job *job, const awq_state *s, const qc_input *input, const qc_encoding_desc *shape,
                      prepared *p)
{
    const qc_host *host = job->host;
    p->cols = input->cols;
    p->importance = (float *)host->alloc(host, input->cols * sizeof *p->importance);
    if (!p->importance)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the importance of %zu columns", input->cols);
    for (size_t col = 0; col < input->cols; col++) {
        if (!qc_is_finite(input->mean_square[col]) || input->mean_square[col] < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "mean square of column %zu is negative, NaN or Inf", col);
        p->importance[col] = awq_importance((double)input->mean_square[col], s->power);
    }
    if (!is_clipped(s, input, shape))
        return QC_OK;
    p->block_cols = shape->block_cols;
    p->second = (float *)host->alloc(host, input->cols * p->block_cols * sizeof *p->second);
    if (!p->second)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the inputs of %zu blocks", input->cols / p->block_cols);
    seconds f = {s, input, p};
    return job->parallel_for(job, input->cols / p->block_cols, 1, fill_second, &f);
}

qc_status awq_prepare(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                      uint32_t *order, void **out)
{
    (void)order;
    *out = NULL;
    if (!input || !input->mean_square)
        return QC_OK;
    prepared *p = (prepared *)job->host->alloc(job->host, sizeof *p);
    if (!p)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    qc_status status = fill(job, (const awq_state *)state, input, shape, p);
    if (status == QC_OK)
        *out = p;
    else
        awq_release(job->host, p);
    return status;
}

void awq_release(const qc_host *host, void *made)
{
    prepared *p = (prepared *)made;
    if (!p)
        return;
    host->free(host, p->importance);
    host->free(host, p->second);
    host->free(host, p);
}

uint64_t awq_memory(const void *state, size_t cols)
{
    uint64_t wide = ((const awq_state *)state)->clip ? WIDEST_BLOCK : 0;
    return cols * sizeof(float) * (1 + wide);
}

/* ---- a chunk of rows ---- */

/* One chunk; the best bytes so far are in dst. */
typedef struct attempt {
    const awq_state *s;
    const prepared *p;
    const qc_coder *coder;
    const float *w;
    size_t n_rows, n_blocks;
    float *clipped, *error; /* [n_rows][cols]; error: what w becomes, then less w */
    float *product, *loss; /* [n_rows][block_cols], [n_rows][n_blocks] */
    unsigned char *bytes;
} attempt;

static qc_status attempt_new(qc_job *job, attempt *a)
{
    size_t cols = a->p->cols;
    a->clipped = (float *)job->scratch(job, a->n_rows * cols * sizeof(float));
    a->error = (float *)job->scratch(job, a->n_rows * cols * sizeof(float));
    a->product = (float *)job->scratch(job, a->n_rows * a->p->block_cols * sizeof(float));
    a->loss = (float *)job->scratch(job, a->n_rows * a->n_blocks * sizeof(float));
    a->bytes = (unsigned char *)job->scratch(job, a->n_rows * a->coder->row_bytes);
    int complete = a->clipped && a->error && a->product && a->loss && a->bytes;
    return complete ? QC_OK : qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows", a->n_rows);
}

uint64_t awq_round_memory(const void *state, size_t n_rows, size_t cols)
{
    /* clipped, error, bytes that may be as many; product; loss of blocks of 16 weights or more */
    uint64_t row = (uint64_t)cols * (3 * sizeof(float)) + WIDEST_BLOCK * sizeof(float) + cols / 4;
    return ((const awq_state *)state)->clip ? n_rows * row : 0;
}

/* Every sub-block to a share of its own range. */
static void clip_rows(const attempt *a, float share)
{
    const size_t n = qc_sub_cols(a->coder), total = a->n_rows * a->p->cols;
    for (size_t at = 0; at < total; at += n) {
        float most = 0.0f;
        for (size_t i = 0; i < n; i++)
            most = fabsf(a->w[at + i]) > most ? fabsf(a->w[at + i]) : most;
        most *= share;
        for (size_t i = 0; i < n; i++) {
            float low = a->w[at + i] < -most ? -most : a->w[at + i];
            a->clipped[at + i] = low > most ? most : low;
        }
    }
}

/* Loss of one block of all rows; where it is less than before, those bytes are the best. first: whatever it is. */
static qc_status judge_block(const attempt *a, qc_job *job, size_t block, unsigned char *dst, int first)
{
    const size_t n = a->p->block_cols, cols = a->p->cols, bytes = a->coder->desc->block_bytes;
    const float *error = a->error + block * n;
    qc_status status = a->s->matrix->gemm(job, a->n_rows, n, n, error, cols, a->p->second + block * n * n, n, 0,
                                          a->product, n);
    for (size_t row = 0; row < a->n_rows && status == QC_OK; row++) {
        float loss = 0.0f, *best = a->loss + row * a->n_blocks + block;
        for (size_t i = 0; i < n; i++)
            loss += a->product[row * n + i] * error[row * cols + i];
        int better = first || loss < *best;
        size_t at = row * a->coder->row_bytes + block * bytes;
        if (better && !first)
            memcpy(dst + at, a->bytes + at, bytes);
        *best = better ? loss : *best;
    }
    return status;
}

static qc_status judge(const attempt *a, qc_job *job, unsigned char *dst, int first)
{
    const unsigned char *bytes = first ? dst : a->bytes;
    qc_status status = qc_decode_rows(job, a->coder, a->error, bytes, a->n_rows);
    for (size_t i = 0; i < a->n_rows * a->p->cols && status == QC_OK; i++)
        a->error[i] -= a->w[i];
    for (size_t block = 0; block < a->n_blocks && status == QC_OK; block++)
        status = judge_block(a, job, block, dst, first);
    return status;
}

static qc_status search_ranges(qc_job *job, attempt *a, unsigned char *dst)
{
    qc_status status = attempt_new(job, a);
    if (status == QC_OK)
        status = judge(a, job, dst, 1);
    for (size_t i = 1; i <= a->s->clip && status == QC_OK; i++) {
        clip_rows(a, 1.0f - (1.0f - a->s->clip_to) * (float)i / (float)a->s->clip);
        status = qc_encode_rows(job, a->coder, a->bytes, a->clipped, a->p->importance, a->n_rows);
        if (status == QC_OK)
            status = judge(a, job, dst, 0);
    }
    return status;
}

qc_status awq_round(qc_job *job, const void *state, const void *made, const qc_linear *linear, float *w, size_t n_rows,
                    void *dst)
{
    const prepared *p = (const prepared *)made;
    if (p && p->cols != linear->cols)
        return qc_fail(job, QC_E_INVALID, "statistics are of %zu columns, the weight has %zu", p->cols, linear->cols);
    qc_status status = qc_check_weights(job, w, n_rows, linear->cols);
    if (status == QC_OK)
        status = qc_encode_rows(job, linear->coder, dst, w, p ? p->importance : NULL, n_rows);
    if (status != QC_OK || !p || !p->block_cols)
        return status;
    attempt a = {.s = (const awq_state *)state,
                 .p = p,
                 .coder = linear->coder,
                 .w = w,
                 .n_rows = n_rows,
                 .n_blocks = p->cols / p->block_cols};
    return search_ranges(job, &a, (unsigned char *)dst);
}
