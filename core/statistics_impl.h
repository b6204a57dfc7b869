/* The inside of statistics, shared by those who make them (statistics_read.c, record.c) and statistics*.c. */
#ifndef CORE_STATISTICS_IMPL_H
#define CORE_STATISTICS_IMPL_H

#include "core/statistics.h"

/* What is known of one input, which several linears may read: of every expert's, where they are stacked. */
typedef struct input_record {
    uint64_t cols, n_matrices; /* n_matrices: 1 of plain tensors */
    uint64_t room; /* rows of `samples` for each matrix */
    float *sums, *means; /* [n_matrices][cols]: of squares; means = sums / counts */
    float *counts; /* [n_matrices]: rows seen */
    float *absmax; /* [n_matrices][cols]; NULL: not known, like the next two */
    float *gram; /* [n_matrices][cols][cols]: X'X / count, both triangles */
    float *samples, *n_samples; /* [n_matrices][room][cols], of which the first n_samples[matrix] rows are there */
    qc_input *inputs; /* [n_matrices] */
} input_record;

/* A tensor and the input it reads. */
typedef struct input_name {
    const char *tensor; /* the model's */
    size_t record;
} input_name;

struct statistics {
    input_record *records;
    input_name *names; /* sorted once all are there */
    char **datasets;
    size_t n_records, record_capacity, n_names, name_capacity, n_datasets, dataset_capacity;
    uint64_t chunks, chunk_tokens; /* windows, and tokens of one; 0: not said */
    uint64_t bytes, limit; /* memory held, and what may be held */
};

statistics *statistics_new(uint64_t limit); /* NULL: out of memory */

/* Zeroed numbers, counted as held; fails beyond the limit. n: three factors. */
qc_status statistics_numbers(statistics *s, qc_job *job, const char *name, const uint64_t n[3], float **out);
/* Counts memory as held; fails beyond the limit. */
qc_status statistics_hold(statistics *s, qc_job *job, const char *name, uint64_t bytes);

/* A new record in *index, with sums, counts and inputs. */
qc_status statistics_add_record(statistics *s, qc_job *job, const char *name, uint64_t cols, uint64_t n_matrices,
                                size_t *index);
qc_status statistics_add_name(statistics *s, qc_job *job, const char *tensor, size_t record);
qc_status statistics_add_dataset(statistics *s, qc_job *job, const char *name, size_t length);
void statistics_sort(statistics *s);
const input_name *statistics_find(const statistics *s, const char *tensor); /* sorted ones; NULL: none */

/* ---- for a block at a time; no recording may be under way ---- */

/* Forgets all records and names, for the next block; datasets stay. */
void statistics_clear(statistics *s);
/* The Gram matrix of the input that this tensor reads is not needed any more. */
void statistics_drop_gram(statistics *s, const char *tensor);
/* Column i of the input that this tensor reads (of one matrix's, where they are stacked) is divided by factor[i]: all
 * that is known of it is then as if it had been recorded so. Others that share the input see the same. Factors that are
 * 0, NaN or Inf fail, naming the tensor. */
qc_status statistics_scale(statistics *s, qc_job *job, const char *tensor, uint64_t matrix, const float *factor);

/* Means from sums and counts, and what methods see of the record; checks every number. */
qc_status statistics_finish(qc_job *job, const char *name, input_record *r);

/* Names of tensors in a file of statistics: NAME and one of these. The first two are llama.cpp's; the others are kept
 * once an input, under the first of the names that share it. */
#define SUM_SUFFIX ".in_sum2"
#define COUNT_SUFFIX ".counts"
#define ABSMAX_SUFFIX ".absmax"
#define GRAM_SUFFIX ".gram"
#define SAMPLES_SUFFIX ".samples"
#define N_SAMPLES_SUFFIX ".n_samples"
/* Two lists of names: a tensor's, and that under which its input's wider statistics are kept. */
#define NAMES_KEY "qcore.statistics.tensors"
#define INPUTS_KEY "qcore.statistics.inputs"

#endif
