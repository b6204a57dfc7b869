/* A made-up llama opened for running, and sequences for it. */
#ifndef MADE_RUN_H
#define MADE_RUN_H

#include "core/forward.h"
#include "made_llama.h"
#include "opened_model.h"
#include "scratch_folder.h"

enum { MADE_SEQUENCES = 6, MADE_TOKENS = 900 };

/* How it is run; all 0: one thread, no limit of memory, any CPU. */
typedef struct made_way {
    uint64_t memory;
    const char *cpu, *folder;
    unsigned threads;
} made_way;

typedef struct made_run {
    scratch_folder *scratch;
    pool *pool;
    qc_job *job;
    opened_model opened;
    forward *forward;
    qc_status status; /* of forward_open */
} made_run;

/* state: a test's, from scratch_begin. The file m.gguf is made in its folder. */
void made_run_begin(made_run *r, void **state, const made_flaw *f, made_way w);
void made_run_end(made_run *r);

/* Of different lengths, one longer than the rest. */
const sequences *made_sequences(void);

#endif
