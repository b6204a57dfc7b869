/* Every input stands once for each file that a tokenizer reads, beside sound ones. What is accepted must be a
 * vocabulary that readers can load: as many tokens as rows, each of a known type. */
#include "fuzz.h"
#include "memory_source.h"
#include "qcore/tokenizer.h"
#include "test_host.h"
#include "test_plugin.h"
#include <stdlib.h>

enum { ROWS = 12 };

static const char sound_list[] =
    "{\"added_tokens\": [{\"id\": 4, \"content\": \"<s>\", \"special\": true}],"
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"]}}";

/* Pieces <unk> (type 2) and <s> (3); a trainer_spec that says BPE. */
static const char sound_model[] = "\n\x09\n\x05<unk>\x18\x02\n\x07\n\x03<s>\x18\x03\x12\x02\x18\x02";

static const struct slot {
    const char *name; /* of the file that the input is */
    const char *other; /* the tokenizer's own file, where the input is another */
    const char *data;
    size_t length;
} slots[] = {
    {"tokenizer.json", NULL, NULL, 0},
    {"tokenizer.model", NULL, NULL, 0},
    {"tokenizer_config.json", "tokenizer.json", sound_list, sizeof sound_list - 1},
    {"config.json", "tokenizer.json", sound_list, sizeof sound_list - 1},
    {"chat_template.json", "tokenizer.json", sound_list, sizeof sound_list - 1},
    {"added_tokens.json", "tokenizer.model", sound_model, sizeof sound_model - 1},
    {"tokenizer_config.json", "tokenizer.model", sound_model, sizeof sound_model - 1},
};

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void check_vocabulary(const memory_model *m)
{
    const qc_meta *tokens = memory_model_meta(m, "tokenizer.ggml.tokens");
    const qc_meta *types = memory_model_meta(m, "tokenizer.ggml.token_type");
    expect(tokens && tokens->count == ROWS && tokens->type == QC_TEXT, "as many tokens as rows");
    expect(types && types->count == ROWS && types->type == QC_I32, "as many types as rows");
    for (size_t i = 0; i < ROWS; i++) {
        int32_t type = ((const int32_t *)types->data)[i];
        expect(type >= 1 && type <= 6, "a type that readers know");
    }
    expect(memory_model_meta(m, "tokenizer.ggml.add_bos_token") != NULL, "it is said whether a text is framed");
}

static void run_slot(const qc_tokenizer_desc *tokenizer, const struct slot *slot, const uint8_t *data, size_t size)
{
    static const test_setting settings[] = {{"pre", 0, ""}, {NULL, 0, NULL}};
    test_host th;
    memory_folder f;
    memory_model m;
    qc_job *job = test_host_begin(&th);
    memory_folder_begin(&f);
    memory_model_begin(&m);
    memory_folder_add(&f, slot->name, data, size);
    if (slot->other)
        memory_folder_add(&f, slot->other, slot->data, slot->length);
    qc_status status = tokenizer->import(job, &f.source, test_settings(settings), ROWS, &m.scan);
    expect((status == QC_OK) == (th.status == QC_OK), "a failure has a message, a success none");
    if (status == QC_OK)
        check_vocabulary(&m);
    memory_model_end(&m);
    memory_folder_end(&f);
    test_host_end(&th);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const qc_plugin *plugin = test_plugin_open("subword");
    for (uint32_t i = 0; i < plugin->n_descs; i++)
        for (size_t k = 0; k < sizeof slots / sizeof *slots; k++)
            run_slot((const qc_tokenizer_desc *)(const void *)plugin->descs[i], &slots[k], data, size);
    return 0;
}
