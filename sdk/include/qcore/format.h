/* Formats: file containers. Kind "qcore.format/1".
 *
 * A format sees bytes, never files: the host opens, bounds, writes beside and renames. Only the format knows which
 * arrays a tensor is kept in; everyone else sees logical tensors and rows.
 *
 * plugin.ini: `files = *.gguf` (patterns by which a path or a folder's file is recognized, in order of preference);
 * `writes = folder` where the output path names a folder, `nothing` where there is no layout (else a file);
 * `holds = statistics` where such files lie beside a model and are none; `counts = windows` where a file of statistics
 * has one count for all matrices of an entry, that of windows, and its values are mean squares times that number.
 */
#ifndef QCORE_FORMAT_H
#define QCORE_FORMAT_H

#include "qcore/encoding.h"
#include "qcore/model.h"

#define QC_KIND_FORMAT "qcore.format/1"

enum {
    QC_FORMAT_ORDER = 1 << 16, /* can store a column order */
    QC_FORMAT_CANONICAL = 1 << 17, /* names and metadata are canonical: read without an architecture plugin, and
                                      written with the model's canonical names */
    QC_FORMAT_FOLDER = 1 << 18 /* the output path is a folder: layout names the files in it */
};

/* The model to write. Tensors come in the order of the plan, encoding and row_bytes fixed, `file` and `at` unset. */
typedef struct qc_model {
    uint32_t size;
    size_t n_tensors, n_metas;
    const qc_tensor *const *tensors;
    const qc_meta *const *metas;
    /* Since ABI 0.3: the family's own folder that the model was read from, for its config.json; NULL where it came from a
     * file of canonical names. Files that layout does not write itself are copied from it by the host. */
    const qc_source *folder;
} qc_model;

/* Where a format says which programs take what it writes. Copied. [main-thread] */
typedef struct qc_loaders {
    uint32_t size;
    /* takes: 1 yes, 0 no; why: what decides it, or NULL. */
    qc_status (*loader)(const struct qc_loaders *out, qc_job *job, const char *name, int takes, const char *why);
} qc_loaders;

/* Where layout says what the files look like. [main-thread] */
typedef struct qc_layout {
    uint32_t size;
    /* A file of the output; name NULL: the output path itself (only without QC_FORMAT_FOLDER). Index in *file. */
    qc_status (*file)(const struct qc_layout *out, qc_job *job, const char *name, uint64_t bytes, uint32_t *file);
    qc_status (*place)(const struct qc_layout *out, qc_job *job, size_t tensor, uint32_t file, uint64_t at);
    /* Bytes that are known already: headers, tables, padding. Copied. Gaps are zero. */
    qc_status (*bytes)(const struct qc_layout *out, qc_job *job, uint32_t file, uint64_t at, const void *data,
                       size_t n);
} qc_layout;

/* Files being written; every range is checked against the size given in layout. [any-thread] */
typedef struct qc_sink {
    uint32_t size;
    qc_status (*write_at)(const struct qc_sink *sink, qc_job *job, uint32_t file, uint64_t at, const void *data,
                          size_t n);
} qc_sink;

/* A reader has `scan`, a writer has `layout`; load and store may be NULL: row r then lies at t->at + r * row_bytes. So it
 * does for every tensor whose `file` is not QC_FILE_PARTS: load is asked for those alone. */
typedef struct qc_format_desc {
    qc_desc base;
    uint32_t row_multiple; /* chunks given to load and store are a multiple of this; the last may be short; 0: 1 */
    int (*probe)(const char *file_name, const void *head, size_t n); /* 0 no .. 100 certain. [any-thread] */
    /* Reports every tensor and all metadata of source file 0 and of the files that belong to it. [main-thread] */
    qc_status (*scan)(qc_job *job, const qc_source *src, const qc_scan *out, void **index);
    const char *(*refuses)(const qc_tensor *t); /* NULL: can store; else why not (static). [any-thread] */
    qc_status (*layout)(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out,
                        void **index); /* [main-thread] */
    qc_status (*load)(qc_job *job, const void *index, const qc_source *src, const qc_tensor *t, const qc_coder *e,
                      uint64_t row, size_t n_rows, void *dst); /* [any-thread] */
    qc_status (*store)(qc_job *job, const void *index, const qc_sink *sink, const qc_tensor *t, const qc_coder *e,
                       uint64_t row, size_t n_rows, const void *src); /* [any-thread] */
    void (*release)(const qc_host *host, void *index); /* [main-thread] */
    /* Since ABI 0.3, may be NULL: who takes the model as it will be, for the plan. */
    qc_status (*loaders)(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_loaders *out);
} qc_format_desc;

#endif
