#include "tokenizer_run.h"
#include "test_plugin.h"
#include <setjmp.h>
#include <stdarg.h>

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

void tokenizer_run_expect_refusal(const tokenizer_run *r, qc_status status, const char *part)
{
    if (r->status != status || !strstr(r->host.message, part))
        fail_msg("status %d, \"%s\" instead of %d, \"%s\"", r->status, r->host.message, status, part);
}
