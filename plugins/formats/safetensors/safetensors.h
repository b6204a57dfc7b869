/* safetensors, one file or shards with an index. Facts: the format's description in huggingface/safetensors.
 *
 *   @0  u64 H       bytes of the header, little-endian
 *   @8  header      JSON: {"NAME": {"dtype": "F16", "shape": [rows, cols], "data_offsets": [begin, end]}, ...,
 *                   "__metadata__": {"key": "text", ...}}, spaces at its end
 *   @8+H data       offsets count from here; tensors lie without gaps and without overlaps up to the file's end
 *
 * A sharded model has an index PREFIX.safetensors.index.json: {"weight_map": {"NAME": "FILE", ...}, ...}.
 * Shapes are in C order: qcore's dims are the reverse. */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include "qcore/format.h"
#include "qcore/json.h"

#define QC_SAFETENSORS_VERSION "0.1.0" /* as in plugin.ini */

#define ST_INDEX_SUFFIX ".safetensors.index.json"
#define ST_METADATA "__metadata__"
#define ST_PREFIX "safetensors." /* of the keys under which metadata is reported */

enum { ST_MAX_JSON = 100000000 }; /* bytes of a header or index, as the reference implementation bounds a header */

#define ST_MAX_NUMBER ((uint64_t)1 << 53) /* up to here JSON numbers are exact as reals; no file is larger */

typedef struct st_dtype {
    const char *name, *encoding; /* in the file, in qcore */
    uint32_t bytes; /* of one value */
} st_dtype;

const st_dtype *st_dtype_by_name(const char *name); /* NULL: unknown */
const st_dtype *st_dtype_by_encoding(const char *encoding);

/* Not empty, and without control characters, which would end up in messages? */
int st_clean_name(const char *name);

int st_ends_with(const char *name, const char *suffix);

qc_status st_scan(qc_job *job, const qc_source *src, const qc_scan *out, void **index);
const char *st_refuses(const qc_tensor *t);
qc_status st_layout(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out,
                    void **index);

#endif
