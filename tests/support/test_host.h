/* A host small enough to test plugins without the core: malloc-backed scratch, the first failure kept, settings from a
 * list. One thread.
 *
 *     test_host th;
 *     qc_job *job = test_host_begin(&th);
 *     ... plugin calls with job ...
 *     assert_int_equal(th.status, QC_OK);     th.message says why not
 *     test_host_end(&th);
 */
#ifndef TEST_HOST_H
#define TEST_HOST_H

#include "qcore/encoding.h"
#include "qcore/host.h"

/* One setting; a list of these ends with a NULL name. */
typedef struct test_setting {
    const char *name;
    double number;
    const char *text;
} test_setting;

/* One op table or extension that qc_host.find knows; a list of these ends with a NULL id. */
typedef struct test_table {
    const char *id;
    const void *table;
} test_table;

typedef struct test_host {
    qc_host host; /* first */
    qc_job job;
    qc_status status; /* of the first failure, or QC_OK */
    char message[512];
    const test_table *tables; /* or NULL */
    void **blocks; /* live scratch */
    size_t n_blocks, n_allocs;
    size_t fail_at; /* the allocation with this number (from 1) fails; 0: none */
} test_host;

qc_job *test_host_begin(test_host *th);
void test_host_reset(test_host *th); /* frees scratch, forgets the failure: as between two calls */
void test_host_end(test_host *th);

/* test_setting lists are what the host's number() and text() read. */
static inline const qc_settings *test_settings(const test_setting *list)
{
    return (const qc_settings *)(const void *)list;
}

/* A coder for `cols` columns, ops taken from variant `cpu` ("reference", "x86-v4"); 0 when the descriptor has no such
 * variant. A plugin's tables are copied as the host does, so short ones are safe. */
int test_coder(qc_coder *coder, qc_ops_encoding *ops, const qc_encoding_desc *desc, const char *cpu, size_t cols);

/* The encoding `id` of a plugin's list; NULL when absent. */
const qc_encoding_desc *test_find_encoding(const qc_plugin *plugin, const char *id);

/* The best CPU level that this machine runs, as a rank: 0 reference only, 3 x86-v3, 4 x86-v4. */
int test_cpu_level(void);
int test_cpu_runs(const char *cpu);

#endif
