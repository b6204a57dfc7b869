#include "tokenizer_run.h"
#include "test_plugin.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

void tokenizer_run_begin(tokenizer_run *r)
{
    memset(r, 0, sizeof *r);
    r->job = test_host_begin(&r->host);
    memory_folder_begin(&r->folder);
    memory_model_begin(&r->model);
}

void tokenizer_run_add(tokenizer_run *r, const char *name, const char *text)
{
    memory_folder_add(&r->folder, name, text, strlen(text));
}

void tokenizer_run_end(tokenizer_run *r)
{
    memory_model_end(&r->model);
    memory_folder_end(&r->folder);
    test_host_end(&r->host);
}

static const qc_tokenizer_desc *find_tokenizer(const char *id)
{
    const qc_plugin *plugin = test_plugin_open("subword");
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        if (strcmp(plugin->descs[i]->id, id) == 0)
            return (const qc_tokenizer_desc *)(const void *)plugin->descs[i];
    fail_msg("no tokenizer %s", id);
    return NULL;
}

void tokenizer_run_import(tokenizer_run *r, const char *id, const char *pre, uint32_t vocab_size)
{
    const test_setting settings[] = {{"pre", 0, pre}, {NULL, 0, NULL}};
    r->status = find_tokenizer(id)->import(r->job, &r->folder.source, test_settings(settings), vocab_size,
                                           &r->model.scan);
    if (r->status == QC_OK && r->host.status != QC_OK)
        fail_msg("a success with the message \"%s\"", r->host.message);
}

static const qc_meta *find_meta(const qc_metadata *metadata, const char *key)
{
    const tokenizer_run *r = (const tokenizer_run *)(const void *)((const char *)metadata -
                                                                   offsetof(tokenizer_run, metadata));
    return memory_model_meta(&r->model, key);
}

const qc_metadata *tokenizer_run_metadata(tokenizer_run *r)
{
    r->metadata = (qc_metadata){sizeof r->metadata, find_meta};
    return &r->metadata;
}

void tokenizer_run_open(tokenizer_run *r, const char *id, opened_tokenizer *t)
{
    *t = (opened_tokenizer){.desc = find_tokenizer(id)};
    r->status = t->desc->open(r->job, tokenizer_run_metadata(r), &t->state);
    if ((r->status == QC_OK) != (r->host.status == QC_OK) || (r->status == QC_OK) != (t->state != NULL))
        fail_msg("status %d, but message \"%s\"", r->status, r->host.message);
}

typedef struct pusher {
    qc_tokens api; /* first: push gets it back */
    opened_tokenizer *t;
} pusher;

static qc_status push(const qc_tokens *out, qc_job *job, const uint32_t *ids, size_t n)
{
    opened_tokenizer *t = ((const pusher *)(const void *)out)->t;
    (void)job;
    if (t->n + n > t->capacity) {
        t->capacity = 2 * (t->n + n);
        t->ids = realloc(t->ids, t->capacity * sizeof *t->ids);
        assert_non_null(t->ids);
    }
    memcpy(t->ids + t->n, ids, n * sizeof *ids);
    t->n += n;
    return QC_OK;
}

void opened_tokenizer_encode(tokenizer_run *r, opened_tokenizer *t, const char *text, size_t n, uint32_t flags)
{
    const pusher p = {{sizeof p.api, push}, t};
    t->n = 0;
    r->status = t->desc->encode(r->job, t->state, text, n, flags, &p.api);
    if (r->status == QC_OK)
        test_host_reset(&r->host);
}

void opened_tokenizer_end(const tokenizer_run *r, opened_tokenizer *t)
{
    if (t->state)
        t->desc->close(&r->host.host, t->state);
    free(t->ids);
}

void tokenizer_run_expect_refusal(const tokenizer_run *r, qc_status status, const char *part)
{
    if (r->status != status || !strstr(r->host.message, part))
        fail_msg("status %d, \"%s\" instead of %d, \"%s\"", r->status, r->host.message, status, part);
}
