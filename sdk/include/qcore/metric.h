/* Metrics: numbers that say what was lost. Kind "qcore.metric/1".
 *
 * A metric asks for sequences of tokens, sees the logits at the positions it asked for, one row at a time and in any
 * order, keeps a few numbers of each, and sums them up at the end, in the order of asking: so the figures do not depend
 * on threads or batches, and no file of logits is ever needed. The host runs the model (and, where the metric looks at
 * it, the reference beside it).
 */
#ifndef QCORE_METRIC_H
#define QCORE_METRIC_H

#include "qcore/tokenizer.h"

#define QC_KIND_METRIC "qcore.metric/1"

enum {
    QC_METRIC_WINDOWS = 1 << 16, /* scores the windows of the evaluation's text, which the host cuts: `ask` is NULL */
    QC_METRIC_REFERENCE = 1 << 17, /* looks at the reference's logits where there is one */
    QC_METRIC_NEEDS_REFERENCE = 1 << 18 /* and cannot do without */
};

/* What a metric may know and use. Made by the host; borrowed as long as the metric's state lives. */
typedef struct qc_evaluation {
    uint32_t size;
    int32_t has_reference; /* for this metric's own rows */
    size_t n_vocab;
    size_t context; /* tokens of a window */
    const uint32_t *tokens; /* of the evaluation's text, in order; NULL and 0 where it has none */
    size_t n_tokens;
    qc_special_tokens special;
    /* As qc_tokenizer_desc has them. [main-thread] */
    qc_status (*encode)(const struct qc_evaluation *e, qc_job *job, const char *text, size_t n, uint32_t flags,
                        const qc_tokens *out);
    const char *(*piece)(const struct qc_evaluation *e, uint32_t token, size_t *n);
    /* A whole file, zero-terminated beyond its length; owned: host->free. [main-thread] */
    qc_status (*read_file)(const struct qc_evaluation *e, qc_job *job, const char *path, char **data, size_t *n);
    /* Below 0: the reference is a file of log-probabilities, and those at or below this were cut off by its writer: they
     * are no terms of a sum. 0: it is a model, its rows are logits. */
    float reference_floor;
} qc_evaluation;

/* Where sequences go. Logits are wanted at positions first .. n - 1; those at n - 1 tell what would come next. */
typedef struct qc_ask {
    uint32_t size;
    qc_status (*add)(const struct qc_ask *ask, qc_job *job, const uint32_t *tokens, size_t n, size_t first);
} qc_ask;

/* One row of logits, at `position` of sequence `sequence` (counted in the order of asking in this round). */
typedef struct qc_scored {
    uint32_t size;
    uint32_t next; /* the token that follows in the sequence; QC_NO_TOKEN after its last */
    size_t sequence, position, n_vocab;
    const float *logits; /* [n_vocab] */
    const float *reference; /* [n_vocab], or NULL; of a file: log-probabilities, which serve as logits */
} qc_scored;

/* All rows of a round, in the order of asking. */
typedef struct qc_scores {
    uint32_t size;
    size_t n_sequences, n_rows;
    const size_t *first_row; /* [n_sequences + 1] */
    const uint32_t *next; /* [n_rows] */
    const double *values; /* [n_rows][desc->n_values] */
} qc_scores;

enum {
    QC_FIGURE_MAIN = 1, /* a column of comparison tables */
    QC_FIGURE_PERCENT = 2, /* a share: shown times 100 with a % */
    QC_FIGURE_COUNT = 4 /* a whole number */
};

typedef struct qc_figure {
    uint32_t size, flags;
    const char *name; /* "mean", "sum.accuracy": unique in the metric; copied */
    double value;
    double error; /* standard error; negative: it has none */
} qc_figure;

typedef struct qc_figures {
    uint32_t size;
    qc_status (*add)(const struct qc_figures *out, qc_job *job, const qc_figure *figure);
} qc_figures;

typedef struct qc_metric_desc {
    qc_desc base; /* flags: QC_METRIC_* */
    uint32_t n_values; /* numbers kept of every row */
    qc_status (*create)(qc_job *job, const qc_settings *settings, const qc_evaluation *e,
                        void **state); /* [main-thread] */
    void (*destroy)(const qc_host *host, void *state); /* [main-thread] */
    /* Sequences of the next round; none: there is no further one. Called again after `take`. [main-thread] */
    qc_status (*ask)(qc_job *job, void *state, const qc_ask *ask);
    /* The numbers of one row: values [n_values]. [job-thread] */
    qc_status (*score)(qc_job *job, const void *state, const qc_scored *row, double *values);
    qc_status (*take)(qc_job *job, void *state, const qc_scores *scores); /* [main-thread] */
    qc_status (*report)(qc_job *job, const void *state, const qc_figures *out); /* [main-thread] */
} qc_metric_desc;

/* A figure in one line; error < 0: it has none. */
static inline qc_status qc_put_figure(const qc_figures *out, qc_job *job, const char *name, double value, double error,
                                      uint32_t flags)
{
    const qc_figure figure = {sizeof figure, flags, name, value, error};
    return out->add(out, job, &figure);
}

/* What greedy decoding says: the token of the largest logit, the lowest of equals. n > 0 */
static inline uint32_t qc_argmax(const float *logits, size_t n)
{
    enum { LANES = 16 };
    float most[LANES], largest;
    size_t i = 0;
    for (size_t l = 0; l < LANES; l++)
        most[l] = logits[0];
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            most[l] = logits[i + l] > most[l] ? logits[i + l] : most[l];
    for (; i < n; i++)
        most[0] = logits[i] > most[0] ? logits[i] : most[0];
    largest = most[0];
    for (size_t l = 1; l < LANES; l++)
        largest = most[l] > largest ? most[l] : largest;
    uint32_t token = 0;
    while (token + 1 < n && logits[token] != largest)
        token++;
    return token;
}

#endif
