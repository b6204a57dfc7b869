#include "greedy.h"
#include "answers.h"
#include <string.h>

qc_status greedy_ask(greedy *g, qc_job *job, const qc_evaluation *e, const qc_ask *ask, size_t *sequence)
{
    id_list all = {0};
    g->asked = 0;
    if (g->decided)
        return QC_OK;
    qc_status status = QC_OK;
    if (g->guess.n == 0 && g->done < g->n)
        status = ids_encode(e, job, g->answer + g->done, g->n - g->done, 0, &g->guess);
    if (status == QC_OK)
        status = ids_append(job, &all, g->said.ids, g->said.n);
    if (status == QC_OK)
        status = ids_append(job, &all, g->guess.ids, g->guess.n);
    if (status == QC_OK)
        status = ask->add(ask, job, all.ids, all.n, g->said.n - 1);
    ids_free(job->host, &all);
    g->asked = status == QC_OK;
    g->sequence = g->asked ? (*sequence)++ : 0;
    return status;
}

static int is_word_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void decide(greedy *g, int right)
{
    g->decided = 1;
    g->right = right;
}

/* Greedy decoding says this text next. */
static void hear(greedy *g, const char *text, size_t n)
{
    size_t left = g->n - g->done, both = n < left ? n : left;
    if (left > 0 && (n == 0 || memcmp(text, g->answer + g->done, both) != 0))
        decide(g, 0);
    else if (left == 0 || n > left)
        decide(g, n == both || !is_word_byte(text[both]));
    g->done += g->decided ? 0 : both;
}

qc_status greedy_take(greedy *g, qc_job *job, const qc_evaluation *e, const qc_scores *scores)
{
    if (!g->asked)
        return QC_OK;
    size_t end = scores->first_row[g->sequence + 1];
    g->guess.n = 0; /* what was said of it is in `said` from here on */
    for (size_t row = scores->first_row[g->sequence]; row < end; row++) {
        uint32_t token = (uint32_t)scores->values[row * N_ROW_VALUES + VALUE_TOP];
        size_t n = 0;
        const char *text = e->piece(e, token, &n);
        hear(g, text, text ? n : 0);
        if (g->decided)
            return QC_OK;
        qc_status status = ids_append(job, &g->said, &token, 1);
        if (status != QC_OK || token != scores->next[row])
            return status; /* the rows that follow were fed something else */
    }
    return QC_OK;
}

void greedy_free(const qc_host *host, greedy *g)
{
    ids_free(host, &g->said);
    ids_free(host, &g->guess);
    host->free(host, g->answer);
    *g = (greedy){0};
}
