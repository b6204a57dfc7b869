#include "metric_run.h"
#include "test_plugin.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static metric_run *of_view(const qc_evaluation *view)
{
    return (metric_run *)(void *)((char *)(uintptr_t)view - offsetof(metric_run, view));
}

static const char *piece(const qc_evaluation *view, uint32_t token, size_t *n)
{
    static char bytes[256];
    const metric_run *run = of_view(view);
    const char *text = token >= 256 && token < RUN_VOCABULARY ? run->pieces[token - 256] : NULL;
    *n = text ? strlen(text) : 0;
    if (text || token >= 256 || token == RUN_BOS || token == RUN_EOS)
        return text;
    *n = 1;
    bytes[token] = (char)token;
    return &bytes[token];
}

/* The longest piece first. */
static uint32_t next_token(const metric_run *run, const char *text, size_t left, size_t *n)
{
    uint32_t best = (unsigned char)*text;
    *n = 1;
    for (uint32_t i = 0; i < RUN_PIECES && run->pieces[i]; i++) {
        size_t length = strlen(run->pieces[i]);
        if (length <= left && length > *n && !memcmp(run->pieces[i], text, length)) {
            best = 256 + i;
            *n = length;
        }
    }
    return best;
}

static qc_status encode(const qc_evaluation *view, qc_job *job, const char *text, size_t n, uint32_t flags,
                        const qc_tokens *out)
{
    const metric_run *run = of_view(view);
    const uint32_t bos = RUN_BOS;
    qc_status status = flags & QC_ENCODE_ADD && run->add_bos ? out->push(out, job, &bos, 1) : QC_OK;
    for (size_t at = 0, used; at < n && status == QC_OK; at += used) {
        uint32_t token = next_token(run, text + at, n - at, &used);
        status = out->push(out, job, &token, 1);
    }
    return status;
}

static qc_status read_file(const qc_evaluation *view, qc_job *job, const char *path, char **data, size_t *n)
{
    const metric_run *run = of_view(view);
    *data = NULL;
    *n = run->file ? strlen(run->file) : 0;
    if (!run->file)
        return qc_fail(job, QC_E_IO, "%s: no such file", path);
    *data = job->host->alloc(job->host, *n + 1);
    if (!*data)
        return qc_fail(job, QC_E_NOMEM, "out of memory");
    memcpy(*data, run->file, *n);
    return QC_OK;
}

static void find_math(metric_run *run)
{
    const qc_plugin *plugin = test_plugin_open("scalar");
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (!strcmp(plugin->descs[i]->kind, QC_KIND_BACKEND))
            ((const qc_backend_desc *)(const void *)plugin->descs[i])
                ->overlay("reference", QC_OPS_MATH, &run->math, sizeof run->math);
    run->tables[0] = (test_table){QC_OPS_MATH, &run->math};
    run->tables[1] = (test_table){NULL, NULL};
    run->th.tables = run->tables;
}

static const qc_metric_desc *find_metric(const char *name, const char *id)
{
    const qc_plugin *plugin = test_plugin_open(name);
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (!strcmp(plugin->descs[i]->id, id))
            return (const qc_metric_desc *)(const void *)plugin->descs[i];
    return NULL;
}

qc_status metric_run_begin(metric_run *run, const char *plugin, const char *id, const test_setting *settings)
{
    size_t n = run->text ? strlen(run->text) : 0;
    qc_job *job = test_host_begin(&run->th);
    find_math(run);
    run->desc = find_metric(plugin, id);
    assert_non_null(run->desc);
    run->tokens = calloc(n + 1, sizeof *run->tokens);
    assert_non_null(run->tokens);
    for (size_t i = 0; i < n; i++)
        run->tokens[i] = (unsigned char)run->text[i];
    qc_evaluation v = run->view; /* what the test has set stays */
    v.size = sizeof v;
    v.n_vocab = v.n_vocab ? v.n_vocab : RUN_VOCABULARY;
    v.tokens = run->tokens;
    v.n_tokens = n;
    v.special = (qc_special_tokens){sizeof v.special, run->add_bos ? RUN_BOS : QC_NO_TOKEN, RUN_EOS, run->add_bos, 0};
    v.encode = encode;
    v.piece = piece;
    v.read_file = read_file;
    run->view = v;
    return run->desc->create(job, test_settings(settings), &run->view, &run->state);
}

void metric_run_end(metric_run *run)
{
    if (run->state)
        run->desc->destroy(&run->th.host, run->state);
    free(run->tokens);
    test_host_end(&run->th);
}

/* ---- rounds ---- */

typedef struct round {
    qc_ask api; /* first */
    uint32_t *tokens;
    size_t starts[4096], first[4096], n;
} round_of;

