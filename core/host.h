/* The process-wide qc_host: log, memory, op tables by id, settings. */
#ifndef CORE_HOST_H
#define CORE_HOST_H

#include "qcore/host.h"

typedef void (*log_sink)(void *arg, int level, const char *message);

/* Logs to stderr at QC_LOG_WARNING and above until told otherwise. NULL when out of memory. */
qc_host *host_new(void);
void host_free(qc_host *host); /* NULL is fine */

/* All [main-thread], before work starts. */
void host_set_log(qc_host *host, log_sink sink, void *arg); /* NULL: stderr; called from any thread, one at a time */
void host_set_log_level(qc_host *host, int level); /* QC_LOG_*: what is less urgent is dropped */
/* host->find(id) gives object from now on. id: static. 0: too many. */
int host_publish(const qc_host *host, const char *id, const void *object);

#endif
