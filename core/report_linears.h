/* What rounding each linear cost in outputs: rtn's error and the method's, and what the method told of it. */
#ifndef CORE_REPORT_LINEARS_H
#define CORE_REPORT_LINEARS_H

#include "core/jsonout.h"
#include "core/pipeline.h"

void linears_print(const linear_result *linears, size_t n, FILE *file); /* nothing where nothing is known of any */
void linears_json(const linear_result *linears, size_t n, json_out *out); /* a list "linears" of an open object */

#endif