static qc_status add(const qc_ask *ask, qc_job *job, const uint32_t *tokens, size_t n, size_t first)
{
    round_of *r = (round_of *)(uintptr_t)ask;
    (void)job;
    assert_true(r->n + 1 < 4096 && n > 0 && first < n);
    size_t begin = r->starts[r->n];
    r->tokens = realloc(r->tokens, (begin + n) * sizeof *r->tokens);
    assert_non_null(r->tokens);
    memcpy(r->tokens + begin, tokens, n * sizeof *tokens);
    r->first[r->n++] = first;
    r->starts[r->n] = begin + n;
    return QC_OK;
}

static qc_status score_round(metric_run *run, const round_of *r)
{
    size_t n_rows = 0, row = 0, n_values = run->desc->n_values;
    for (size_t s = 0; s < r->n; s++)
        n_rows += r->starts[s + 1] - r->starts[s] - r->first[s];
    size_t *first_row = calloc(r->n + 1, sizeof *first_row);
    uint32_t *next = calloc(n_rows, sizeof *next);
    double *values = calloc(n_rows * n_values, sizeof *values);
    float *logits = calloc(run->view.n_vocab, sizeof *logits);
    qc_status status = QC_OK;
    for (size_t s = 0; s < r->n; s++) {
        const uint32_t *tokens = r->tokens + r->starts[s];
        size_t n = r->starts[s + 1] - r->starts[s];
        run->longest = n > run->longest ? n : run->longest;
        for (size_t i = r->first[s]; i < n && status == QC_OK; i++, row++) {
            next[row] = i + 1 < n ? tokens[i + 1] : QC_NO_TOKEN;
            run->model(run, tokens, i + 1, logits);
            status = metric_run_row(run, logits, NULL, run->view.n_vocab, next[row], values + row * n_values);
        }
        first_row[s + 1] = row;
    }
    const qc_scores scores = {sizeof scores, r->n, n_rows, first_row, next, values};
    if (status == QC_OK)
        status = run->desc->take(&run->th.job, run->state, &scores);
    free(first_row);
    free(next);
    free(values);
    free(logits);
    return status;
}

static qc_status add_figure(const qc_figures *out, qc_job *job, const qc_figure *f)
{
    metric_run *run = *(metric_run *const *)(const void *)(out + 1);
    (void)job;
    assert_true(run->n_figures < RUN_MOST_FIGURES);
    run_figure *to = &run->figures[run->n_figures++];
    snprintf(to->name, sizeof to->name, "%s", f->name);
    to->value = f->value;
    to->error = f->error;
    to->flags = f->flags;
    return QC_OK;
}

static qc_status report(metric_run *run)
{
    const struct {
        qc_figures api;
        metric_run *run;
    } out = {{sizeof out.api, add_figure}, run};
    return run->desc->report(&run->th.job, run->state, &out.api);
}

qc_status metric_run_all(metric_run *run)
{
    qc_status status;
    size_t asked;
    do {
        round_of *r = calloc(1, sizeof *r);
        r->api = (qc_ask){sizeof r->api, add};
        status = run->desc->ask(&run->th.job, run->state, &r->api);
        asked = r->n;
        run->n_rounds += asked > 0;
        run->n_sequences += asked;
        if (status == QC_OK && asked)
            status = score_round(run, r);
        free(r->tokens);
        free(r);
    } while (status == QC_OK && asked);
    return status == QC_OK ? report(run) : status;
}

qc_status metric_run_row(metric_run *run, const float *logits, const float *reference, size_t n_vocab, uint32_t next,
                         double *values)
{
    const qc_scored row = {
        .size = sizeof row, .next = next, .n_vocab = n_vocab, .logits = logits, .reference = reference};
    return run->desc->score(&run->th.job, run->state, &row, values);
}

qc_status metric_run_rows(metric_run *run, const double *values, const uint32_t *next, size_t n)
{
    const size_t first_row[] = {0, n};
    const qc_scores scores = {sizeof scores, 1, n, first_row, next, values};
    qc_status status = run->desc->take(&run->th.job, run->state, &scores);
    return status == QC_OK ? report(run) : status;
}

static const run_figure *find_figure(const metric_run *run, const char *name)
{
    for (size_t i = 0; i < run->n_figures; i++)
        if (!strcmp(run->figures[i].name, name))
            return &run->figures[i];
    fail_msg("no figure %s", name);
    return NULL;
}

double metric_run_value(const metric_run *run, const char *name)
{
    return find_figure(run, name)->value;
}

double metric_run_error(const metric_run *run, const char *name)
{
    return find_figure(run, name)->error;
}

char *metric_run_spell(const metric_run *run, const uint32_t *tokens, size_t n)
{
    char *text = calloc(n * 16 + 1, 1);
    size_t at = 0;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        size_t length = 0;
        const char *bytes = piece(&run->view, tokens[i], &length);
        if (length)
            memcpy(text + at, bytes, length);
        at += length;
    }
    return text;
}
