/* rtn: round to nearest. Each block gets the scales that the encoding finds best for it; nothing is known of inputs. */
#include "qcore/method.h"

static qc_status rtn_round(qc_job *job, const void *state, const void *prepared, const qc_linear *linear, float *w,
                           size_t n_rows, void *dst)
{
    (void)state, (void)prepared;
    return qc_encode_rows(job, linear->coder, dst, w, NULL, n_rows);
}

static const qc_method_desc rtn = {
    .base = {.size = sizeof(qc_method_desc), .kind = QC_KIND_METHOD, .id = "rtn", .flags = QC_METHOD_KEEPS_WEIGHTS},
    .round = rtn_round,
};

QC_PLUGIN(&rtn.base);
