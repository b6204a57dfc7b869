/* Reading packed checkpoints: folders whose linears are kept as whole codes (or FP8 numbers) in arrays of their own, by
 * GPTQ, AWQ or compressed-tensors. Linear P becomes the one tensor "P.weight". Facts: the packing code of GPTQModel,
 * AutoAWQ and compressed-tensors.
 *
 * K inputs, O outputs, G = ceil(K / group) groups, b bits; shapes as the header has them, rows first:
 *
 *              codes                        scales    zeros                       groups
 *   GPTQ       qweight [ceil(K b/32), O]    [G, O]    qzeros [G, ceil(O b/32)]    g_idx [K]           fields down a column
 *   AWQ        qweight [K, O/8]             [G, O]    qzeros [G, O/8]             none                fields of 4 bits along
 *                                                                                                     a row, in word order
 *                                                                                                     0 2 4 6 1 3 5 7
 *   packed     weight_packed                [O, G]    weight_zero_point           weight_g_idx [K]    codes along a row,
 *              [O, ceil(K b/32)]                      [ceil(O b/32), G]                               zeros down a column
 *   plain      weight [O, K] I8 or FP8      [O, G] or [1] or blocks               I8, as the scales
 *
 * Field k of a string of words has the bits k b .. k b + b - 1, counted from bit 0 of word 0 upwards; in packed files
 * that are older than version 0.18 every word has 32 div b fields and no field straddles two words.
 *
 *     W[o, i] = scale * (u - zero)       u, zero: as stored and unsigned; zero = 2^(b - 1) where there are none */
#ifndef SAFETENSORS_READ_PACKED_H
#define SAFETENSORS_READ_PACKED_H

#include "safetensors.h"

enum { PK_MAX_SCHEMES = 16, PK_MAX_BITS = 8 };

typedef enum pk_method { PK_NONE, PK_GPTQ, PK_AWQ, PK_COMPRESSED_TENSORS } pk_method;

/* What GPTQ's zero fields are less than the zero points. */
typedef enum pk_zero_rule {
    PK_ZERO_AS_IT_IS,
    PK_ZERO_LESS_ONE, /* each field on its own, modulo 2^b */
    PK_ZERO_LESS_ONES /* one subtraction of 1 in every field from the whole word */
} pk_zero_rule;

typedef struct pk_scheme {
    uint32_t bits, is_float, symmetric;
    uint64_t group, block_rows; /* group 0: the whole row; block_rows: rows that share a scale, 0: the whole matrix */
} pk_scheme;

/* What the configuration says of all linears. */
typedef struct pk_config {
    pk_method method;
    const char *file; /* that says so */
    pk_zero_rule zeros;
    int mixed; /* linears may have other bits and groups than the only scheme */
    pk_scheme schemes[PK_MAX_SCHEMES];
    size_t n_schemes;
} pk_config;

/* method PK_NONE: not quantized, or in a way that is not this plugin's. */
qc_status pk_read_config(qc_job *job, const qc_source *src, pk_config *c);

typedef enum pk_layout { PK_DOWN, PK_ACROSS, PK_ALONG, PK_BYTES, PK_FP8 } pk_layout; /* GPTQ, AWQ, packed, I8, FP8 */

typedef struct pk_linear {
    const qc_tensor *codes, *scales, *zeros, *groups; /* arrays; zeros, groups: NULL: none */
    pk_layout layout;
    pk_zero_rule zero_rule;
    uint32_t bits, per_word; /* per_word: fields of a word that none straddles; 0: bit strings */
    uint64_t cols, rows, group, n_groups; /* group: inputs, of the last one fewer */
    uint64_t block_rows; /* rows that share scales: 1, more (blocks), or 0: one scale is all */
    int signed_codes; /* the encoding's codes have no zero: less 2^(b - 1) */
} pk_linear;

typedef struct pk_index {
    qc_tensor **arrays; /* all that files hold, by name; owned with their names */
    size_t n_arrays, capacity;
    pk_linear *linears; /* a tensor's `at` is its number here */
    size_t n_linears;
} pk_index;

/* scan_files, with the arrays of each linear made one tensor. */
qc_status pk_scan(qc_job *job, const qc_source *src, const qc_scan *out, const pk_config *c, void **index);
qc_status pk_load(qc_job *job, const void *index, const qc_source *src, const qc_tensor *t, const qc_coder *e,
                  uint64_t row, size_t n_rows, void *dst);
void pk_release(const qc_host *host, void *index);

/* Every tensor of the file, or of all shards, as it is stored. */
qc_status st_scan_files(qc_job *job, const qc_source *src, const qc_scan *out);

/* ---- arrays of a linear, in memory ---- */

/* Memory that is used again and again, from host->alloc: end with pk_free_rooms. */
typedef struct pk_room {
    void *data;
    uint64_t bytes;
} pk_room;

typedef struct pk_reader {
    qc_job *job;
    const qc_source *src;
    const pk_linear *linear;
    pk_room words, codes, scales, zeros, groups;
} pk_reader;

void pk_free_rooms(pk_reader *r);
qc_status pk_bad(const pk_reader *r, const qc_tensor *array, const char *what); /* "FILE: tensor 'ARRAY': WHAT" */

/* Rows [row, row + n), left in the reader's rooms: codes u8 [n][cols], scales float [n][n_groups], zeros int16_t
 * [n][n_groups] (only where the linear has zeros). */
qc_status pk_read_codes(pk_reader *r, uint64_t row, size_t n);
qc_status pk_read_scales(pk_reader *r, uint64_t row, size_t n);
qc_status pk_read_zeros(pk_reader *r, uint64_t row, size_t n);
/* Group of every column, u32 [cols]; in_order: column i has group i div `group`. */
qc_status pk_read_groups(pk_reader *r, int *in_order);

/* ---- what it becomes ---- */

/* "int4_g128_asym" and the like, or "f32" where codes cannot be kept as they are; sets signed_codes, and groups to NULL
 * where they are in order. ambiguous: zero fields that programs read differently. */
qc_status pk_choose_encoding(pk_reader *r, pk_linear *l, char encoding[32], int *ambiguous);

#endif
