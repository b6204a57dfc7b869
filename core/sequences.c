#include "core/job.h"
#include "core/text.h"
#include "core/tokens.h"
#include <stdlib.h>

static const size_t MOST_BYTES = (size_t)1 << 31; /* of a text file */

void token_list_free(token_list *list)
{
    free(list->ids);
    *list = (token_list){0};
}

void sequences_free(sequences *s)
{
    free(s->tokens);
    free(s->starts);
    *s = (sequences){0};
}

/* ---- files ---- */

static qc_status read_text(qc_job *job, const char *path, char **text, size_t *n)
{
    qc_status status = text_read(job, path, MOST_BYTES, text, n);
    if (status == QC_OK && *n > 0 && (*text)[*n - 1] == '\n')
        --*n;
    return status == QC_OK && *n == 0 ? qc_fail(job, QC_E_INVALID, "%s: the text is empty", path) : status;
}

static qc_status read_file(const tokenizer *t, qc_job *job, const char *path, size_t most, token_list *out)
{
    char *text = NULL;
    size_t n = 0;
    qc_status status = read_text(job, path, &text, &n);
    if (status == QC_OK) {
        status = tokenizer_encode_first(t, job, text, n, QC_ENCODE_ADD, most, out);
        if (status != QC_OK && status != QC_E_CANCELLED)
            job_add_context(job, "%s", path);
    }
    free(text);
    return status;
}

qc_status tokenizer_read(const tokenizer *t, qc_job *job, const char *const *paths, size_t n_paths, size_t most,
                         token_list *out)
{
    size_t before = out->n, done = 0;
    for (size_t i = 0; i < n_paths && (most == 0 || done < most); i++) {
        qc_status status = read_file(t, job, paths[i], most ? most - done : 0, out);
        if (status != QC_OK)
            return status;
        done = out->n - before;
    }
    return QC_OK;
}

void texts_add_context(qc_job *job, const char *const *paths, size_t n_paths)
{
    if (n_paths == 1)
        job_add_context(job, "%s", paths[0]);
    else if (n_paths > 1)
        job_add_context(job, "%s and %zu more", paths[0], n_paths - 1);
}

/* ---- windows ---- */

static qc_status make_windows(qc_job *job, sequences *s, size_t context)
{
    uint64_t tokens, bytes;
    if (!qc_mul_size(s->n, context, &tokens) || !qc_mul_size(tokens, sizeof *s->tokens, &bytes) || bytes > SIZE_MAX / 2)
        return qc_fail(job, QC_E_LIMIT, "%zu windows of %zu tokens do not fit in memory", s->n, context);
    s->tokens = malloc((size_t)bytes);
    s->starts = calloc(s->n + 1, sizeof *s->starts);
    if (!s->tokens || !s->starts)
        return qc_fail(job, QC_E_NOMEM, "out of memory for %zu windows of %zu tokens", s->n, context);
    return QC_OK;
}

static void fill_windows(sequences *s, const uint32_t *ids, size_t context, size_t step, uint32_t first)
{
    for (size_t i = 0; i < s->n; i++) {
        uint32_t *window = s->tokens + i * context;
        memcpy(window, ids + i * step, context * sizeof *window);
        window[0] = first != QC_NO_TOKEN ? first : window[0];
        s->starts[i + 1] = (i + 1) * context;
    }
}

qc_status sequences_cut(const tokenizer *t, qc_job *job, const token_list *text, size_t context, size_t stride,
                        sequences *out)
{
    qc_special_tokens special = {.size = sizeof special};
    *out = (sequences){0};
    if (context == 0)
        return qc_fail(job, QC_E_INVALID, "a window needs at least one token");
    if (text->n < context)
        return qc_fail(
            job, QC_E_INVALID,
            "the text has %zu token%s, one window needs %zu: take a longer text, more tokens of it, or a smaller "
            "context",
            text->n, text->n == 1 ? "" : "s", context);
    size_t step = stride ? stride : context;
    out->n = (text->n - context) / step + 1;
    qc_status status = make_windows(job, out, context);
    if (status != QC_OK) {
        sequences_free(out);
        return status;
    }
    tokenizer_special(t, &special);
    fill_windows(out, text->ids, context, step, special.add_bos ? special.bos : QC_NO_TOKEN);
    return QC_OK;
}
