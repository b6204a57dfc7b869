/* Checkpoints: folders in which linears are kept as whole codes in arrays of their own, as GPTQ, AWQ and
 * compressed-tensors do, and all else as plain safetensors. A layout says which arrays a linear has and how rows get
 * into them; what they share is in checkpoint.c. Facts: the packing code of GPTQModel, AutoAWQ and compressed-tensors,
 * and the loaders of vLLM and Transformers.
 *
 * Everywhere W[o, i] = scale * (u - zero), u and zero unsigned; `cols` inputs i, `rows` outputs o, groups of inputs. */
#ifndef SAFETENSORS_CHECKPOINT_H
#define SAFETENSORS_CHECKPOINT_H

#include "packing.h"
#include "shards.h"

/* The arrays of a linear. */
enum { CK_CODES, CK_SCALES, CK_ZEROS, CK_GROUPS, CK_SHAPE, CK_N_PARTS };

/* Of a group of weights. */
typedef struct ck_scheme {
    uint32_t bits, group; /* group: weights; 0: the whole row */
    int symmetric; /* zero is 2^(bits - 1) */
} ck_scheme;

typedef struct ck_linear {
    const char *name; /* with ".weight" */
    ck_scheme scheme;
    uint64_t rows, cols, groups; /* groups: of a row */
    size_t tensor; /* of the model */
    int has_order;
    struct {
        uint32_t file;
        uint64_t at;
    } part[CK_N_PARTS];
} ck_linear;

typedef struct ck_layout ck_layout;

/* The checkpoint as it will be; what layout leaves for store. */
typedef struct ck_folder {
    const ck_layout *layout;
    const st_dtype *scale_dtype;
    int variant; /* the layout's own: which of its forms */
    size_t n;
    ck_linear *linears; /* in the model's order; for store: by name */
} ck_folder;

/* What an array of a linear looks like. */
typedef struct ck_array {
    int part;
    uint32_t n_dims;
    const char *suffix, *dtype; /* NAME "." suffix instead of NAME ".weight" */
    uint64_t dims[2];
} ck_array;

/* Rows on their way: `n` outputs from `row` on. */
typedef struct ck_rows {
    qc_job *job;
    const qc_sink *sink;
    const ck_folder *folder;
    const ck_linear *linear;
    const uint32_t *order; /* group g has inputs order[g * group], ... ; NULL: in their own order */
    uint64_t row;
    size_t n;
    uint8_t *code; /* [input][n], unsigned */
    uint8_t *zero; /* [group][n], unsigned */
    float *scale; /* [group][n] */
} ck_rows;

struct ck_layout {
    const char *id;
    const char *(*refuses)(const qc_tensor *t, const ck_scheme *s); /* NULL: can keep it */
    /* The form that settings ask for, and scale_dtype; fails where the linears do not go together. */
    qc_status (*choose)(qc_job *job, const qc_model *model, const qc_settings *settings, ck_folder *f);
    size_t (*arrays)(const ck_folder *f, const ck_linear *l, ck_array arrays[CK_N_PARTS]);
    json_t *(*quantization)(const qc_model *model, const ck_folder *f); /* of config.json; NULL: out of memory */
    const char *also; /* a file that holds the same, or NULL */
    qc_status (*store)(const ck_rows *r);
};

extern const ck_layout ck_gptq, ck_awq, ck_compressed_tensors;

/* ---- what descriptors are made of ---- */

const char *ck_refuses(const ck_layout *layout, const qc_tensor *t);
qc_status ck_write(const ck_layout *layout, qc_job *job, const qc_model *model, const qc_settings *settings,
                   const qc_layout *out, void **index);
qc_status ck_store(qc_job *job, const void *index, const qc_sink *sink, const qc_tensor *t, const qc_coder *e,
                   uint64_t row, size_t n_rows, const void *src);
void ck_release(const qc_host *host, void *index);

/* The checkpoint without files, after all checks; in job's scratch. */
qc_status ck_plan(const ck_layout *layout, qc_job *job, const qc_model *model, const qc_settings *settings,
                  ck_folder **out);

/* Who takes it. */
qc_status ck_loaders(const ck_layout *layout, qc_job *job, const qc_model *model, const qc_settings *settings,
                     const qc_loaders *out);
qc_status st_loaders(qc_job *job, const qc_model *model, const qc_settings *settings, const qc_loaders *out);

/* ---- help for layouts ---- */

int ck_scheme_of(const qc_tensor *t, ck_scheme *s); /* 0: not kept as codes */
int ck_same_scheme(const ck_scheme *a, const ck_scheme *b);

/* How many characters of a tensor's name are its module's: all before ".weight"; 0: it has no such name. */
size_t ck_module_length(const char *name);
/* Is this matrix a linear that is left alone? Embeddings are none. */
int ck_is_left_alone(const qc_tensor *t);
json_t *ck_left_alone(const qc_model *model); /* names of their modules */
/* Programs fuse some linears of a block and then know them by this name ("qkv_proj"); NULL: not this one. last: where
 * the module's own word begins. */
const char *ck_fused_name(const char *name, size_t *last);
int ck_is_head(const char *name); /* the output head, or its weight? */
int ck_quantizes_head(const ck_folder *f);

/* n_lines runs of `bytes` to one array, `stride` bytes apart from byte `at` of it on. */
qc_status ck_put(const ck_rows *r, int part, uint64_t at, uint64_t stride, const void *data, size_t bytes,
                 size_t n_lines);
/* Codes or zero points as bit strings, from byte `at` of an array on. down: word by word, all strings beside each other;
 * else each string is a run of words. `stride` bytes from run to run. */
typedef struct ck_strings {
    int part, down;
    const uint8_t *fields;
    ck_strides from;
    size_t n_fields, n_strings;
    uint64_t at, stride;
} ck_strings;

qc_status ck_put_strings(const ck_rows *r, const ck_strings *s);
/* Scales [n_lines][n] in the folder's scale dtype, likewise; fails where one cannot be kept exactly. across: the scales
 * of an output stand together ([n][groups]). */
qc_status ck_put_scales(const ck_rows *r, uint64_t at, uint64_t stride, int across);

#endif
