#include "tasks.h"
#include <jansson.h>
#include <string.h>

/* A line being read. */
typedef struct line {
    qc_job *job;
    const qc_evaluation *e;
    const char *path;
    size_t number;
    json_t *object;
} line;

enum { MOST_CHOICES = 1000, MOST_KINDS = 1000 }; /* kinds are looked up one by one, and each has its figures */

static qc_status bad(const line *l, const char *what)
{
    return qc_fail(l->job, QC_E_INVALID, "%.200s:%zu: %s", l->path, l->number, what);
}

/* Room for one more; 0: out of memory. items: the address of a pointer. */
static void *grow(qc_job *job, void *items, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return items;
    size_t more = 2 * *capacity + 16;
    void *grown = more <= SIZE_MAX / size ? job->host->alloc(job->host, more * size) : NULL;
    if (!grown) {
        qc_fail(job, QC_E_NOMEM, "out of memory for %zu questions", more);
        return NULL;
    }
    if (n)
        memcpy(grown, items, n * size);
    job->host->free(job->host, items);
    *capacity = more;
    return grown;
}

static int is_name(const char *text)
{
    size_t n = strlen(text);
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '.')
            return 0;
    return n > 0 && n < KIND_NAME;
}

static qc_status find_kind(const line *l, task_list *list, const char *name, size_t *kind)
{
    for (*kind = 0; *kind < list->n_kinds; ++*kind)
        if (!strcmp(list->kinds[*kind].name, name))
            return QC_OK;
    if (list->n_kinds == MOST_KINDS)
        return bad(l, "there are more than 1000 \"kind\"s in this file");
    task_kind *kinds = grow(l->job, list->kinds, list->n_kinds, &list->kind_capacity, sizeof *kinds);
    if (!kinds)
        return QC_E_NOMEM;
    list->kinds = kinds;
    snprintf(kinds[list->n_kinds++].name, KIND_NAME, "%s", name);
    return QC_OK;
}

static qc_status read_kind(const line *l, task_list *list, const char *otherwise, size_t *kind)
{
    const json_t *value = json_object_get(l->object, "kind");
    const char *name = value ? json_string_value(value) : otherwise;
    if (!name || !is_name(name))
        return bad(l, "\"kind\" must be a word of at most 47 letters, without points");
    return find_kind(l, list, name, kind);
}

static qc_status read_choice(const line *l, const char *prompt, const char *text, choice *c)
{
    id_list tail = {0};
    qc_status status = ids_encode_both(l->e, l->job, prompt, text, QC_ENCODE_ADD, &c->ids, &tail);
    c->first = c->ids.n;
    c->bytes = strlen(text);
    if (status == QC_OK)
        status = ids_append(l->job, &c->ids, tail.ids, tail.n);
    ids_free(l->job->host, &tail);
    if (status == QC_OK && c->first == 0)
        return bad(l, "\"prompt\" is empty, and this tokenizer begins no text with a token of its own");
    return status;
}

