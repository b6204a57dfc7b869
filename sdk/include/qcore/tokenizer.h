/* Tokenizers: text to token ids. Kind "qcore.tokenizer/1".
 *
 * plugin.ini: `files = tokenizer.model` (the folder's files by which it is recognized, in order of preference; the
 * plugin of the lowest `rank` in plugin.ini whose file is there and whose import does not say QC_E_UNSUPPORTED is it).
 */
#ifndef QCORE_TOKENIZER_H
#define QCORE_TOKENIZER_H

#include "qcore/model.h"

#define QC_KIND_TOKENIZER "qcore.tokenizer/1"

typedef struct qc_tokenizer_desc {
    qc_desc base;
    /* Canonical metadata (tokenizer.ggml.*, tokenizer.chat_template) from a Hugging Face folder. vocab_size: rows of
     * the embedding, to which the list of tokens is padded. settings: `pre` names the pre-tokenizer where the plugin
     * cannot tell. QC_E_UNSUPPORTED: not this kind of tokenizer. [main-thread] */
    qc_status (*import)(qc_job *job, const qc_source *folder, const qc_settings *settings, uint32_t vocab_size,
                        const qc_scan *out);
} qc_tokenizer_desc;

#endif
