#include "config.h"
#include "shards.h"

enum { MAX_CONFIG = 16 << 20, MAX_EDITS = 5 };

/* A value of the outermost object that changes: text NULL: the key goes. */
typedef struct edit {
    const char *key, *text;
    int used;
} edit;

typedef struct editor {
    qc_job *job;
    const char *from, *end;
    char *to;
    size_t n;
    int any; /* was a member written? */
} editor;

typedef struct member {
    const char *lead, *key, *value, *end; /* lead: white space before the key */
    size_t key_length;
} member;

/* ---- what changes ---- */

const char *st_plain_encoding(const qc_model *model)
{
    static const char *const names[] = {"bf16", "f16", "f32"};
    uint64_t bytes[3] = {0}, most = 0;
    const char *found = NULL;
    for (size_t i = 0; i < model->n_tensors; i++)
        for (size_t k = 0; k < 3; k++)
            if (!strcmp(model->tensors[i]->encoding, names[k]))
                bytes[k] += model->tensors[i]->bytes;
    for (size_t k = 0; k < 3; k++)
        if (bytes[k] > most) {
            most = bytes[k];
            found = names[k];
        }
    return found;
}

static const char *torch_name(const char *encoding)
{
    static const char *const names[][2] = {{"bf16", "bfloat16"}, {"f16", "float16"}, {"f32", "float32"}};
    for (size_t i = 0; i < 3; i++)
        if (encoding && !strcmp(names[i][0], encoding))
            return names[i][1];
    return NULL;
}

static int has_tensor(const qc_model *model, const char *name)
{
    for (size_t i = 0; i < model->n_tensors; i++)
        if (!strcmp(model->tensors[i]->name, name))
            return 1;
    return 0;
}

static void add_edit(edit *edits, size_t *n, const char *key, const char *text)
{
    edits[(*n)++] = (edit){key, text, 0};
}

/* word: room for a quoted dtype. */
static size_t list_edits(const qc_model *model, const json_t *config, const char *quantization, char word[32],
                         edit edits[MAX_EDITS])
{
    static const char *const dtype_keys[] = {"dtype", "torch_dtype"};
    size_t n = 0;
    const char *dtype = torch_name(st_plain_encoding(model));
    for (size_t i = 0; i < 2 && dtype; i++) {
        const json_t *now = json_object_get(config, dtype_keys[i]);
        const char *text = json_string_value(now);
        if (!now || (text && !strcmp(text, dtype)))
            continue;
        snprintf(word, 32, "\"%s\"", dtype);
        add_edit(edits, &n, dtype_keys[i], word);
    }
    if (json_is_true(json_object_get(config, "tie_word_embeddings")) && has_tensor(model, "lm_head.weight"))
        add_edit(edits, &n, "tie_word_embeddings", "false"); /* what is stored counts */
    if (json_object_get(config, "compression_config"))
        add_edit(edits, &n, "compression_config", NULL);
    if (quantization || json_object_get(config, "quantization_config"))
        add_edit(edits, &n, "quantization_config", quantization);
    return n;
}

/* ---- the text, which is JSON for sure ---- */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_string(const char *at)
{
    for (at++; *at != '"'; at++)
        at += *at == '\\';
    return at + 1;
}

static const char *skip_value(const char *at)
{
    int depth = 0;
    for (;;) {
        if (*at == '"') {
            at = skip_string(at);
        } else {
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
            at++;
        }
        if (depth == 0 && strchr(",}] \t\r\n", *at))
            return at;
    }
}

static member read_member(const char *lead)
{
    member m = {.lead = lead, .key = skip_space(lead) + 1};
    const char *after = skip_string(m.key - 1);
    m.key_length = (size_t)(after - 1 - m.key);
    m.value = skip_space(skip_space(after) + 1);
    m.end = skip_value(m.value);
    return m;
}

static void put(editor *e, const char *text, size_t n)
{
    memcpy(e->to + e->n, text, n);
    e->n += n;
}

static void put_word(editor *e, const char *text)
{
    put(e, text, strlen(text));
}

static void put_comma(editor *e)
{
    if (e->any)
        put_word(e, ",");
    e->any = 1;
}

