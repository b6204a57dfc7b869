/* Every input is a GGUF file whose tokenizer is opened, and a text: its own bytes. What is accepted must encode any bytes
 * into ids that there are, and have a piece for every id. */
#include "fuzz.h"
#include "memory_source.h"
#include "qcore/tokenizer.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

typedef struct view {
    qc_metadata api; /* first: find gets it back */
    const memory_model *model;
} view;

typedef struct counter {
    qc_tokens api; /* first: push gets it back */
    uint64_t n_tokens;
} counter;

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static const qc_meta *find(const qc_metadata *metadata, const char *key)
{
    return memory_model_meta(((const view *)(const void *)metadata)->model, key);
}

static qc_status push(const qc_tokens *out, qc_job *job, const uint32_t *ids, size_t n)
{
    const counter *c = (const counter *)(const void *)out;
    (void)job;
    for (size_t i = 0; i < n; i++)
        expect(ids[i] < c->n_tokens, "ids are those of tokens");
    return QC_OK;
}

static void run(const qc_tokenizer_desc *tokenizer, const view *v, const uint8_t *text, size_t size)
{
    test_host th;
    qc_job *job = test_host_begin(&th);
    void *state = NULL;
    qc_status status = tokenizer->open(job, &v->api, &state);
    expect((status == QC_OK) == (th.status == QC_OK), "a failure has a message, a success none");
    expect((status == QC_OK) == (state != NULL), "a success has a state, a failure none");
    for (uint32_t flags = 0; state && flags < 4; flags++) {
        const counter c = {{sizeof c.api, push}, memory_model_meta(v->model, "tokenizer.ggml.tokens")->count};
        qc_special_tokens special = {.size = sizeof special};
        size_t length;
        tokenizer->special(state, &special);
        expect(special.bos == QC_NO_TOKEN || special.bos < c.n_tokens, "the beginning of text is a token");
        expect(tokenizer->encode(job, state, (const char *)text, size, flags, &c.api) == QC_OK, "any bytes are a text");
        for (uint64_t i = 0; i <= c.n_tokens; i++)
            expect(tokenizer->piece(state, (uint32_t)i, &length) != NULL && length < size, "every id has a piece");
        test_host_reset(&th);
    }
    if (state)
        tokenizer->close(&th.host, state);
    test_host_end(&th);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const qc_plugin *plugin = test_plugin_open("subword");
    const qc_format_desc *gguf = test_format_open("gguf");
    test_host th;
    memory_folder f;
    memory_model m;
    void *index = NULL;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    memory_model_begin(&m);
    memory_folder_add(&f, "model.gguf", data, size);
    if (gguf->scan(job, &f.source, &m.scan, &index) == QC_OK) {
        const view v = {{sizeof v.api, find}, &m};
        for (uint32_t i = 0; i < plugin->n_descs; i++)
            run((const qc_tokenizer_desc *)(const void *)plugin->descs[i], &v, data, size);
        if (gguf->release)
            gguf->release(&th.host, index);
    }
    memory_model_end(&m);
    memory_folder_end(&f);
    test_host_end(&th);
    return 0;
}
