/* What is said to the user beside the result: one line each, on stderr. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "qcore/host.h"

/* printf-style host->log. */
void log_say(const qc_host *host, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "qcore: warning: message" on stderr: the default sink (arg is not used). */
void log_to_stderr(void *arg, int level, const char *message);

#endif
