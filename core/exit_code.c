#include "core/commands.h"
#include "qcore/abi.h"

int exit_code(int32_t status)
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
