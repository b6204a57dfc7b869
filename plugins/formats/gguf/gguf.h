/* GGUF, versions 2 and 3, little-endian. Facts: the GGUF specification (docs/gguf.md of ggml-org/ggml).
 *
 *   @0   "GGUF"   u32 version   u64 n_tensors   u64 n_keys
 *   @24  n_keys    x { text key; u32 type; value }
 *        n_tensors x { text name; u32 n_dims; u64 dims[n_dims]; u32 type; u64 offset }
 *        zeros up to a multiple of the alignment
 *   D    data: tensor i at D + offset_i, then zeros up to a multiple of the alignment, the last one too
 *
 * text: u64 length, bytes. array (value type 9): u32 element type, u64 count, elements. bool: one byte. */
#ifndef GGUF_H
#define GGUF_H

#include "qcore/format.h"

enum {
    GGUF_VERSION = 3,
    GGUF_ARRAY = 9, /* value type that announces an array; the others are QC_U8 .. QC_F64 */
    GGUF_MAX_KEY = 65535, /* bytes, of the specification */
    GGUF_MAX_NAME = 63, /* of a tensor, as ggml */
    GGUF_ALIGNMENT = 32 /* where general.alignment is absent */
};

/* A tensor type of ggml: `bytes` for every block of `cols` weights of a row. */
typedef struct gguf_type {
    uint32_t id, cols, bytes;
    const char *encoding; /* id in qcore */
} gguf_type;

const gguf_type *gguf_type_by_id(uint32_t id); /* NULL: unknown or removed */
const gguf_type *gguf_type_by_encoding(const char *encoding);

/* Bytes of one value of a metadata type; of a text: its length field; 0: no such type. */
size_t gguf_value_bytes(uint32_t type);

/* Keys that say how the file is cut and padded, not what the model is: the reader uses them up, the writer decides. */
int gguf_own_key(const char *key);

/* Has a name 1 .. max bytes, none of them a control character? These would end up in messages. */
int gguf_good_name(const char *name, size_t max);

/* n rounded up to a multiple of alignment (a power of two) in *padded; 0 when that does not fit. */
int gguf_pad(uint64_t n, uint64_t alignment, uint64_t *padded);

/* Numbers between file order and machine order, in place. */
void gguf_swap_if_big_endian(void *data, uint64_t count, size_t bytes);

qc_status gguf_scan(qc_job *job, const qc_source *src, const qc_scan *out, void **index);
const char *gguf_refuses(const qc_tensor *t);
qc_status gguf_layout(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_layout *out,
                      void **index);

#endif
