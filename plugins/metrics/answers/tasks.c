/* Questions with a right answer. Multiple choice: the choice of the largest log-likelihood behind the prompt is taken (T.
 * Brown et al., Language Models are Few-Shot Learners, arXiv:2005.14165, 2.4), and, as a second score, that of the largest
 * log-likelihood for a byte of its text, which does not favour short ones. Exact answers: see greedy.h. */
#include "tasks.h"
#include "qcore/ops.h"
#include <math.h>

typedef struct tasks {
    const qc_evaluation *e;
    task_list list;
    int first_round;
} tasks;

qc_status answers_score(qc_job *job, const void *state, const qc_scored *row, double *values)
{
    const qc_ops_math *math = job->host->find(job->host, QC_OPS_MATH);
    (void)state;
    if (!math)
        return qc_fail(job, QC_E_UNSUPPORTED, "no backend has the table %s", QC_OPS_MATH);
    values[VALUE_LOG_P] = 0.0;
    if (row->next < row->n_vocab)
        values[VALUE_LOG_P] = (double)row->logits[row->next] - math->log_sum_exp(row->logits, row->n_vocab);
    values[VALUE_TOP] = qc_argmax(row->logits, row->n_vocab);
    return QC_OK;
}

qc_status share_put(const qc_figures *out, qc_job *job, const char *name, share s, uint32_t flags)
{
    double n = s.n ? (double)s.n : 1.0, p = (double)s.right / n;
    return qc_put_figure(out, job, name, p, sqrt(p * (1.0 - p) / n), flags | QC_FIGURE_PERCENT);
}

static qc_status create(qc_job *job, const qc_settings *settings, const qc_evaluation *e, void **state)
{
    const qc_host *host = job->host;
    tasks *t = host->alloc(host, sizeof *t);
    *state = t;
    if (!t)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    t->e = e;
    t->first_round = 1;
    return task_file_read(job, e, host->text(settings, "file"), (size_t)host->number(settings, "limit"), &t->list);
}

static void destroy(const qc_host *host, void *state)
{
    tasks *t = state;
    if (t)
        task_list_free(host, &t->list);
    host->free(host, t);
}

static qc_status ask_choices(task *t, qc_job *job, const qc_ask *ask, size_t *sequence)
{
    qc_status status = QC_OK;
    for (size_t i = 0; i < t->n_choices && status == QC_OK; i++) {
        choice *c = &t->choices[i];
        c->sequence = (*sequence)++;
        status = ask->add(ask, job, c->ids.ids, c->ids.n, c->first - 1);
    }
    return status;
}

static qc_status ask(qc_job *job, void *state, const qc_ask *out)
{
    tasks *t = state;
    size_t sequence = 0;
    qc_status status = QC_OK;
    for (size_t i = 0; i < t->list.n_tasks && status == QC_OK; i++) {
        task *item = &t->list.tasks[i];
        if (!item->choices)
            status = greedy_ask(&item->exact, job, t->e, out, &sequence);
        else if (t->first_round)
            status = ask_choices(item, job, out, &sequence);
    }
    return status;
}

static double sum_log_p(const qc_scores *scores, size_t sequence)
{
    double sum = 0.0;
    for (size_t row = scores->first_row[sequence]; row < scores->first_row[sequence + 1]; row++)
        sum += scores->values[row * N_ROW_VALUES + VALUE_LOG_P];
    return sum;
}

static qc_status take(qc_job *job, void *state, const qc_scores *scores)
{
    tasks *t = state;
    qc_status status = QC_OK;
    for (size_t i = 0; i < t->list.n_tasks && status == QC_OK; i++) {
        task *item = &t->list.tasks[i];
        if (!item->choices)
            status = greedy_take(&item->exact, job, t->e, scores);
        else if (t->first_round)
            for (size_t k = 0; k < item->n_choices; k++)
                item->choices[k].log_p = sum_log_p(scores, item->choices[k].sequence);
    }
    t->first_round = 0;
    return status;
}

/* The first of the best choices. */
static size_t best_choice(const task *t, int per_byte)
{
    size_t best = 0;
    double most = 0.0;
    for (size_t i = 0; i < t->n_choices; i++) {
        const choice *c = &t->choices[i];
        double value = per_byte ? c->log_p / (double)c->bytes : c->log_p;
        if (i == 0 || value > most) {
            best = i;
            most = value;
        }
    }
    return best;
}

/* per_byte: of choices only. */
typedef struct answer_counts {
    share all, per_byte;
} answer_counts;

static void count(answer_counts *into, const task *t)
{
    int right = t->choices ? best_choice(t, 0) == t->answer : t->exact.right;
    into->all.n++;
    into->all.right += right != 0;
    if (!t->choices)
        return;
    into->per_byte.n++;
    into->per_byte.right += best_choice(t, 1) == t->answer;
}

/* prefix: "sum." of a kind, "" of all. */
static qc_status report_kind(qc_job *job, const answer_counts *k, const char *prefix, uint32_t flags,
                             const qc_figures *out)
{
    char name[KIND_NAME + 32];
    snprintf(name, sizeof name, "%saccuracy", prefix);
    qc_status status = share_put(out, job, name, k->all, flags);
    snprintf(name, sizeof name, "%saccuracy_per_byte", prefix);
    if (status == QC_OK && k->per_byte.n)
        status = share_put(out, job, name, k->per_byte, 0);
    snprintf(name, sizeof name, "%squestions", prefix);
    return status == QC_OK ? qc_put_figure(out, job, name, (double)k->all.n, -1.0, QC_FIGURE_COUNT) : status;
}

static qc_status report(qc_job *job, const void *state, const qc_figures *out)
{
    const tasks *t = state;
    answer_counts total = {{0, 0}, {0, 0}};
    for (size_t i = 0; i < t->list.n_tasks; i++)
        count(&total, &t->list.tasks[i]);
    qc_status status = report_kind(job, &total, "", QC_FIGURE_MAIN, out);
    for (size_t k = 0; k < t->list.n_kinds && t->list.n_kinds > 1 && status == QC_OK; k++) {
        char prefix[KIND_NAME + 1];
        answer_counts kind = {{0, 0}, {0, 0}};
        for (size_t i = 0; i < t->list.n_tasks; i++)
            if (t->list.tasks[i].kind == k)
                count(&kind, &t->list.tasks[i]);
        snprintf(prefix, sizeof prefix, "%s.", t->list.kinds[k].name);
        status = report_kind(job, &kind, prefix, QC_FIGURE_MAIN, out);
    }
    return status;
}

const qc_metric_desc answers_tasks = {
    .base = {.size = sizeof(qc_metric_desc), .kind = QC_KIND_METRIC, .id = "tasks"},
    .n_values = N_ROW_VALUES,
    .create = create,
    .destroy = destroy,
    .ask = ask,
    .score = answers_score,
    .take = take,
    .report = report,
};
