/* Named arrays become files: one, or shards and an index where that would be larger than shard_bytes. */
#ifndef SAFETENSORS_SHARDS_H
#define SAFETENSORS_SHARDS_H

#include "safetensors.h"

/* An array of the output: a tensor, or one of the several that a tensor is kept in. */
typedef struct st_array {
    const char *name;
    const st_dtype *dtype;
    uint32_t n_dims;
    uint64_t dims[QC_MAX_DIMS]; /* as in the header: the last is the fastest */
    int part; /* of a checkpoint's linear; else 0 */
    size_t tensor; /* of the model: arrays of one tensor come in a row and go to one shard */
    uint64_t bytes, begin; /* begin: in its shard's data */
    uint32_t shard, file;
    uint64_t at; /* in the file */
} st_array;

/* A tensor as it is. */
qc_status st_plain_array(qc_job *job, const qc_tensor *t, size_t tensor, st_array *a);

/* Fails where dimensions and dtype make no size. */
qc_status st_size_array(qc_job *job, st_array *a);

/* Lays out all files that hold the n arrays, sized already; file and at are set. */
qc_status st_lay_out(qc_job *job, const qc_model *model, st_array *arrays, size_t n, double shard_bytes,
                     const qc_layout *out);

/* A JSON file of the output, indented. Takes the reference; NULL: out of memory. */
qc_status st_lay_out_json(qc_job *job, const qc_layout *out, const char *name, json_t *root);
qc_status st_lay_out_text(qc_job *job, const qc_layout *out, const char *name, const char *text, size_t n);

#endif
