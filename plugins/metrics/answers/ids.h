/* Lists of token ids, and texts that become such lists. */
#ifndef IDS_H
#define IDS_H

#include "qcore/metric.h"

typedef struct id_list {
    uint32_t *ids; /* owned */
    size_t n, capacity;
} id_list;

qc_status ids_append(qc_job *job, id_list *list, const uint32_t *ids, size_t n);
void ids_free(const qc_host *host, id_list *list);

/* Appends the ids of a text; flags: QC_ENCODE_*. An end of text that QC_ENCODE_ADD adds is left out. */
qc_status ids_encode(const qc_evaluation *e, qc_job *job, const char *text, size_t n, uint32_t flags, id_list *list);

/* A prompt and what follows it. Both are read as one text, as a model would have learnt it; where the prompt's own ids
 * are not how that text begins (a token crosses the border), the prompt keeps its ids and the rest is read alone. */
qc_status ids_encode_both(const qc_evaluation *e, qc_job *job, const char *prompt, const char *rest, uint32_t flags,
                          id_list *head, id_list *tail);

#endif
