/* Buffers between pages that nobody may touch: one byte too far is a fault, and what lies around is looked at. */
#ifndef BUFFERS_H
#define BUFFERS_H

#include "qcore/encoding.h"

enum { MOST_BUFFERS = 12 };

typedef enum buffer_use {
    BUFFER_READ, /* on read-only pages */
    BUFFER_WRITE, /* what was there must not matter */
    BUFFER_UPDATE
} buffer_use;

typedef enum buffer_type {
    TYPE_BYTES,
    TYPE_SHORTS,
    TYPE_INTS,
    TYPE_FLOATS, /* any NaN equals any other: which one it is, is the CPU's choice */
    TYPE_DOUBLES,
    TYPE_PRIVATE /* of an encoding: never misaligned, not compared */
} buffer_type;

typedef struct buffer {
    const char *name;
    buffer_use use;
    buffer_type type;
    size_t bytes;
    size_t lanes; /* of QC_LANES elements next to each other that count; 0: all */
    const void *from; /* what is in it before the call */
    unsigned char *at; /* where it lies in the call */
    unsigned char *region; /* of whole pages, around it */
    size_t region_bytes;
} buffer;

typedef enum placement {
    AT_END, /* the next byte is forbidden */
    AT_START, /* the byte before is forbidden */
    ODD, /* misaligned by one element, or one byte */
    N_PLACEMENTS
} placement;

size_t type_size(buffer_type type);

/* Reserves the memory once; 0: cannot be had. */
int buffers_begin(void);

/* Puts buffers in place: inputs filled, outputs full of `fill`, and the rest of their pages too; inputs are read-only
 * until buffers_open. 0: one is too large. */
int buffers_place(buffer *b, size_t n, placement where, unsigned char fill);
void buffers_open(const buffer *b, size_t n);

/* The first byte outside of b that is not `fill` any more, as an offset from b->at; 0: all are. */
ptrdiff_t buffer_spilt(const buffer *b, unsigned char fill);

/* What lies at an address, in words: "12 bytes past the end of dst". */
void buffers_say(const buffer *b, size_t n, const void *address, char *text, size_t size);

/* First element that counts and differs, or -1. */
ptrdiff_t buffer_differs(const buffer *b, const void *got, const void *want);
/* "0x1.8p+1 for 0x1.4p+1" */
void buffer_say_element(const buffer *b, size_t i, const void *got, const void *want, char *text, size_t size);

#endif
