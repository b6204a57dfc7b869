/* Chat templates: how messages become one text. */
#ifndef SUBWORD_TEMPLATE_H
#define SUBWORD_TEMPLATE_H

#include "files.h"

/* tokenizer.chat_template, and where a model has several, tokenizer.chat_template.NAME and tokenizer.chat_templates. */
qc_status template_report(const files *f, qc_job *job, const qc_source *folder, const qc_scan *out);

#endif
