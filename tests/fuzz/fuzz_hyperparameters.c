/* Metadata that anyone may have written (tests/support/meta_text.h) goes to every family; what is accepted runs a block
 * whose weights have sizes of their own. */
#include "fuzz.h"
#include "lent_pass.h"
#include "meta_text.h"
#include "test_ops.h"
#include "test_plugin.h"
#include <stdlib.h>

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void run_block(test_host *th, const qc_architecture_desc *family, const void *state)
{
    static const size_t starts[] = {0, 1, 4};
    float x[4 * 16] = {1, 2, 3};
    lent_pass pass;
    lent_begin(&pass, 0, starts, 2);
    pass.norms_heads = 1;
    qc_status status = family->block(&th->job, state, &pass.pass, x);
    expect((status == QC_OK) == (th->status == QC_OK), "a failure of a block has a message, a success none");
}

static void check_family(const qc_architecture_desc *family, const char *text)
{
    test_host th;
    memory_model m;
    void *state = NULL;
    qc_job *job = test_host_begin(&th);
    th.tables = test_ops("scalar");
    memory_model_begin(&m);
    meta_text_add(&m, text);
    meta_view metadata = meta_view_of(&m);
    qc_status status = family->create(job, &metadata.api, &state);
    expect((status == QC_OK) == (th.status == QC_OK), "a failure has a message, a success none");
    expect((status == QC_OK) == (state != NULL), "a state where all is well, else none");
    if (status == QC_OK) {
        run_block(&th, family, state);
        family->destroy(&th.host, state);
    }
    memory_model_end(&m);
    test_host_end(&th);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const qc_plugin *plugin = test_plugin_open("llama");
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        check_family((const qc_architecture_desc *)(const void *)plugin->descs[i], text);
    free(text);
    return 0;
}
