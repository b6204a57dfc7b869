/* Unicode normal form C, which some families bring every text into. */
#ifndef SUBWORD_COMPOSING_H
#define SUBWORD_COMPOSING_H

#include "qcore/host.h"

/* Sound UTF-8 in normal form C: the text itself where it is so already, else a copy in scratch. */
qc_status compose(qc_job *job, const char *text, size_t n, const char **out, size_t *out_n);

#endif
