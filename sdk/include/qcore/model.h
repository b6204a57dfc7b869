/* Words that formats, architectures and tokenizers share: files to read, tensors, metadata.
 *
 * Canonical form: names and orientation are GGUF's (`blk.0.attn_q.weight`; dims[0] is the fastest dimension, the inputs
 * of a linear), metadata keys and types too. A GGUF file is canonical already; an architecture plugin turns a Hugging
 * Face folder into it.
 */
#ifndef QCORE_MODEL_H
#define QCORE_MODEL_H

#include "qcore/host.h"
#include <string.h>

enum { QC_MAX_DIMS = 4 };

/* The encoding of vectors that stay float32 (QC_NAME_KEEP_F32) and of generated ones: always there. */
#define QC_ENCODING_F32 "f32"

/* A named array as a file keeps it or will keep it. Rows have dims[0] weights; there are dims[1] * dims[2] * dims[3]. */
typedef struct qc_tensor {
    uint32_t size;
    uint32_t n_dims, file; /* n_dims: 0 .. QC_MAX_DIMS; missing dims are 1 */
    const char *name; /* borrowed */
    const char *encoding; /* id, also of one that no plugin decodes: such a tensor can still be carried over */
    uint64_t dims[QC_MAX_DIMS];
    uint64_t at, bytes; /* of the tensor in its file, counted from the file's start */
    uint64_t row_bytes; /* bytes == row_bytes * rows, where rows are stored one after another */
    /* Stored column order (act-order): column i of a row is input column order[i]; NULL: none. In layout it is there and
     * still 0 .. dims[0] - 1; it counts when rows are stored. */
    const uint32_t *order;
    /* Since ABI 0.3: the encoding's descriptor; NULL: no plugin decodes it. Set for those who write. */
    const struct qc_encoding_desc *desc;
} qc_tensor;

/* qc_tensor.file of what is kept in several arrays: only the format's `load` knows where; `at` counts for nothing. */
#define QC_FILE_PARTS UINT32_MAX

/* A piece of text that need not end in a zero byte and may hold any byte. Frozen layout: crosses in arrays. */
typedef struct qc_text {
    const char *data;
    size_t length;
} qc_text;

/* Types of metadata values, numbered as in GGUF. */
enum {
    QC_U8 = 0,
    QC_I8 = 1,
    QC_U16 = 2,
    QC_I16 = 3,
    QC_U32 = 4,
    QC_I32 = 5,
    QC_F32 = 6,
    QC_BOOL = 7,
    QC_TEXT = 8,
    QC_U64 = 10,
    QC_I64 = 11,
    QC_F64 = 12,
    QC_N_TYPES = 13
};

/* One entry of a model's metadata. data: `count` values in the machine's byte order; QC_TEXT: qc_text[count];
 * QC_BOOL: one byte each, 0 or 1. */
typedef struct qc_meta {
    uint32_t size;
    const char *key; /* borrowed */
    uint32_t type; /* of the value, or of the elements of an array */
    uint32_t is_array;
    uint64_t count; /* 1 unless is_array */
    const void *data; /* borrowed */
} qc_meta;

/* A model's metadata, read-only. [any-thread] */
typedef struct qc_metadata {
    uint32_t size;
    const qc_meta *(*find)(const struct qc_metadata *metadata, const char *key); /* NULL: none; lives as long */
} qc_metadata;

/* The files of one folder, open for reading. The host opens and bounds them: every range is checked against the file's
 * size, names with a slash are refused. File 0 is the one the user named, or, of a folder, the one the format's
 * manifest matched. [any-thread] except open. */
typedef struct qc_source {
    uint32_t size;
    /* Index of a file of the folder in *file, opened now if need be; QC_E_IO (with a message) where there is none and
     * `optional` is 0; with `optional` *file is then UINT32_MAX. [main-thread] */
    qc_status (*open)(const struct qc_source *src, qc_job *job, const char *name, int optional, uint32_t *file);
    const char *(*name)(const struct qc_source *src, uint32_t file); /* without folder; static while src lives */
    uint64_t (*length)(const struct qc_source *src, uint32_t file);
    /* All n bytes, or a failure with the file's name. */
    qc_status (*read_at)(const struct qc_source *src, qc_job *job, uint32_t file, uint64_t at, size_t n, void *dst);
} qc_source;

