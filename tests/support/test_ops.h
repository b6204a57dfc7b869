/* The op tables of one backend, for a test_host: th.tables = test_ops("scalar"); */
#ifndef TEST_OPS_H
#define TEST_OPS_H

#include "qcore/ops.h"
#include "test_host.h"

/* Filled anew by each call; static. */
const test_table *test_ops(const char *backend);
const qc_ops_math *test_ops_math(void); /* of the last call */

#endif
