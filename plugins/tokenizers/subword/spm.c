/* SentencePiece's tokenizers: pieces with scores, spaces written as U+2581, bytes as "<0x0A>". */
#include "files.h"
#include "kinds.h"
#include "merges.h"
#include "pretokenizer.h"
#include "sentencepiece.h"
#include "special.h"
#include "template.h"

enum { MAX_MODEL_BYTES = 64 << 20, MAX_ADDED_BYTES = 16 << 20 };

/* What is reported beside the vocabulary. */
typedef struct style {
    const char *model; /* "llama": joins by score; "t5": the most probable cut */
    int add_space_prefix;
    special_defaults special;
    const sentencepiece *unigram; /* the normalizer that "t5" needs; or NULL */
} style;

static qc_status add_piece(void *arg, uint32_t id, const token *piece)
{
    vocabulary *v = (vocabulary *)arg;
    token t = *piece;
    if (t.type == TOKEN_USER_DEFINED) /* found by its score: only those that Hugging Face's files list are split off */
        t.type = TOKEN_NORMAL;
    return id < v->size ? vocabulary_add(v, id, &t) : QC_OK;
}

/* added_tokens.json: {"text": id}. */
static qc_status add_from_list(const qc_source *folder, json_t **list, vocabulary *v)
{
    const char *text;
    json_t *value;
    qc_status status = qc_read_json(v->job, folder, "added_tokens.json", 1, MAX_ADDED_BYTES, list);
    if (status != QC_OK)
        return status;
    json_object_foreach(*list, text, value)
    {
        uint64_t id = 0;
        if (!read_id(value, &id))
            return qc_fail(v->job, QC_E_CORRUPT, "added_tokens.json: token \"%.60s\" has no id", text);
        status = vocabulary_add_added(v, id, text, strlen(text), 0);
        if (status != QC_OK)
            return status;
    }
    return QC_OK;
}

static qc_status report_normalizer(const sentencepiece *m, qc_job *job, const qc_scan *out)
{
    const qc_meta charsmap = {sizeof charsmap, "tokenizer.ggml.precompiled_charsmap", QC_U8, 1, m->charsmap_length,
                              m->charsmap};
    qc_status status = qc_meta_bool(out, job, "tokenizer.ggml.remove_extra_whitespaces", m->remove_extra_whitespaces);
    return status == QC_OK && m->charsmap_length > 0 ? out->meta(out, job, &charsmap) : status;
}

static qc_status report(const files *f, const vocabulary *v, const style *s, const qc_source *folder,
                        const qc_scan *out)
{
    qc_status status = qc_meta_text(out, v->job, "tokenizer.ggml.model", s->model);
    if (status == QC_OK)
        status = qc_meta_text(out, v->job, "tokenizer.ggml.pre", "default");
    if (status == QC_OK)
        status = vocabulary_report(v, out, 1);
    if (status == QC_OK)
        status = special_report(f, v, &s->special, out);
    if (status == QC_OK)
        status = qc_meta_bool(out, v->job, "tokenizer.ggml.add_space_prefix", s->add_space_prefix);
    if (status == QC_OK && s->unigram)
        status = report_normalizer(s->unigram, v->job, out);
    return status == QC_OK ? template_report(f, v->job, folder, out) : status;
}

static void warn_of_model(qc_job *job, const sentencepiece *m, uint32_t vocab_size)
{
    if (m->n_pieces > vocab_size)
        job->host->log(job->host, QC_LOG_WARNING,
                       "tokenizer.model: the last pieces are left out: the embedding has no rows for them");
    if (m->model_type == PIECES_UNIGRAM && m->byte_fallback)
        job->host->log(job->host, QC_LOG_WARNING,
                       "tokenizer.model: llama.cpp's unigram tokenizer has no bytes for unknown characters");
}

static style style_of(const files *f, const sentencepiece *m)
{
    const json_t *prefix = json_object_get(f->settings, "add_prefix_space");
    int is_unigram = m->model_type == PIECES_UNIGRAM;
    style s = {is_unigram ? "t5" : "llama",
               m->add_dummy_prefix,
               {{m->bos_id, m->eos_id, m->unknown_id, -1, m->padding_id, -1, -1}, 1, 0},
               is_unigram ? m : NULL};
    if (json_is_boolean(prefix))
        s.add_space_prefix = json_is_true(prefix);
    return s;
}

static qc_status convert_model(vocabulary *v, const files *f, const qc_source *folder, const char *data, size_t length,
                               const qc_scan *out)
{
    sentencepiece m;
    json_t *added = NULL;
    qc_status status = sentencepiece_read(v->job, data, length, &m, add_piece, v);
    if (status != QC_OK)
        return status;
    if (m.model_type != PIECES_UNIGRAM && m.model_type != PIECES_BPE)
        return qc_fail(v->job, QC_E_UNSUPPORTED, "tokenizer.model: words or characters, which GGUF has no model for");
    const style s = style_of(f, &m);
    warn_of_model(v->job, &m, v->size);
    status = add_from_list(folder, &added, v);
    if (status == QC_OK)
        status = files_add_tokens(f, v);
    if (status == QC_OK)
        status = vocabulary_finish(v);
    if (status == QC_OK)
        status = report(f, v, &s, folder, out);
    json_decref(added);
    return status;
}

