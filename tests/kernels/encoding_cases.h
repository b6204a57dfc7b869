/* What the kernels of encodings are called with. */
#ifndef ENCODING_CASES_H
#define ENCODING_CASES_H

#include "check.h"
#include "inputs.h"

/* Meanings of call.number. */
enum { COLS, ROWS, PIECE_COLS, PLACE, MOVE_A, MOVE_B, LDY, TOKENS };

/* One piece of a tile in rows of some length. */
typedef struct encoding_case {
    const encoding_side *reference; /* what inputs are made by */
    qc_coder coder; /* the same, for rows of `cols` */
    input_kind kind;
    size_t importance; /* kind */
    size_t cols, n_rows, piece_cols;
} encoding_case;

/* 0: no case i. piece_cols: of a tile; plain encodings take any number. Fills numbers COLS, ROWS and PIECE_COLS. */
int encoding_case_new(const kernel *k, size_t i, uint32_t *random, call *c, encoding_case *z);

qc_coder coder_for(const encoding_side *side, size_t cols);

/* From the tile's first row to the end of its last: rows are row_bytes apart. */
size_t piece_bytes(const encoding_case *z);

/* A tile piece [piece_cols][QC_LANES], absent lanes 0; whole rows [n_rows][cols]; importance, or NULL. */
float *new_tile(const encoding_case *z, uint32_t *random);
const float *new_rows(const encoding_case *z, size_t n_rows, uint32_t *random);
const float *new_importance(const encoding_case *z, size_t n, uint32_t *random);

/* n_rows whole rows that decode can take: encoded ones, or any bytes that pass the encoding's own test. */
const unsigned char *new_bytes(const encoding_case *z, size_t n_rows, uint32_t *random);
/* Such, or any bytes at all: scales that are NaN too. Of the case's rows. */
const unsigned char *new_any_bytes(const encoding_case *z, uint32_t *random);

/* A grid that the reference fitted to weights like these. */
qc_grid new_grid(const encoding_case *z, uint32_t *random);
/* Codes of a piece, within lowest .. highest. */
const int32_t *new_codes(const encoding_case *z, uint32_t *random);

/* A scratch that is empty again after each call. */
qc_job *scratch_job(void);
void scratch_end(void);

/* encoding_grid_ops.c */
extern const signature fit_signature, snap_signature, pack_signature, unpack_signature, neighbour_signature,
    adopt_signature;

#endif
