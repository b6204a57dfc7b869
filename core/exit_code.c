#include "core/commands.h"
#include <errno.h>
#include <string.h>

qc_status flush_stdout(qc_job *job)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return QC_OK;
    return qc_fail(job, QC_E_IO, "standard output: %s", errno ? strerror(errno) : "not all could be written");
}

int exit_code(qc_status status)
{
    static const unsigned char codes[] = {
        [-QC_E_INVALID] = 2,     [-QC_E_NOMEM] = 7,   [-QC_E_UNSUPPORTED] = 3,
        [-QC_E_IO] = 5,          [-QC_E_CORRUPT] = 4, [-QC_E_NUMERIC] = 6,
        [-QC_E_CANCELLED] = 130, [-QC_E_LIMIT] = 7,   [-QC_E_INTERNAL] = 1,
    };
    if (status == QC_OK)
        return 0;
    return status < 0 && -status < (int32_t)(sizeof codes / sizeof *codes) ? codes[-status] : 1;
}