/* tokenizer.json of a SentencePiece model: BPE over characters, with bytes for those that are no token. */
static int is_in_style(const json_t *tokenizer)
{
    const json_t *model = json_object_get(tokenizer, "model");
    return strcmp(type_of(model), "BPE") == 0 && json_is_true(json_object_get(model, "byte_fallback")) &&
           json_is_object(json_object_get(model, "vocab")) &&
           !is_byte_level(json_object_get(tokenizer, "pre_tokenizer"));
}

static int is_byte(const token *t)
{
    return t->length == 6 && memcmp(t->text, "<0x", 3) == 0 && t->text[5] == '>';
}

static void settle_types(vocabulary *v, const char *unknown, float score)
{
    for (uint32_t i = 0; i < v->size; i++) {
        token *t = &v->tokens[i];
        if (!t->text)
            continue;
        t->score = score;
        if (is_byte(t))
            t->type = TOKEN_BYTE;
        else if (unknown && strcmp(t->text, unknown) == 0)
            t->type = TOKEN_UNKNOWN;
    }
}

typedef struct scoring {
    vocabulary *v;
    float unset;
} scoring;

/* SentencePiece joins what has the highest score; a merge list joins what stands first. So the score is the rank of the
 * first merge that makes the token. */
static qc_status set_score(void *arg, uint32_t rank, const qc_text *left, const qc_text *right, uint32_t id)
{
    const scoring *s = (const scoring *)arg;
    (void)left;
    (void)right;
    if (s->v->tokens[id].score == s->unset)
        s->v->tokens[id].score = 0.0f - (float)rank;
    return QC_OK;
}

/* Is there a step that puts a space in front of the text: "Prepend", or "Metaspace" unless told otherwise? */
static int prepends_space(const json_t *part, const char *list_key)
{
    const json_t *list = json_object_get(part, list_key);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (prepends_space(json_array_get(list, i), list_key))
            return 1;
    if (strcmp(type_of(part), "Prepend") == 0)
        return 1;
    const char *scheme = json_string_value(json_object_get(part, "prepend_scheme"));
    int told_not = json_is_false(json_object_get(part, "add_prefix_space")) || (scheme && strcmp(scheme, "never") == 0);
    return strcmp(type_of(part), "Metaspace") == 0 && !told_not;
}

/* Without a post-processor: classes of a family put a beginning of text by themselves, the generic ones put nothing. */
static qc_status convert_list(vocabulary *v, const files *f, const qc_source *folder, const qc_scan *out)
{
    const json_t *model = json_object_get(f->tokenizer, "model"), *merges = json_object_get(model, "merges");
    const char *class = json_string_value(json_object_get(f->settings, "tokenizer_class"));
    int frames = !class || (strncmp(class, "PreTrained", 10) != 0 && strncmp(class, "Tokenizers", 10) != 0);
    int prefix = prepends_space(json_object_get(f->tokenizer, "normalizer"), "normalizers") ||
                 prepends_space(json_object_get(f->tokenizer, "pre_tokenizer"), "pretokenizers");
    const style s = {"llama", prefix, {{-1, -1, -1, -1, -1, -1, -1}, frames, 0}, NULL};
    scoring scores = {v, -1.0f - (float)json_array_size(merges)};
    qc_status status = files_add_model(f, v);
    if (status == QC_OK)
        settle_types(v, json_string_value(json_object_get(model, "unk_token")), scores.unset);
    if (status == QC_OK)
        status = files_add_tokens(f, v);
    if (status == QC_OK)
        status = vocabulary_finish(v);
    if (status == QC_OK)
        status = merges_visit(merges, v, set_score, &scores);
    return status == QC_OK ? report(f, v, &s, folder, out) : status;
}

static qc_status convert(qc_job *job, uint32_t vocab_size, const files *f, const qc_source *folder, const char *data,
                         size_t length, const qc_scan *out)
{
    vocabulary v;
    int is_model = sentencepiece_probe(data, length);
    if (!is_model && !is_in_style(f->tokenizer))
        return qc_fail(job, QC_E_UNSUPPORTED,
                       "no tokenizer.model of SentencePiece, and no tokenizer.json in its style");
    qc_status status = vocabulary_begin(&v, job, vocab_size);
    if (status != QC_OK)
        return status;
    return is_model ? convert_model(&v, f, folder, data, length, out) : convert_list(&v, f, folder, out);
}

qc_status import_spm(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                     const qc_scan *out)
{
    files f;
    char *data = NULL;
    size_t length = 0;
    (void)settings;
    qc_status status = files_open(job, folder, &f);
    if (status == QC_OK)
        status = qc_read_file(job, folder, "tokenizer.model", 1, MAX_MODEL_BYTES, &data, &length);
    if (status == QC_OK)
        status = convert(job, vocab_size, &f, folder, data, length, out);
    job->host->free(job->host, data);
    files_close(&f);
    return status;
}
