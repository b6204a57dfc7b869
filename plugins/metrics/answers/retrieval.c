/* Does the model still find one sentence in a long prompt? The evaluation's text with a sentence nobody could guess put
 * between two of its own, at several depths, then a question for it; the answer must be said by greedy decoding. After the
 * needle-in-a-haystack test, and N. F. Liu et al., Lost in the Middle, arXiv:2307.03172. */
#include "answers.h"
#include "haystack.h"
#include <string.h>

enum { MOST_LISTED = 32, MOST_TOKENS = 1 << 26 }; /* all prompts are in memory */

typedef struct number_list {
    size_t items[MOST_LISTED], n;
} number_list;

typedef struct retrieval {
    const qc_evaluation *e;
    number_list lengths, depths;
    size_t n_trials, n;
    greedy *items; /* [length][depth][trial] */
} retrieval;

/* The number at *text, with blanks around it, and the comma behind; 0: there is none. */
static int read_number(const char **text, size_t *value)
{
    size_t digits = 0;
    const char *at = *text + strspn(*text, " ");
    for (*value = 0; *at >= '0' && *at <= '9' && digits < 9; at++, digits++)
        *value = *value * 10 + (size_t)(*at - '0');
    at += strspn(at, " ");
    int ended = *at == '\0', parted = *at == ',' && at[1];
    *text = at + parted;
    return digits > 0 && (ended || parted);
}

/* "128, 256". Rising, since figures are named by them. */
static qc_status read_list(qc_job *job, const char *setting, const char *text, size_t least, size_t most,
                           number_list *out)
{
    int good = *text != '\0';
    for (out->n = 0; good && *text; out->n++) {
        size_t value;
        good = out->n < MOST_LISTED && read_number(&text, &value) && value >= least && value <= most &&
               (out->n == 0 || value > out->items[out->n - 1]);
        if (good)
            out->items[out->n] = value;
    }
    if (good)
        return QC_OK;
    return qc_fail(job, QC_E_INVALID, "setting '%s' must be up to %d rising whole numbers from %zu to %zu, with commas",
                   setting, MOST_LISTED, least, most);
}

static qc_status make_items(qc_job *job, retrieval *r, const needle_texts *texts)
{
    size_t each = r->depths.n * r->n_trials, n_tokens = 0;
    for (size_t i = 0; i < r->lengths.n; i++)
        n_tokens += r->lengths.items[i] * each;
    if (n_tokens > MOST_TOKENS)
        return qc_fail(job, QC_E_LIMIT, "lengths, depths and trials make prompts of %zu tokens in all, %d are allowed",
                       n_tokens, MOST_TOKENS);
    r->n = r->lengths.n * each;
    r->items = job->host->alloc(job->host, r->n * sizeof *r->items);
    if (!r->items)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu questions", r->n);
    qc_status status = QC_OK;
    for (size_t i = 0; i < r->n && status == QC_OK; i++) {
        size_t trial = i % r->n_trials, depth = i / r->n_trials % r->depths.n, length = i / r->n_trials / r->depths.n;
        const hiding_place at = {r->lengths.items[length], r->depths.items[depth], trial, r->n_trials};
        status = haystack_make(r->e, job, texts, &at, &r->items[i]);
    }
    return status;
}

static qc_status create(qc_job *job, const qc_settings *settings, const qc_evaluation *e, void **state)
{
    const qc_host *host = job->host;
    const needle_texts texts = {host->text(settings, "needle"), host->text(settings, "question"),
                                host->text(settings, "names"), (unsigned)host->number(settings, "digits")};
    retrieval *r = host->alloc(host, sizeof *r);
    *state = r;
    if (!r)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    r->e = e;
    r->n_trials = (size_t)host->number(settings, "trials");
    if (e->n_tokens == 0)
        return qc_fail(job, QC_E_INVALID, "sentences are hidden in the evaluation's text, and there is none");
    qc_status status = read_list(job, "lengths", host->text(settings, "lengths"), 1, 1 << 24, &r->lengths);
    if (status == QC_OK)
        status = read_list(job, "depths", host->text(settings, "depths"), 0, 100, &r->depths);
    return status == QC_OK ? make_items(job, r, &texts) : status;
}

static void destroy(const qc_host *host, void *state)
{
    retrieval *r = state;
    for (size_t i = 0; r && r->items && i < r->n; i++)
        greedy_free(host, &r->items[i]);
    if (r)
        host->free(host, r->items);
    host->free(host, r);
}

static qc_status ask(qc_job *job, void *state, const qc_ask *out)
{
    retrieval *r = state;
    size_t sequence = 0;
    qc_status status = QC_OK;
    for (size_t i = 0; i < r->n && status == QC_OK; i++)
        status = greedy_ask(&r->items[i], job, r->e, out, &sequence);
    return status;
}

static qc_status take(qc_job *job, void *state, const qc_scores *scores)
{
    retrieval *r = state;
    qc_status status = QC_OK;
    for (size_t i = 0; i < r->n && status == QC_OK; i++)
        status = greedy_take(&r->items[i], job, r->e, scores);
    return status;
}

/* Of one length (or all, SIZE_MAX) and one depth. */
static share count(const retrieval *r, size_t length, size_t depth)
{
    share s = {0, 0};
    for (size_t i = 0; i < r->n; i++) {
        size_t d = i / r->n_trials % r->depths.n, l = i / r->n_trials / r->depths.n;
        if ((length == SIZE_MAX || length == l) && (depth == SIZE_MAX || depth == d)) {
            s.n++;
            s.right += r->items[i].right != 0;
        }
    }
    return s;
}

static qc_status report(qc_job *job, const void *state, const qc_figures *out)
{
    const retrieval *r = state;
    char name[64];
    qc_status status = share_put(out, job, "accuracy", count(r, SIZE_MAX, SIZE_MAX), QC_FIGURE_MAIN);
    for (size_t l = 0; l < r->lengths.n && status == QC_OK; l++) {
        snprintf(name, sizeof name, "length_%zu", r->lengths.items[l]);
        status = share_put(out, job, name, count(r, l, SIZE_MAX), 0);
    }
    for (size_t d = 0; d < r->depths.n && status == QC_OK; d++) {
        snprintf(name, sizeof name, "depth_%zu", r->depths.items[d]);
        status = share_put(out, job, name, count(r, SIZE_MAX, d), 0);
    }
    return status == QC_OK ? qc_put_figure(out, job, "questions", (double)r->n, -1.0, QC_FIGURE_COUNT) : status;
}

const qc_metric_desc answers_retrieval = {
    .base = {.size = sizeof(qc_metric_desc), .kind = QC_KIND_METRIC, .id = "retrieval"},
    .n_values = N_ROW_VALUES,
    .create = create,
    .destroy = destroy,
    .ask = ask,
    .score = answers_score,
    .take = take,
    .report = report,
};
