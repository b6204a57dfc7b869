/* Formats without files: a folder in memory that a format reads from and writes to, and a model that collects what a
 * scan reports.
 *
 *     memory_folder f;
 *     memory_folder_begin(&f);
 *     memory_folder_add(&f, "model.gguf", bytes, n);      file 0
 *     memory_model m;
 *     memory_model_begin(&m);
 *     format->scan(job, &f.source, &m.scan, &index);
 */
#ifndef MEMORY_SOURCE_H
#define MEMORY_SOURCE_H

#include "qcore/format.h"

typedef struct memory_file {
    char *name; /* NULL: the output path itself */
    unsigned char *data;
    uint64_t length;
} memory_file;

/* Where layout put a tensor. */
typedef struct memory_place {
    int set;
    uint32_t file;
    uint64_t at;
} memory_place;

typedef struct memory_folder {
    qc_source source;
    qc_layout layout;
    qc_sink sink;
    const char *path; /* where files that are not in memory are loaded from; NULL: nowhere */
    memory_file *files;
    uint32_t n_files;
    memory_place *places; /* by tensor, of layout */
    size_t n_places;
    uint64_t max_bytes; /* of a file that layout may ask for */
} memory_folder;

void memory_folder_begin(memory_folder *f);
void memory_folder_end(memory_folder *f);
uint32_t memory_folder_add(memory_folder *f, const char *name, const void *data, uint64_t length); /* copied */
void memory_folder_rename(memory_folder *f, uint32_t file, const char *name);
memory_file *memory_folder_find(memory_folder *f, const char *name); /* NULL: absent */

typedef struct memory_model {
    qc_scan scan;
    qc_model model; /* of what was reported, ready for layout */
    qc_tensor **tensors;
    qc_meta **metas;
} memory_model;

void memory_model_begin(memory_model *m);
void memory_model_end(memory_model *m);
void memory_model_add_tensor(memory_model *m, const qc_tensor *t); /* copied */
void memory_model_add_meta(memory_model *m, const qc_meta *meta); /* copied */
const qc_tensor *memory_model_tensor(const memory_model *m, const char *name); /* NULL: absent */
const qc_meta *memory_model_meta(const memory_model *m, const char *key);

/* Bytes of one value in a qc_meta; 0: no such type. */
size_t memory_value_bytes(uint32_t type);

/* Bytes of a tensor as it is loaded: what it has in the file, or, in parts, f32. */
size_t memory_tensor_bytes(const qc_tensor *t);

/* All rows of a scanned tensor as they lie, or, in parts, by the format's load, which is then asked for f32. */
qc_status memory_load(qc_job *job, const qc_format_desc *format, const void *index, const memory_folder *f,
                      const qc_tensor *t, void *dst);

/* The rows of tensor i to where layout placed it. */
qc_status memory_store(qc_job *job, const qc_format_desc *format, const void *index, const memory_folder *f,
                       const qc_tensor *t, size_t i, const void *src);

#endif
