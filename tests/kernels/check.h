/* The checker of kernels: every entry of every op table, as built for every CPU level, against what defines it.
 *
 *     list.c        which kernels there are: plugins, found as the program finds them, once per CPU level
 *     *_ops.c       a signature each: how such a kernel is called, on which inputs, and what else defines it
 *     inputs.c      numbers that break kernels
 *     buffers.c     memory between pages that nobody may touch
 *     call.c        one call: what it wrote, whether it crashed, what it left behind
 *     bench.c       how long it takes
 */
#ifndef CHECK_H
#define CHECK_H

#include "buffers.h"
#include "qcore/ops.h"

typedef void (*any_fn)(void);

enum { MOST_NUMBERS = 8 };

/* One call of a kernel: buffers and numbers that its signature knows the meaning of. */
typedef struct call {
    buffer buffers[MOST_BUFFERS];
    size_t n_buffers;
    size_t number[MOST_NUMBERS];
    float real;
    int returns_double;
    uint64_t result; /* what the kernel returned: a whole number, or the bits of a double */
    size_t elements; /* that it works on, for ns per element */
    char input[160]; /* in words, for reports */
} call;

typedef struct kernel kernel;

/* How kernels of one type are called. */
typedef struct signature {
    /* side: of the kernel (its coder, its job). */
    void (*run)(any_fn fn, const void *side, call *c);
    /* Fills case i, from `random` on; 0: there are no more. BENCH_CASE: a typical one, for timing. */
    int (*make)(const kernel *k, size_t i, uint32_t *random, call *c);
} signature;

#define BENCH_CASE ((size_t)-1)

/* One member of a table. */
typedef struct member {
    const char *name;
    size_t slot; /* offset / size of a pointer */
    const signature *signature;
    any_fn definition; /* of the checker's own; NULL: the reference's entry */
    size_t needs; /* slot that the definition calls: where it is NULL, the reference's entry counts; 0: none */
} member;

#define SLOT(type, entry) (offsetof(type, entry) / sizeof(any_fn))
#define MEMBER(type, entry, signature, definition)               \
    {                                                            \
#entry, SLOT(type, entry), &(signature), (definition), 0 \
    }

struct kernel {
    char name[96]; /* "ops.row.sum_squares", "kquants.q4_k.encode" */
    const char *level; /* "scalar", "avx2"; "reference", "x86-v3" */
    const member *member;
    any_fn fn, reference, definition;
    const void *side, *reference_side;
    unsigned effort; /* 0: few inputs, 1: all, more: as many times */
};

/* The tables' members; each list ends with a NULL name. */
extern const member row_members[], math_members[], matrix_members[], encoding_members[], gptq_members[];

/* What kernels of encodings work for. */
typedef struct encoding_side {
    const qc_encoding_desc *desc;
    const qc_ops_encoding *ops;
} encoding_side;

/* Fill a call. from: READ and UPDATE; NULL: the kernel gets NULL. */
buffer *call_reads(call *c, const char *name, buffer_type type, const void *from, size_t n);
buffer *call_writes(call *c, const char *name, buffer_type type, size_t n);
buffer *call_updates(call *c, const char *name, buffer_type type, const void *from, size_t n);

/* Memory for what a call's buffers are filled from; all of it is free again at the next case. */
void *case_room(size_t bytes);
void case_room_clear(void);

/* 0, or 1 after the first thing that was wrong, in words, in `why`. */
int check_call(const kernel *k, call *c, char *why, size_t why_size);

#endif
