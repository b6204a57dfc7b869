/* Every family imports every config.json. What it accepts must have the sizes that readers need, within bounds. */
#include "fuzz.h"
#include "memory_source.h"
#include "qcore/architecture.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static qc_status check_vector(const qc_import *out, qc_job *job, const char *canonical, const float *values, size_t n)
{
    (void)out;
    (void)job;
    expect(canonical && n >= 1, "a generated tensor has a name and values");
    for (size_t i = 0; i < n; i++)
        expect(values[i] - values[i] == 0, "generated values are finite");
    return QC_OK;
}

static void check_metadata(const memory_model *m, const char *family)
{
    static const char *const keys[] = {"block_count",         "context_length",       "embedding_length",
                                       "feed_forward_length", "attention.head_count", "attention.head_count_kv",
                                       "rope.dimension_count"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[96];
        snprintf(key, sizeof key, "%s.%s", family, keys[i]);
        const qc_meta *meta = memory_model_meta(m, key);
        expect(meta && meta->type == QC_U32 && *(const uint32_t *)meta->data >= 1, key);
    }
}

static qc_status check_shape(const qc_import *out, qc_job *job, const char *canonical, uint64_t cols, uint64_t rows)
{
    (void)out;
    (void)job;
    (void)rows;
    expect(canonical[0] && cols > 0, "a shape has a name and columns");
    return QC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const qc_plugin *plugin = test_plugin_open("llama");
    for (uint32_t i = 0; i < plugin->n_descs; i++) {
        const qc_architecture_desc *family = (const qc_architecture_desc *)(const void *)plugin->descs[i];
        test_host th;
        memory_folder f;
        memory_model m;
        qc_job *job = test_host_begin(&th);
        memory_folder_begin(&f);
        memory_model_begin(&m);
        memory_folder_add(&f, "config.json", data, size);
        const qc_import out = {sizeof out, &m.scan, check_vector, check_shape};
        qc_status status = family->import(job, &f.source, &out);
        expect((status == QC_OK) == (th.status == QC_OK), "a failure has a message, a success none");
        if (status == QC_OK)
            check_metadata(&m, family->base.id);
        memory_model_end(&m);
        memory_folder_end(&f);
        test_host_end(&th);
    }
    return 0;
}
