/* Codes of one row's block to and from bytes, as legacy.h draws them. Codes are counted from 0 here. */
#ifndef LEGACY_LAYOUT_H
#define LEGACY_LAYOUT_H

#include "legacy.h"

static inline void put_codes(uint8_t *p, const uint8_t *code, uint32_t bits)
{
    if (bits == 8) {
        for (size_t c = 0; c < LEGACY_COLS; c++)
            p[c] = code[c] ^ 0x80; /* i8 */
        return;
    }
    if (bits == 5) {
        uint32_t high = 0;
        for (size_t c = 0; c < LEGACY_COLS; c++)
            high |= (uint32_t)(code[c] >> 4 & 1) << c;
        qc_store_le32(p, high);
        p += 4;
    }
    for (size_t c = 0; c < LEGACY_COLS / 2; c++)
        p[c] = (uint8_t)((code[c] & 15) | code[c + LEGACY_COLS / 2] << 4);
}

static inline void get_codes(uint8_t *code, const uint8_t *p, uint32_t bits)
{
    if (bits == 8) {
        for (size_t c = 0; c < LEGACY_COLS; c++)
            code[c] = p[c] ^ 0x80;
        return;
    }
    uint32_t high = 0;
    if (bits == 5) {
        high = qc_load_le32(p);
        p += 4;
    }
    for (size_t c = 0; c < LEGACY_COLS / 2; c++) {
        code[c] = (uint8_t)((p[c] & 15) | (high >> c & 1) << 4);
        code[c + LEGACY_COLS / 2] = (uint8_t)(p[c] >> 4 | (high >> (c + LEGACY_COLS / 2) & 1) << 4);
    }
}

#endif
