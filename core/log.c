#include "core/log.h"

void log_say(const qc_host *host, int level, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    host->log(host, level, text);
}

void log_to_stderr(void *arg, int level, const char *message)
{
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
    (void)arg;
    fprintf(stderr, "qcore: %s%s\n", words[level < 0 ? 0 : level > 3 ? 3 : level], message);
}
