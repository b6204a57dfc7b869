#include "text.h"

QC_PLUGIN(&text_perplexity.base, &text_kld.base, &text_tokens.base);
