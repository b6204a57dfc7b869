/* Rotary position embedding, arXiv:2104.09864: pair i of a head's channels turns by position * frequency i.
 *
 *   frequency i = base^(-2i/D) / factor i, then scaled:
 *   none      as it is                                 linear    times scale
 *   yarn      between both, by how many times the pair turns within the original context, arXiv:2309.00071
 *   llama3    as it is; the factors are rope_freqs.weight
 *   longrope  as it is; the factors are rope_factors_long.weight in sequences beyond the original context, else _short
 *
 * Frequencies and angles are rounded to float32, as Hugging Face computes them.
 */
#ifndef LLAMA_ROTARY_H
#define LLAMA_ROTARY_H

#include "metadata.h"

typedef struct rotary {
    uint32_t size; /* channels of a head that turn, its first ones */
    int halves; /* as llama_family.rotates_halves */
    int long_short; /* factors chosen by a sequence's length */
    double base, scale;
    double extrapolation, ramp_low, ramp_high; /* yarn: pairs below low keep their frequency, beyond high are scaled */
    float magnitude; /* of all sines and cosines */
    uint32_t original_context;
} rotary;

/* Sines and cosines of the positions of one pass: [position][2][size / 2], cosines first. */
typedef struct rotary_tables {
    const float *of_short, *of_long; /* the same unless long_short */
} rotary_tables;

void read_rotary(reading *r, uint32_t head_size, rotary *out);

/* For all positions of a pass. Scratch. */
qc_status make_rotary_tables(qc_job *job, const rotary *r, const qc_pass *pass, rotary_tables *out);

/* Where the turns of a sequence of `length` tokens at `position` are. */
const float *rotary_turns(const rotary *r, const rotary_tables *t, size_t length, size_t position);

void rotate_head(const rotary *r, const float *turns, float *head);

#endif
