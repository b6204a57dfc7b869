/* Rounding, columns weighted as imatrix does, and the search for ranges: every block of a row is also rounded with its
 * weights clipped to less and less of their range, which makes its steps finer, and of all these the bytes are kept with
 * which the row's output is nearest to what it was.
 *
 *     loss = (1 - r) |X e|^2 / n + r sum of m_j e_j^2         e = what the row became - what it was
 *
 * X are the samples, m the mean squares of all of calibration: the samples are few, and what follows them alone would be
 * fitted to them. Blocks are judged by the whole row's output, not by their own part of it, for clipping makes
 * all of them smaller: errors that are small in each block and add up. Each block's choice is the best while the others
 * stay, block after block, a few times over.
 */
#include "awq.h"

/* MOST_SAMPLES: of the host's recording. */
enum { WIDEST_BLOCK = 256, MOST_SAMPLES = 512, MOST_PASSES = 3 };

typedef struct prepared {
    size_t cols, block_cols; /* block_cols 0: nothing is clipped */
    size_t n_samples;
    float *importance, *mean_square; /* [cols] */
    float *samples; /* [cols][n_samples] */
} prepared;

/* ---- once per input ---- */

static int is_clipped(const awq_state *s, const qc_input *input, const qc_encoding_desc *shape)
{
    return s->clip > 0 && shape->block_cols > 1 && shape->block_cols <= WIDEST_BLOCK && input->samples &&
           input->n_samples > 0;
}

static qc_status fill_columns(qc_job *job, const awq_state *s, const qc_input *input, prepared *p)
{
    for (size_t col = 0; col < input->cols; col++) {
        float m = input->mean_square[col];
        if (!qc_is_finite(m) || m < 0.0f)
            return qc_fail(job, QC_E_NUMERIC, "mean square of column %zu is negative, NaN or Inf", col);
        p->importance[col] = awq_importance((double)m, s->power);
        p->mean_square[col] = m;
    }
    for (size_t row = 0; row < p->n_samples; row++)
        for (size_t col = 0; col < p->cols; col++)
            p->samples[col * p->n_samples + row] = input->samples[row * p->cols + col];
    return QC_OK;
}

qc_status awq_prepare(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                      uint32_t *order, void **out)
{
    const awq_state *s = (const awq_state *)state;
    const qc_host *host = job->host;
    (void)order;
    *out = NULL;
    if (!input || !input->mean_square)
        return QC_OK;
    prepared *p = (prepared *)host->alloc(host, sizeof *p);
    if (!p)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    int clipped = is_clipped(s, input, shape);
    p->cols = input->cols;
    p->block_cols = clipped ? shape->block_cols : 0;
    p->n_samples = clipped ? input->n_samples : 0;
    p->importance = (float *)host->alloc(host, p->cols * sizeof(float));
    p->mean_square = (float *)host->alloc(host, p->cols * sizeof(float));
    p->samples = (float *)host->alloc(host, (clipped ? p->n_samples * p->cols : 1) * sizeof(float));
    qc_status status = p->importance && p->mean_square && p->samples
                           ? fill_columns(job, s, input, p)
                           : qc_fail(job, QC_E_NOMEM, "out of memory for the inputs of %zu columns", p->cols);
    if (status == QC_OK)
        *out = p;
    else
        awq_release(host, p);
    return status;
}

void awq_release(const qc_host *host, void *made)
{
    prepared *p = (prepared *)made;
    if (!p)
        return;
    host->free(host, p->importance);
    host->free(host, p->mean_square);
    host->free(host, p->samples);
    host->free(host, p);
}

uint64_t awq_memory(const void *state, size_t cols)
{
    uint64_t samples = ((const awq_state *)state)->clip ? MOST_SAMPLES : 0;
    return cols * sizeof(float) * (2 + samples);
}

/* ---- a chunk of rows ---- */

typedef struct chunk {
    const awq_state *s;
    const prepared *p;
    const qc_coder *coder;
    const float *w;
    size_t n_rows, n_blocks, n_ranges;
    unsigned char *bytes; /* of each range, [n_ranges][n_rows][row_bytes]; range 0 is a block's own */
    unsigned char *chosen; /* [n_rows][n_blocks] */
    float *tile, *error; /* [block_cols][QC_LANES]; one block as one range has it, less w, [n_rows][block_cols] */
    float *part; /* X_b e of each range, [n_ranges][n_rows][n_samples] */
    float *own; /* sum of m_j e_j^2 of each range, [n_ranges][n_rows] */
    float *output; /* X e, [n_rows][n_samples] */
} chunk;

