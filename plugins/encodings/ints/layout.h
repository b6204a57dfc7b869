/* One row's codes to and from their bit string, as ints.h draws it. Part of kernels.c, built once per CPU level. */
#ifndef INTS_LAYOUT_H
#define INTS_LAYOUT_H

#include "ints.h"

/* Codes of one lane, counted from 0: bytes of n codes are (n * bits + 7) / 8. */
static void put_codes(uint8_t *p, const int32_t *code, size_t n, int32_t lowest, uint32_t bits)
{
    uint32_t waiting = 0, n_waiting = 0;
    for (size_t c = 0; c < n; c++) {
        waiting |= (uint32_t)(code[c * QC_LANES] - lowest) << n_waiting;
        for (n_waiting += bits; n_waiting >= 8; n_waiting -= 8) {
            *p++ = (uint8_t)waiting;
            waiting >>= 8;
        }
    }
    if (n_waiting > 0)
        *p = (uint8_t)waiting;
}

static void get_codes(int32_t *code, const uint8_t *p, size_t n, int32_t lowest, uint32_t bits)
{
    const uint32_t mask = (1u << bits) - 1;
    uint32_t waiting = 0, n_waiting = 0;
    for (size_t c = 0; c < n; c++) {
        if (n_waiting < bits) {
            waiting |= (uint32_t)*p++ << n_waiting;
            n_waiting += 8;
        }
        code[c * QC_LANES] = (int32_t)(waiting & mask) + lowest;
        waiting >>= bits;
        n_waiting -= bits;
    }
}

#endif
