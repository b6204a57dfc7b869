#include "ids.h"
#include <string.h>

qc_status ids_append(qc_job *job, id_list *list, const uint32_t *ids, size_t n)
{
    if (n > list->capacity - list->n) {
        size_t capacity = 2 * list->capacity + n + 16;
        uint32_t *grown = capacity <= SIZE_MAX / 8 ? job->host->alloc(job->host, capacity * sizeof *grown) : NULL;
        if (!grown)
            return qc_fail(job, QC_E_NOMEM, "out of memory for %zu tokens", capacity);
        if (list->n)
            memcpy(grown, list->ids, list->n * sizeof *grown);
        job->host->free(job->host, list->ids);
        list->ids = grown;
        list->capacity = capacity;
    }
    if (n)
        memcpy(list->ids + list->n, ids, n * sizeof *ids);
    list->n += n;
    return QC_OK;
}

void ids_free(const qc_host *host, id_list *list)
{
    host->free(host, list->ids);
    *list = (id_list){0};
}

typedef struct id_sink {
    qc_tokens tokens; /* first: what the tokenizer sees */
    id_list *list;
} id_sink;

static qc_status push(const qc_tokens *out, qc_job *job, const uint32_t *ids, size_t n)
{
    return ids_append(job, ((const id_sink *)(const void *)out)->list, ids, n);
}

qc_status ids_encode(const qc_evaluation *e, qc_job *job, const char *text, size_t n, uint32_t flags, id_list *list)
{
    const id_sink sink = {{sizeof sink.tokens, push}, list};
    size_t before = list->n;
    qc_status status = e->encode(e, job, text, n, flags, &sink.tokens);
    int ended = status == QC_OK && flags & QC_ENCODE_ADD && e->special.add_eos && list->n > before;
    if (ended && list->ids[list->n - 1] == e->special.eos)
        list->n--;
    return status;
}

static qc_status encode_joined(const qc_evaluation *e, qc_job *job, const char *prompt, const char *rest,
                               uint32_t flags, id_list *whole)
{
    size_t n_prompt = strlen(prompt), n_rest = strlen(rest);
    char *text = job->host->alloc(job->host, n_prompt + n_rest + 1);
    if (!text)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a prompt of %zu bytes", n_prompt + n_rest);
    snprintf(text, n_prompt + n_rest + 1, "%s%s", prompt, rest);
    qc_status status = ids_encode(e, job, text, n_prompt + n_rest, flags, whole);
    job->host->free(job->host, text);
    return status;
}

qc_status ids_encode_both(const qc_evaluation *e, qc_job *job, const char *prompt, const char *rest, uint32_t flags,
                          id_list *head, id_list *tail)
{
    id_list whole = {0};
    qc_status status = ids_encode(e, job, prompt, strlen(prompt), flags, head);
    if (status == QC_OK)
        status = encode_joined(e, job, prompt, rest, flags, &whole);
    int begins = status == QC_OK && head->n < whole.n &&
                 (head->n == 0 || memcmp(head->ids, whole.ids, head->n * sizeof *head->ids) == 0);
    if (begins)
        status = ids_append(job, tail, whole.ids + head->n, whole.n - head->n);
    else if (status == QC_OK)
        status = ids_encode(e, job, rest, strlen(rest), 0, tail);
    ids_free(job->host, &whole);
    return status;
}