static qc_status chunk_new(qc_job *job, chunk *k)
{
    size_t n = k->n_rows, samples = k->p->n_samples;
    k->bytes = (unsigned char *)job->scratch(job, k->n_ranges * n * k->coder->row_bytes);
    k->chosen = (unsigned char *)job->scratch(job, n * k->n_blocks);
    k->tile = (float *)job->scratch(job, k->p->block_cols * QC_LANES * sizeof(float));
    k->error = (float *)job->scratch(job, n * k->p->cols * sizeof(float)); /* first the clipped rows */
    k->part = (float *)job->scratch(job, k->n_ranges * n * samples * sizeof(float));
    k->own = (float *)job->scratch(job, k->n_ranges * n * sizeof(float));
    k->output = (float *)job->scratch(job, n * samples * sizeof(float));
    int complete = k->bytes && k->chosen && k->tile && k->error && k->part && k->own && k->output;
    if (!complete)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu rows", n);
    memset(k->chosen, 0, n * k->n_blocks);
    memset(k->output, 0, n * samples * sizeof(float));
    return QC_OK;
}

uint64_t awq_round_memory(const void *state, size_t n_rows, size_t cols)
{
    uint64_t ranges = ((const awq_state *)state)->clip + 1;
    uint64_t row = cols * (sizeof(float) + 2 * ranges) + (ranges + 1) * MOST_SAMPLES * sizeof(float);
    return ranges > 1 ? n_rows * row : 0;
}

/* Every sub-block to a share of its own range. */
static void clip_rows(const chunk *k, float share, float *clipped)
{
    const size_t n = qc_sub_cols(k->coder), total = k->n_rows * k->p->cols;
    for (size_t at = 0; at < total; at += n) {
        float most = 0.0f;
        for (size_t i = 0; i < n; i++)
            most = fabsf(k->w[at + i]) > most ? fabsf(k->w[at + i]) : most;
        most *= share;
        for (size_t i = 0; i < n; i++) {
            float low = k->w[at + i] < -most ? -most : k->w[at + i];
            clipped[at + i] = low > most ? most : low;
        }
    }
}

static qc_status round_ranges(const chunk *k, qc_job *job)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < k->n_ranges && status == QC_OK; i++) {
        clip_rows(k, 1.0f - (1.0f - k->s->clip_to) * (float)i / (float)k->s->clip, k->error);
        status = qc_encode_rows(job, k->coder, k->bytes + i * k->n_rows * k->coder->row_bytes, k->error,
                                k->p->importance, k->n_rows);
    }
    return status;
}

/* Error of one block as one range has it. */
static void block_error(const chunk *k, size_t block, size_t range)
{
    const size_t n = k->p->block_cols, cols = k->p->cols;
    const unsigned char *bytes = k->bytes + range * k->n_rows * k->coder->row_bytes;
    const float *m = k->p->mean_square + block * n;
    for (size_t row = 0; row < k->n_rows; row += QC_LANES) {
        size_t lanes = k->n_rows - row < QC_LANES ? k->n_rows - row : QC_LANES;
        k->coder->ops->decode(k->coder, k->tile,
                              bytes + row * k->coder->row_bytes + block * k->coder->desc->block_bytes, lanes, n);
        qc_rows_from_tile(k->error + row * n, n, k->tile, lanes, n);
    }
    for (size_t row = 0; row < k->n_rows; row++) {
        float *e = k->error + row * n, sum = 0.0f;
        for (size_t i = 0; i < n; i++) {
            e[i] -= k->w[row * cols + block * n + i];
            sum += m[i] * (e[i] * e[i]);
        }
        k->own[range * k->n_rows + row] = sum;
    }
}

static qc_status block_parts(const chunk *k, qc_job *job, size_t block, size_t range)
{
    const size_t n = k->p->block_cols, samples = k->p->n_samples;
    block_error(k, block, range);
    return k->s->matrix->gemm(job, k->n_rows, samples, n, k->error, n, k->p->samples + block * n * samples, samples, 0,
                              k->part + range * k->n_rows * samples, samples);
}