static void put_member(editor *e, const member *m, edit *edits, size_t n_edits)
{
    for (size_t i = 0; i < n_edits; i++) {
        if (strlen(edits[i].key) != m->key_length || memcmp(edits[i].key, m->key, m->key_length) != 0)
            continue;
        edits[i].used = 1;
        if (!edits[i].text)
            return;
        put_comma(e);
        put(e, m->lead, (size_t)(m->value - m->lead));
        put_word(e, edits[i].text);
        return;
    }
    put_comma(e);
    put(e, m->lead, (size_t)(m->end - m->lead));
}

static void put_new(editor *e, const edit *edits, size_t n_edits)
{
    for (size_t i = 0; i < n_edits; i++) {
        if (edits[i].used || !edits[i].text)
            continue;
        put_comma(e);
        put_word(e, "\n  \"");
        put_word(e, edits[i].key);
        put_word(e, "\": ");
        put_word(e, edits[i].text);
    }
}

static void put_config(editor *e, edit *edits, size_t n_edits)
{
    const char *at = strchr(e->from, '{') + 1;
    put_word(e, "{");
    while (*skip_space(at) != '}') {
        member m = read_member(at);
        put_member(e, &m, edits, n_edits);
        at = skip_space(m.end);
        if (*at != ',') {
            at = m.end;
            break;
        }
        at++;
    }
    put_new(e, edits, n_edits);
    put(e, at, (size_t)(e->end - at));
}

static qc_status write_config(qc_job *job, const qc_layout *out, const char *text, size_t length, edit *edits,
                              size_t n_edits)
{
    editor e = {.job = job, .from = text, .end = text + length};
    size_t most = length;
    for (size_t i = 0; i < n_edits; i++)
        most += strlen(edits[i].key) + (edits[i].text ? strlen(edits[i].text) : 0) + 16;
    e.to = job->host->alloc(job->host, most);
    if (!e.to)
        return qc_fail(job, QC_E_NOMEM, ST_CONFIG ": out of memory");
    put_config(&e, edits, n_edits);
    qc_status status = st_lay_out_text(job, out, ST_CONFIG, e.to, e.n);
    job->host->free(job->host, e.to);
    return status;
}

/* The value as it stands, indented, in an object. Owned: free of host. */
static char *member_text(qc_job *job, json_t *value)
{
    static const size_t before = sizeof "{\n  \"x\": " - 1, behind = sizeof "\n}" - 1;
    json_t *object = json_pack("{s:O}", "x", value);
    size_t n = object ? json_dumpb(object, NULL, 0, JSON_INDENT(2)) : 0;
    char *text = n ? job->host->alloc(job->host, n + 1) : NULL;
    if (text) {
        json_dumpb(object, text, n, JSON_INDENT(2));
        memmove(text, text + before, n - before - behind);
        text[n - before - behind] = '\0';
    }
    json_decref(object);
    return text;
}

static qc_status edit_config(qc_job *job, const qc_model *model, json_t *quantization, const qc_layout *out,
                             const char *text, size_t length)
{
    json_t *config;
    edit edits[MAX_EDITS];
    char word[32];
    qc_status status = qc_parse_json(job, ST_CONFIG, text, length, &config);
    if (status != QC_OK)
        return status;
    char *added = quantization ? member_text(job, quantization) : NULL;
    size_t n = list_edits(model, config, added, word, edits);
    if (quantization && !added)
        status = qc_fail(job, QC_E_NOMEM, ST_CONFIG ": out of memory");
    else if (n)
        status = write_config(job, out, text, length, edits, n);
    job->host->free(job->host, added);
    json_decref(config);
    return status;
}

qc_status st_lay_out_config(qc_job *job, const qc_model *model, json_t *quantization, const qc_layout *out)
{
    char *text = NULL;
    size_t length;
    if (!st_folder(model))
        return QC_OK;
    qc_status status = qc_read_file(job, st_folder(model), ST_CONFIG, !quantization, MAX_CONFIG, &text, &length);
    if (status == QC_OK && text)
        status = edit_config(job, model, quantization, out, text, length);
    job->host->free(job->host, text);
    return status;
}
