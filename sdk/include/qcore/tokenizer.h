/* Tokenizers: text to token ids. Kind "qcore.tokenizer/1".
 *
 * plugin.ini: `files = tokenizer.model` (the folder's files by which it is recognized, in order of preference; the
 * plugin of the lowest `rank` in plugin.ini whose file is there and whose import does not say QC_E_UNSUPPORTED is it);
 * `gguf = gpt2` (tokenizer.ggml.model of the metadata that `open` takes).
 */
#ifndef QCORE_TOKENIZER_H
#define QCORE_TOKENIZER_H

#include "qcore/model.h"

#define QC_KIND_TOKENIZER "qcore.tokenizer/1"

enum {
    QC_ENCODE_ADD = 1, /* begin and end of text, where this tokenizer adds them */
    QC_ENCODE_SPECIAL = 2 /* control tokens written out in the text are recognized */
};

#define QC_NO_TOKEN UINT32_MAX

/* Where ids go; copied. [job-thread] */
typedef struct qc_tokens {
    uint32_t size;
    qc_status (*push)(const struct qc_tokens *out, qc_job *job, const uint32_t *ids, size_t n);
} qc_tokens;

/* What tokens stand beside text. Filled by the plugin, as far as `size` (set by the host) reaches. */
typedef struct qc_special_tokens {
    uint32_t size;
    uint32_t bos, eos; /* QC_NO_TOKEN: none */
    int32_t add_bos, add_eos; /* does QC_ENCODE_ADD add them? */
} qc_special_tokens;

/* `import` is needed; without `open` and `encode` texts cannot be read. */
typedef struct qc_tokenizer_desc {
    qc_desc base;
    /* Canonical metadata (tokenizer.ggml.*, tokenizer.chat_template) from a Hugging Face folder. vocab_size: rows of
     * the embedding, to which the list of tokens is padded. settings: `pre` names the pre-tokenizer where the plugin
     * cannot tell. QC_E_UNSUPPORTED: not this kind of tokenizer. [main-thread] */
    qc_status (*import)(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                        const qc_scan *out);
    /* The tokenizer from canonical metadata, whoever wrote it; checked, since files are hostile. The state is const
     * after this and has copied what it keeps. [main-thread] */
    qc_status (*open)(qc_job *job, const qc_metadata *metadata, void **state);
    void (*close)(const qc_host *host, void *state); /* [main-thread] */
    void (*special)(const void *state, qc_special_tokens *out); /* [any-thread] */
    /* Ids of UTF-8 text (n bytes, which may hold zeros and broken UTF-8); flags: QC_ENCODE_*. [job-thread] */
    qc_status (*encode)(qc_job *job, const void *state, const char *text, size_t n, uint32_t flags,
                        const qc_tokens *out);
    /* The bytes that a token stands for; the text of several is their pieces one after another, bytes that only together
     * are a character included. Control tokens and unknown ids stand for none. A space that the tokenizer itself put
     * in front of a text (SentencePiece) is part of the first piece: whoever shows a text takes it away. Lives as long
     * as the state. [any-thread] */
    const char *(*piece)(const void *state, uint32_t token, size_t *n);
} qc_tokenizer_desc;

#endif