static float squared_sum(const float *a, const float *b, const float *c, size_t n)
{
    float lane[QC_LANES] = {0}, sum = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float v = a[i] - b[i] + c[i];
        lane[i % QC_LANES] += v * v;
    }
    for (size_t l = 0; l < QC_LANES; l++)
        sum += lane[l];
    return sum;
}

/* The best range for one block of a row while its others stay; 1 if that is another. */
static int choose_range(const chunk *k, size_t block, size_t row)
{
    const size_t samples = k->p->n_samples, stride = k->n_rows * samples;
    unsigned char *chosen = k->chosen + row * k->n_blocks + block, before = *chosen;
    float *output = k->output + row * samples, least = 0.0f;
    const float *part = k->part + row * samples, *now = part + before * stride;
    for (size_t range = 0; range < k->n_ranges; range++) {
        size_t at = (before + range) % k->n_ranges; /* as it is comes first, and wins ties */
        float loss = (1.0f - k->s->shrink) / (float)samples * squared_sum(output, now, part + at * stride, samples) +
                     k->s->shrink * k->own[at * k->n_rows + row];
        if (range == 0 || loss < least) {
            least = loss;
            *chosen = (unsigned char)at;
        }
    }
    if (*chosen == before)
        return 0;
    const float *then = part + *chosen * stride;
    for (size_t i = 0; i < samples; i++)
        output[i] += then[i] - now[i];
    return 1;
}

/* Once over all blocks; *changed counts. first: only adds up what the blocks as they are do to the output. */
static qc_status pass(const chunk *k, qc_job *job, int first, size_t *changed)
{
    qc_status status = QC_OK;
    *changed = 0;
    for (size_t block = 0; block < k->n_blocks && status == QC_OK; block++) {
        for (size_t range = 0; range < (first ? 1 : k->n_ranges) && status == QC_OK; range++)
            status = block_parts(k, job, block, range);
        for (size_t row = 0; row < k->n_rows && status == QC_OK && !first; row++)
            *changed += (size_t)choose_range(k, block, row);
        for (size_t i = 0; first && status == QC_OK && i < k->n_rows * k->p->n_samples; i++)
            k->output[i] += k->part[i];
    }
    return status;
}

static void keep_chosen(const chunk *k, unsigned char *dst)
{
    const size_t bytes = k->coder->desc->block_bytes;
    for (size_t row = 0; row < k->n_rows; row++)
        for (size_t block = 0; block < k->n_blocks; block++) {
            size_t at = row * k->coder->row_bytes + block * bytes;
            size_t range = k->chosen[row * k->n_blocks + block];
            memcpy(dst + at, k->bytes + range * k->n_rows * k->coder->row_bytes + at, bytes);
        }
}

static qc_status search_ranges(qc_job *job, chunk *k, unsigned char *dst)
{
    size_t changed = 1;
    qc_status status = chunk_new(job, k);
    if (status == QC_OK)
        status = round_ranges(k, job);
    for (size_t i = 0; i <= MOST_PASSES && changed && status == QC_OK; i++) {
        status = pass(k, job, i == 0, &changed);
        changed += i == 0;
    }
    if (status == QC_OK)
        keep_chosen(k, dst);
    return status;
}

qc_status awq_round(qc_job *job, const void *state, const void *made, const qc_linear *linear, float *w, size_t n_rows,
                    void *dst)
{
    const prepared *p = (const prepared *)made;
    const awq_state *s = (const awq_state *)state;
    if (p && p->cols != linear->cols)
        return qc_fail(job, QC_E_INVALID, "statistics are of %zu columns, the weight has %zu", p->cols, linear->cols);
    qc_status status = qc_check_weights(job, w, n_rows, linear->cols);
    if (status != QC_OK)
        return status;
    if (!p || !p->block_cols)
        return qc_encode_rows(job, linear->coder, dst, w, p ? p->importance : NULL, n_rows);
    chunk k = {.s = s,
               .p = p,
               .coder = linear->coder,
               .w = w,
               .n_rows = n_rows,
               .n_blocks = p->cols / p->block_cols,
               .n_ranges = s->clip + 1};
    return search_ranges(job, &k, (unsigned char *)dst);
}
