#include "text.h"

qc_status loss_source_open(qc_job *job, const qc_evaluation *e, loss_source *out)
{
    out->math = job->host->find(job->host, QC_OPS_MATH);
    out->has_reference = e->has_reference != 0;
    out->floor = QC_HAS(e, qc_evaluation, reference_floor) ? e->reference_floor : 0.0f;
    if (!out->math || !out->math->log_sum_exp || !out->math->exp)
        return qc_fail(job, QC_E_UNSUPPORTED, "no backend has the table %s", QC_OPS_MATH);
    return QC_OK;
}

double loss_norm(const loss_source *s, const qc_scored *row)
{
    return s->math->log_sum_exp(row->logits, row->n_vocab);
}

double loss_reference_norm(const loss_source *s, const qc_scored *row)
{
    return s->floor < 0.0f ? 0.0 : s->math->log_sum_exp(row->reference, row->n_vocab);
}

qc_status loss_score(const loss_source *s, qc_job *job, const qc_scored *row, double *values)
{
    values[0] = values[1] = 0.0;
    if (row->next >= row->n_vocab)
        return qc_fail(job, QC_E_INTERNAL, "a position whose next token is not known cannot be scored");
    values[0] = loss_norm(s, row) - (double)row->logits[row->next];
    if (s->has_reference && row->reference)
        values[1] = loss_reference_norm(s, row) - (double)row->reference[row->next];
    return QC_OK;
}
