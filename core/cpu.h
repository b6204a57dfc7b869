/* What this CPU and its system can run, as named levels. */
#ifndef CORE_CPU_H
#define CORE_CPU_H

#include "qcore/host.h"

typedef struct cpu {
    unsigned features; /* bits of the table in cpu.c */
} cpu;

/* Every level that CPU and system support. */
cpu cpu_detect(void);

/* Keeps only what the comma-separated levels of `mask` contain ("x86-v3"; "generic": nothing). Fails on unknown names. */
qc_status cpu_limit(qc_job *job, cpu *c, const char *mask);

/* Does it have all of the comma-separated levels? If not, the first that is missing is in missing[]. */
int cpu_has(cpu c, const char *levels, char missing[32]);

/* The highest level: "x86-v3", ..., "generic". Static. */
const char *cpu_level(cpu c);

/* Position of a level in its family, for choosing the best of several; -1 where the CPU does not have it. */
int cpu_rank(cpu c, const char *level);

#endif