static qc_status read_choices(const line *l, const char *prompt, const json_t *choices, task *t)
{
    size_t n = json_array_size(choices);
    const json_t *answer = json_object_get(l->object, "answer");
    if (!json_is_array(choices) || n < 2 || n > MOST_CHOICES)
        return bad(l, "\"choices\" must be a list of 2 to 1000 texts");
    if (!json_is_integer(answer) || json_integer_value(answer) < 0 || (size_t)json_integer_value(answer) >= n)
        return bad(l, "\"answer\" must be the number of the right choice, counted from 0");
    t->answer = (size_t)json_integer_value(answer);
    t->choices = l->job->host->alloc(l->job->host, n * sizeof *t->choices);
    if (!t->choices)
        return qc_fail(l->job, QC_E_NOMEM, "out of memory for %zu choices", n);
    t->n_choices = n;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        if (!text || !*text)
            return bad(l, "every choice must be a text that is not empty");
        qc_status status = read_choice(l, prompt, text, &t->choices[i]);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status read_exact(const line *l, const char *prompt, task *t)
{
    const char *answer = json_string_value(json_object_get(l->object, "answer"));
    greedy *g = &t->exact;
    if (!answer || !*answer)
        return bad(l, "\"answer\" must be a text that is not empty (or a number, beside \"choices\")");
    g->n = strlen(answer);
    g->answer = l->job->host->alloc(l->job->host, g->n + 1);
    if (!g->answer)
        return qc_fail(l->job, QC_E_NOMEM, "out of memory for an answer");
    memcpy(g->answer, answer, g->n);
    qc_status status = ids_encode_both(l->e, l->job, prompt, answer, QC_ENCODE_ADD, &g->said, &g->guess);
    if (status == QC_OK && g->said.n == 0)
        return bad(l, "\"prompt\" is empty, and this tokenizer begins no text with a token of its own");
    return status;
}

static qc_status read_object(const line *l, task_list *list)
{
    const char *prompt = json_string_value(json_object_get(l->object, "prompt"));
    const json_t *choices = json_object_get(l->object, "choices");
    if (!json_is_object(l->object))
        return bad(l, "not a JSON object");
    if (!prompt)
        return bad(l, "\"prompt\" is missing, or no text");
    task *tasks = grow(l->job, list->tasks, list->n_tasks, &list->task_capacity, sizeof *tasks);
    if (!tasks)
        return QC_E_NOMEM;
    list->tasks = tasks;
    task *t = &tasks[list->n_tasks++];
    qc_status status = read_kind(l, list, choices ? "choice" : "exact", &t->kind);
    if (status != QC_OK)
        return status;
    return choices ? read_choices(l, prompt, choices, t) : read_exact(l, prompt, t);
}

static qc_status read_line(line *l, const char *text, size_t n, task_list *list)
{
    json_error_t error;
    size_t blank = 0;
    while (blank < n && (text[blank] == ' ' || text[blank] == '\t' || text[blank] == '\r'))
        blank++;
    if (blank == n)
        return QC_OK;
    l->object = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!l->object && error.line < 0)
        return qc_fail(l->job, QC_E_NOMEM, "%.200s: out of memory", l->path);
    if (!l->object)
        return qc_fail(l->job, QC_E_INVALID, "%.200s:%zu:%d: %s", l->path, l->number, error.column, error.text);
    qc_status status = read_object(l, list);
    json_decref(l->object);
    return status;
}

static qc_status read_lines(line *l, const char *text, size_t n, size_t limit, task_list *out)
{
    size_t at = 0;
    while (at < n && (limit == 0 || out->n_tasks < limit)) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t length = end ? (size_t)(end - text) - at : n - at;
        l->number++;
        qc_status status = read_line(l, text + at, length, out);
        if (status != QC_OK)
            return status;
        at += length + 1;
    }
    return out->n_tasks ? QC_OK : qc_fail(l->job, QC_E_INVALID, "%.200s: no question in it", l->path);
}

qc_status task_file_read(qc_job *job, const qc_evaluation *e, const char *path, size_t limit, task_list *out)
{
    line l = {.job = job, .e = e, .path = path};
    char *text = NULL;
    size_t n = 0;
    if (!*path)
        return qc_fail(job, QC_E_INVALID, "setting 'file' is missing: a JSONL file of questions");
    qc_status status = e->read_file(e, job, path, &text, &n);
    if (status == QC_OK)
        status = read_lines(&l, text, n, limit, out);
    job->host->free(job->host, text);
    return status;
}

void task_list_free(const qc_host *host, task_list *list)
{
    for (size_t i = 0; i < list->n_tasks; i++) {
        task *t = &list->tasks[i];
        for (size_t k = 0; k < t->n_choices; k++)
            ids_free(host, &t->choices[k].ids);
        host->free(host, t->choices);
        greedy_free(host, &t->exact);
    }
    host->free(host, list->tasks);
    host->free(host, list->kinds);
    *list = (task_list){0};
}
