/* What a run came to: sizes, time, and what each role lost. */
#ifndef CORE_REPORT_H
#define CORE_REPORT_H

#include "core/judge.h"
#include "core/pipeline.h"
#include <stdio.h>

typedef struct report {
    const plan *plan;
    const item_result *results; /* as plan.items */
    const linear_result *linears;
    size_t n_linears;
    uint64_t output_bytes; /* of all files */
    const judgement *judgement; /* what was lost, where the recipe asks; or NULL */
    double seconds; /* of quantizing alone */
    unsigned threads;
} report;

void report_print(const report *r, FILE *file);
void report_json(const report *r, FILE *file);

#endif
