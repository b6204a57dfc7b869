/* Code for code: from one encoding of whole codes to another, nothing rounded again. */
#ifndef CORE_TRANSCODE_H
#define CORE_TRANSCODE_H

#include "qcore/encoding.h"

/* Can every code and step of `from` be kept in `to`? Both have QC_ENCODING_INTEGER, each sub-block of `to` lies within
 * one of `from`, the ranges of codes nest, and both have a zero or neither has. */
int transcode_fits(const qc_coder *from, const qc_coder *to);

/* Rows of one encoding as rows of the other, for which transcode_fits holds: the same codes, the same steps. src:
 * n_rows * from->row_bytes, validated; dst: n_rows * to->row_bytes. Fails with QC_E_NUMERIC at a step that `to` cannot
 * store. [job-thread] */
qc_status transcode_rows(qc_job *job, const qc_coder *from, const qc_coder *to, size_t n_rows, const void *src,
                         void *dst);

#endif
