/* The order of sources is that of llama.cpp's converter (gguf-py, vocab.py): names in tokenizer_config.json, corrected
 * by the template of tokenizer.json's post-processor, then ids in config.json. */
#include "special.h"

static const struct {
    const char *name, *key;
} duties[N_SPECIAL] = {
    {"bos", "tokenizer.ggml.bos_token_id"},     {"eos", "tokenizer.ggml.eos_token_id"},
    {"unk", "tokenizer.ggml.unknown_token_id"}, {"sep", "tokenizer.ggml.seperator_token_id"}, /* their spelling */
    {"pad", "tokenizer.ggml.padding_token_id"}, {"mask", "tokenizer.ggml.mask_token_id"},
    {"eot", "tokenizer.ggml.eot_token_id"},
};

enum { UNKNOWN = -1 };

typedef struct special {
    const char *texts[N_SPECIAL]; /* or NULL */
    int add_bos, add_eos; /* 0, 1 or UNKNOWN */
} special;

/* "bos_token": "<s>", or an object with the text as "content". */
static const char *read_text(const json_t *settings, const char *name)
{
    char key[32];
    snprintf(key, sizeof key, "%s_token", name);
    const json_t *value = json_object_get(settings, key);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static const char *special_of(const json_t *item)
{
    return json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
}

/* What a template puts in front is the beginning of text, whatever its name elsewhere; what it puts at the end is the
 * end of text, and another end of text then only ends a turn. */
static void read_template(special *s, const json_t *single)
{
    size_t n = json_array_size(single);
    const char *first = special_of(json_array_get(single, 0));
    const char *last = n > 0 ? special_of(json_array_get(single, n - 1)) : NULL;
    if (n < 2)
        return;
    if (first) {
        s->texts[SPECIAL_BOS] = first;
        s->add_bos = 1;
    }
    if (last) {
        const char *eos = s->texts[SPECIAL_EOS];
        if (eos && strcmp(eos, last) != 0)
            s->texts[SPECIAL_EOT] = eos;
        s->texts[SPECIAL_EOS] = last;
        s->add_eos = 1;
    }
}

static void read_processor(special *s, const json_t *processor)
{
    const char *type = type_of(processor);
    if (strcmp(type, "TemplateProcessing") == 0)
        read_template(s, json_object_get(processor, "single"));
    else if (strcmp(type, "RobertaProcessing") == 0)
        s->add_bos = s->add_eos = 1;
    else if (strcmp(type, "ByteLevel") == 0) {
        s->add_bos = s->add_bos == UNKNOWN ? 0 : s->add_bos;
        s->add_eos = s->add_eos == UNKNOWN ? 0 : s->add_eos;
    }
}

static int read_switch(const json_t *settings, const char *key, int otherwise)
{
    const json_t *value = json_object_get(settings, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static void read_special(special *s, const files *f, const special_defaults *defaults)
{
    *s = (special){{NULL}, UNKNOWN, UNKNOWN};
    for (int i = 0; i < N_SPECIAL; i++)
        s->texts[i] = read_text(f->settings, duties[i].name);
    const json_t *processor = json_object_get(f->tokenizer, "post_processor");
    const json_t *list = json_object_get(processor, "processors");
    if (!list)
        read_processor(s, processor);
    for (size_t i = 0; i < json_array_size(list); i++)
        read_processor(s, json_array_get(list, i));
    if (s->add_bos == UNKNOWN)
        s->add_bos = read_switch(f->settings, "add_bos_token", defaults->add_bos);
    if (s->add_eos == UNKNOWN)
        s->add_eos = read_switch(f->settings, "add_eos_token", defaults->add_eos);
}

/* "bos_token_id" of config.json; of several, the first. */
static int read_model_id(const files *f, const char *name, uint64_t *id)
{
    char key[32];
    snprintf(key, sizeof key, "%s_token_id", name);
    const json_t *value = json_object_get(f->model, key);
    if (!value || json_is_null(value))
        value = json_object_get(json_object_get(f->model, "text_config"), key);
    return read_id(json_is_array(value) ? json_array_get(value, 0) : value, id);
}

static uint32_t find_id(const special *s, const files *f, const vocabulary *v, int duty, int32_t otherwise)
{
    uint64_t id = UINT32_MAX;
    if (s->texts[duty])
        id = vocabulary_find(v, s->texts[duty], strlen(s->texts[duty]));
    if (id == UINT32_MAX && !read_model_id(f, duties[duty].name, &id) && otherwise >= 0)
        id = (uint64_t)otherwise;
    return id < v->size ? (uint32_t)id : UINT32_MAX;
}

qc_status special_report(const files *f, const vocabulary *v, const special_defaults *defaults, const qc_scan *out)
{
    special s;
    uint32_t ids[N_SPECIAL];
    qc_status status = QC_OK;
    read_special(&s, f, defaults);
    for (int i = 0; i < N_SPECIAL; i++)
        ids[i] = find_id(&s, f, v, i, defaults->ids[i]);
    /* A reader that is told to add a token that it does not know gives up. */
    int add_bos = s.add_bos && ids[SPECIAL_BOS] != UINT32_MAX, add_eos = s.add_eos && ids[SPECIAL_EOS] != UINT32_MAX;
    if (ids[SPECIAL_BOS] == UINT32_MAX)
        ids[SPECIAL_BOS] = ids[SPECIAL_EOS]; /* as GPT-2 has it; llama.cpp would take id 11 */
    for (int i = 0; i < N_SPECIAL && status == QC_OK; i++)
        if (ids[i] != UINT32_MAX)
            status = qc_meta_u32(out, v->job, duties[i].key, ids[i]);
    if (status == QC_OK)
        status = qc_meta_bool(out, v->job, "tokenizer.ggml.add_bos_token", add_bos);
    if (status == QC_OK)
        status = qc_meta_bool(out, v->job, "tokenizer.ggml.add_eos_token", add_eos);
    return status;
}
