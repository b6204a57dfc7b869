/* Base files of llama-perplexity (--save-all-logits): what a model said of a text. Read only. Little-endian:
 *
 *   @0   "_logits_"
 *   @8   i32 n_ctx, i32 n_vocab, i32 n_chunk
 *   @20  i32 tokens[n_chunk][n_ctx]          as the text has them: a beginning of text is put in place by the reader
 *   then rows[n_chunk][n_ctx - 1 - n_ctx / 2], one for each of the positions n_ctx / 2 .. n_ctx - 2 of a chunk:
 *
 *     f32 scale | f32 lowest | u16 code[n_vocab] | u16 padding where n_vocab is odd
 *
 * log p = scale * code + lowest. The writer cuts off what is 16 or more below the largest, so the smallest codes of a row
 * say "at most this". Reported as
 *
 *   tokens     i32 {n_ctx, n_chunk}
 *   log_probs  f32 {n_vocab, rows}           `load` makes them from the codes; row_bytes are the file's */
#include "qcore/format.h"
#include "qcore/number.h"
#include "qcore/reader.h"

enum { HEAD_BYTES = 20, ROW_HEAD_BYTES = 8, MIN_CONTEXT = 4, PIECE = 2048 };
static const char magic[8] = {'_', 'l', 'o', 'g', 'i', 't', 's', '_'};
#define LOG_PROBS "log_probs"

static uint32_t read_count(qc_reader *r, const char *what, uint32_t least)
{
    uint32_t n = qc_read_u32(r);
    if (r->status == QC_OK && (n < least || n > INT32_MAX))
        qc_reader_fail(r, QC_E_CORRUPT, "%s is %d: damaged", what, (int32_t)n);
    return n;
}

/* A matrix that begins at r->at, cols of which its row_bytes hold; steps over it. file: 0, or QC_FILE_PARTS for `load`. */
static void report(qc_reader *r, const qc_scan *out, const char *name, const char *encoding, uint32_t file,
                   uint64_t cols, uint64_t rows, uint64_t row_bytes)
{
    qc_tensor t = {.size = sizeof t,
                   .n_dims = 2,
                   .file = file,
                   .name = name,
                   .encoding = encoding,
                   .dims = {cols, rows, 1, 1},
                   .at = r->at,
                   .row_bytes = row_bytes};
    if (r->status == QC_OK && !qc_mul_size(rows, row_bytes, &t.bytes))
        qc_reader_fail(r, QC_E_CORRUPT, "%llu rows of %s: damaged", (unsigned long long)rows, name);
    qc_reader_skip(r, t.bytes);
    if (r->status == QC_OK)
        r->status = out->tensor(out, r->job, &t);
}

static qc_status scan(qc_job *job, const qc_source *src, const qc_scan *out, void **index)
{
    qc_reader r = {0};
    char head[sizeof magic] = {0};
    *index = NULL;
    qc_reader_open(&r, job, src, 0);
    qc_read_bytes(&r, head, sizeof head);
    if (r.status == QC_OK && memcmp(head, magic, sizeof magic) != 0)
        qc_reader_fail(&r, QC_E_CORRUPT, "not a base file of llama-perplexity: it does not begin with _logits_");
    uint32_t context = read_count(&r, "its context", MIN_CONTEXT);
    uint32_t vocabulary = read_count(&r, "its vocabulary", 1);
    uint32_t chunks = read_count(&r, "its number of chunks", 1);
    if (r.status != QC_OK)
        return r.status;
    report(&r, out, "tokens", "i32", 0, context, chunks, 4 * (uint64_t)context);
    uint64_t row_bytes = ROW_HEAD_BYTES + 4 * (((uint64_t)vocabulary + 1) / 2);
    report(&r, out, LOG_PROBS, QC_ENCODING_F32, QC_FILE_PARTS, vocabulary,
           (uint64_t)chunks * (context - 1 - context / 2), row_bytes);
    if (r.status == QC_OK)
        r.status = qc_meta_text(out, job, "general.type", "logits");
    return r.status;
}

static int is_probability_scale(float scale, float lowest)
{
    return qc_is_finite(scale) && qc_is_finite(lowest) && scale >= 0.0f && qc_is_finite(scale * 65535.0f + lowest);
}

/* One row as f32, little-endian. */
static qc_status load_row(qc_job *job, const qc_source *src, const qc_tensor *t, uint64_t row, unsigned char *dst)
{
    unsigned char bytes[2 * PIECE];
    uint64_t at = t->at + row * t->row_bytes;
    qc_status status = src->read_at(src, job, 0, at, ROW_HEAD_BYTES, bytes);
    if (status != QC_OK)
        return status;
    float scale = qc_float_from_bits(qc_load_le32(bytes)), lowest = qc_float_from_bits(qc_load_le32(bytes + 4));
    if (!is_probability_scale(scale, lowest))
        return qc_fail(job, QC_E_NUMERIC, "%.100s: row %llu: its scale is negative, NaN or Inf: damaged",
                       src->name(src, 0), (unsigned long long)row);
    at += ROW_HEAD_BYTES;
    for (size_t col = 0; col < t->dims[0]; col += PIECE) {
        size_t n = t->dims[0] - col < PIECE ? (size_t)(t->dims[0] - col) : PIECE;
        status = src->read_at(src, job, 0, at + 2 * col, 2 * n, bytes);
        if (status != QC_OK)
            return status;
        for (size_t i = 0; i < n; i++)
            qc_store_le32(dst + 4 * (col + i), qc_float_bits(scale * (float)qc_load_le16(bytes + 2 * i) + lowest));
    }
    return QC_OK;
}

/* Rows of log-probabilities, f32, little-endian. */
static qc_status load(qc_job *job, const void *index, const qc_source *src, const qc_tensor *t, const qc_coder *e,
                      uint64_t row, size_t n_rows, void *dst)
{
    (void)index, (void)e;
    for (size_t i = 0; i < n_rows; i++) {
        qc_status status = load_row(job, src, t, row + i, (unsigned char *)dst + 4 * i * (size_t)t->dims[0]);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static int probe(const char *file_name, const void *head, size_t n)
{
    (void)file_name;
    return n >= HEAD_BYTES && memcmp(head, magic, sizeof magic) == 0 ? 100 : 0;
}

static const qc_format_desc llama_logits = {
    .base = {.size = sizeof(qc_format_desc),
             .flags = QC_FORMAT_CANONICAL,
             .kind = QC_KIND_FORMAT,
             .id = "llama_logits"},
    .probe = probe,
    .scan = scan,
    .load = load,
};
QC_PLUGIN(&llama_logits.base);
