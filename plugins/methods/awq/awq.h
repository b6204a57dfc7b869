/* What the two halves of awq share: channel factors are chosen in scale.c, ranges of blocks in clip.c. */
#ifndef AWQ_H
#define AWQ_H

#include "qcore/channels.h"
#include "qcore/ops.h"

typedef struct awq_state {
    size_t grid; /* steps of alpha from 0 to 1 */
    size_t rows; /* rows of a matrix that the search looks at */
    int by_weights; /* also tries factors that fall with the weights' rms */
    double power; /* columns count by mean square to this power when scales are fitted */
    size_t clip; /* ranges tried beside a block's own */
    float clip_to; /* the least of them, as a share of its own */
    float shrink; /* share of the loss that is the columns' own: the samples are few */
    const qc_ops_matrix *matrix;
    const qc_ops_row *row;
} awq_state;

/* What a column of this mean square counts when scales are fitted. */
static inline float awq_importance(double mean_square, double power)
{
    if (power == 1.0 || !(mean_square > 0.0))
        return (float)mean_square;
    return (float)(power == 0.5 ? sqrt(mean_square) : qc_pow(mean_square, power));
}

qc_status awq_transform(qc_job *job, const void *state, const qc_axis *axis, float *factor);

qc_status awq_prepare(qc_job *job, const void *state, const qc_input *input, const qc_encoding_desc *shape,
                      uint32_t *order, void **prepared);
qc_status awq_round(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                    size_t n_rows, void *dst);
void awq_release(const qc_host *host, void *prepared);
uint64_t awq_memory(const void *state, size_t cols);
uint64_t awq_round_memory(const void *state, size_t n_rows, size_t cols);

#endif
