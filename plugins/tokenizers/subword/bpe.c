/* Byte-level BPE (GPT-2, Llama 3, Qwen): merges over bytes that stand as printable characters. */
#include "files.h"
#include "kinds.h"
#include "merges.h"
#include "pretokenizer.h"
#include "special.h"
#include "template.h"

/* NULL where this is byte-level BPE as GGUF knows it; else why not. */
static const char *find_difference(const json_t *tokenizer, const json_t *model)
{
    const char *type = type_of(model);
    if (!json_is_object(json_object_get(model, "vocab")) || (*type && strcmp(type, "BPE") != 0))
        return "the model is not BPE";
    if (!is_byte_level(json_object_get(tokenizer, "pre_tokenizer")) &&
        !is_byte_level(json_object_get(tokenizer, "decoder")))
        return "BPE, but not over bytes";
    static const char *const marks[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (json_string_length(json_object_get(model, marks[i])) > 0)
            return "BPE with marks inside of words";
    return NULL;
}

static qc_status read_vocabulary(const files *f, vocabulary *v)
{
    qc_status status = files_add_model(f, v);
    if (status == QC_OK)
        status = files_add_tokens(f, v);
    return status == QC_OK ? vocabulary_finish(v) : status;
}

static qc_status report(const files *f, const vocabulary *v, const char *pre, const qc_scan *out)
{
    static const special_defaults defaults = {{-1, -1, -1, -1, -1, -1, -1}, 0, 0};
    qc_status status = qc_meta_text(out, v->job, "tokenizer.ggml.model", "gpt2");
    if (status == QC_OK)
        status = qc_meta_text(out, v->job, "tokenizer.ggml.pre", pre);
    if (status == QC_OK)
        status = normalizer_report(v->job, f->tokenizer, pre, out);
    if (status == QC_OK)
        status = vocabulary_report(v, out, 0);
    if (status == QC_OK)
        status = merges_report(json_object_get(json_object_get(f->tokenizer, "model"), "merges"), v, out);
    return status == QC_OK ? special_report(f, v, &defaults, out) : status;
}

static qc_status convert(qc_job *job, const qc_settings *settings, uint32_t vocab_size, const files *f,
                         const qc_source *folder, const qc_scan *out)
{
    if (!f->tokenizer)
        return qc_fail(job, QC_E_UNSUPPORTED, "there is no tokenizer.json");
    const char *difference = find_difference(f->tokenizer, json_object_get(f->tokenizer, "model"));
    if (difference)
        return qc_fail(job, QC_E_UNSUPPORTED, "tokenizer.json: %s", difference);
    vocabulary v;
    const char *pre = job->host->text(settings, "pre");
    qc_status status = *pre ? QC_OK : pretokenizer_name(job, f->tokenizer, &pre);
    if (status == QC_OK)
        status = vocabulary_begin(&v, job, vocab_size);
    if (status == QC_OK)
        status = read_vocabulary(f, &v);
    if (status == QC_OK)
        status = report(f, &v, pre, out);
    return status == QC_OK ? template_report(f, job, folder, out) : status;
}

qc_status import_bpe(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                     const qc_scan *out)
{
    files f;
    qc_status status = files_open(job, folder, &f);
    if (status == QC_OK)
        status = convert(job, settings, vocab_size, &f, folder, out);
    files_close(&f);
    return status;
}