/* Where a reader reports what it found. Everything reported is copied. Duplicate names or keys fail. [main-thread] */
typedef struct qc_scan {
    uint32_t size;
    qc_status (*tensor)(const struct qc_scan *out, qc_job *job, const qc_tensor *tensor);
    qc_status (*meta)(const struct qc_scan *out, qc_job *job, const qc_meta *meta);
} qc_scan;

/* A whole file in memory, zero-terminated beyond its length, from host->alloc; owned: host->free. NULL and 0 with
 * QC_OK where the file is optional and absent. max_bytes bounds what a hostile folder can make us allocate. */
static inline qc_status qc_read_file(qc_job *job, const qc_source *src, const char *name, int optional,
                                     uint64_t max_bytes, char **data, size_t *length)
{
    uint32_t file = UINT32_MAX;
    *data = NULL;
    *length = 0;
    qc_status status = src->open(src, job, name, optional, &file);
    if (status != QC_OK || file == UINT32_MAX)
        return status;
    uint64_t n = src->length(src, file);
    if (n > max_bytes)
        return qc_fail(job, QC_E_LIMIT, "%s: %llu bytes, more than the %llu such a file may have", name,
                       (unsigned long long)n, (unsigned long long)max_bytes);
    char *bytes = (char *)job->host->alloc(job->host, (size_t)n + 1);
    if (!bytes)
        return qc_fail(job, QC_E_NOMEM, "%s: out of memory for %llu bytes", name, (unsigned long long)n);
    status = src->read_at(src, job, file, 0, (size_t)n, bytes);
    if (status != QC_OK) {
        job->host->free(job->host, bytes);
        return status;
    }
    *data = bytes;
    *length = (size_t)n;
    return QC_OK;
}

/* Scalar metadata, reported in one line each. */
static inline qc_status qc_meta_u32(const qc_scan *out, qc_job *job, const char *key, uint32_t value)
{
    const qc_meta meta = {sizeof meta, key, QC_U32, 0, 1, &value};
    return out->meta(out, job, &meta);
}

static inline qc_status qc_meta_f32(const qc_scan *out, qc_job *job, const char *key, float value)
{
    const qc_meta meta = {sizeof meta, key, QC_F32, 0, 1, &value};
    return out->meta(out, job, &meta);
}

static inline qc_status qc_meta_bool(const qc_scan *out, qc_job *job, const char *key, int value)
{
    const uint8_t byte = value != 0;
    const qc_meta meta = {sizeof meta, key, QC_BOOL, 0, 1, &byte};
    return out->meta(out, job, &meta);
}

static inline qc_status qc_meta_text(const qc_scan *out, qc_job *job, const char *key, const char *value)
{
    const qc_text text = {value, strlen(value)};
    const qc_meta meta = {sizeof meta, key, QC_TEXT, 0, 1, &text};
    return out->meta(out, job, &meta);
}

/* Scalar metadata, read in one line each; `otherwise` where the key is absent or of another kind. */
static inline double qc_metadata_number(const qc_metadata *m, const char *key, double otherwise)
{
    const qc_meta *meta = m->find(m, key);
    if (!meta || meta->is_array || meta->count != 1)
        return otherwise;
    switch (meta->type) {
    case QC_U8:
        return *(const uint8_t *)meta->data;
    case QC_I8:
        return *(const int8_t *)meta->data;
    case QC_U16:
        return *(const uint16_t *)meta->data;
    case QC_I16:
        return *(const int16_t *)meta->data;
    case QC_U32:
        return *(const uint32_t *)meta->data;
    case QC_I32:
        return *(const int32_t *)meta->data;
    case QC_F32:
        return (double)*(const float *)meta->data;
    case QC_BOOL:
        return *(const uint8_t *)meta->data;
    case QC_U64:
        return (double)*(const uint64_t *)meta->data;
    case QC_I64:
        return (double)*(const int64_t *)meta->data;
    case QC_F64:
        return *(const double *)meta->data;
    default:
        return otherwise;
    }
}

/* NULL where the key is absent or no single text. */
static inline const qc_text *qc_metadata_text(const qc_metadata *m, const char *key)
{
    const qc_meta *meta = m->find(m, key);
    return meta && meta->type == QC_TEXT && !meta->is_array && meta->count == 1 ? (const qc_text *)meta->data : NULL;
}

#endif
