/* Runs a metric as the core does, on a model that a test makes up: one byte a token, and a few pairs of bytes.
 *
 *     metric_run run = {.model = my_model, .text = "…"};
 *     metric_run_begin(&run, "answers", "tasks", settings);
 *     metric_run_all(&run);
 *     assert_true(metric_run_value(&run, "accuracy") == 1.0);
 *     metric_run_end(&run);
 */
#ifndef METRIC_RUN_H
#define METRIC_RUN_H

#include "qcore/metric.h"
#include "qcore/ops.h"
#include "test_host.h"

enum { RUN_PIECES = 8, RUN_VOCABULARY = 256 + RUN_PIECES, RUN_BOS = 1, RUN_EOS = 2, RUN_MOST_FIGURES = 128 };

typedef struct run_figure {
    char name[64];
    double value, error;
    uint32_t flags;
} run_figure;

typedef struct metric_run metric_run;
/* Logits behind the first n tokens of a sequence. */
typedef void (*run_model)(const metric_run *run, const uint32_t *tokens, size_t n, float *logits);

struct metric_run {
    /* Set by the test. Pieces are tokens 256, 257, …; text: the evaluation's; file: what read_file gives. */
    run_model model;
    const char *pieces[RUN_PIECES];
    const char *text, *file;
    int add_bos;
    /* Made by the run. */
    qc_evaluation view; /* found by its place */
    test_host th;
    qc_ops_math math;
    test_table tables[2];
    const qc_metric_desc *desc;
    void *state;
    uint32_t *tokens;
    size_t n_rounds, n_sequences; /* in all */
    size_t longest; /* tokens of a sequence */
    run_figure figures[RUN_MOST_FIGURES];
    size_t n_figures;
};

/* The status of `create`; the message is in run->th. */
qc_status metric_run_begin(metric_run *run, const char *plugin, const char *id, const test_setting *settings);
qc_status metric_run_all(metric_run *run); /* rounds, until none is asked for; then the report */
void metric_run_end(metric_run *run);

/* Fails the test where there is no such figure. */
double metric_run_value(const metric_run *run, const char *name);
double metric_run_error(const metric_run *run, const char *name);

/* One row for a metric of windows: its values go to the caller's. n_vocab tokens. */
qc_status metric_run_row(metric_run *run, const float *logits, const float *reference, size_t n_vocab, uint32_t next,
                         double *values);
/* `take` and `report` of n rows. */
qc_status metric_run_rows(metric_run *run, const double *values, const uint32_t *next, size_t n);

/* The text of n tokens; owned: free. */
char *metric_run_spell(const metric_run *run, const uint32_t *tokens, size_t n);

#endif
