#include "vocabulary.h"
#include <stdlib.h>

static const float ADDED_SCORE = -1000.0f, PADDING_SCORE = -10000.0f;

enum { MAX_SHOWN = 60 }; /* bytes of a token in a message */

static int shown(size_t length)
{
    return length < MAX_SHOWN ? (int)length : MAX_SHOWN;
}

static void *reserve(qc_job *job, uint32_t n, size_t size)
{
    void *p = job->scratch(job, ((size_t)n + 1) * size);
    if (!p)
        qc_fail(job, QC_E_NOMEM, "out of memory for a vocabulary of %u tokens", n);
    return p;
}

qc_status vocabulary_begin(vocabulary *v, qc_job *job, uint32_t size)
{
    *v = (vocabulary){job, NULL, size, NULL};
    if (size > MAX_VOCABULARY)
        return qc_fail(job, QC_E_LIMIT, "a vocabulary of %u tokens; at most %d are possible", size, MAX_VOCABULARY);
    v->tokens = (token *)reserve(job, size, sizeof *v->tokens);
    if (!v->tokens)
        return QC_E_NOMEM;
    for (uint32_t i = 0; i < size; i++)
        v->tokens[i] = (token){NULL, 0, TOKEN_UNUSED, PADDING_SCORE};
    return QC_OK;
}

qc_status vocabulary_add(vocabulary *v, uint64_t id, const token *t)
{
    if (id >= v->size)
        return qc_fail(v->job, QC_E_INVALID, "token \"%.*s\" has id %llu, but the embedding has only %u rows",
                       shown(t->length), t->text, (unsigned long long)id, v->size);
    if (v->tokens[id].text)
        return qc_fail(v->job, QC_E_CORRUPT, "tokens \"%.*s\" and \"%.*s\" share id %llu", shown(v->tokens[id].length),
                       v->tokens[id].text, shown(t->length), t->text, (unsigned long long)id);
    v->tokens[id] = *t;
    return QC_OK;
}

static int begins_and_ends(const char *text, size_t length, const char *begin, const char *end)
{
    size_t n = strlen(begin), m = strlen(end);
    return length >= n + m && memcmp(text, begin, n) == 0 && memcmp(text + length - m, end, m) == 0;
}

/* Some models do not mark as special what plainly is: the converter's list. */
static int looks_special(const char *text, size_t length)
{
    static const char *const names[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (length == strlen(names[i]) && memcmp(text, names[i], length) == 0)
            return 1;
    return begins_and_ends(text, length, "<|", "|>") ||
           begins_and_ends(text, length, "<\xef\xbd\x9c", "\xef\xbd\x9c>") ||
           begins_and_ends(text, length, "<unused", ">");
}

/* User-defined tokens are searched in the text as it is, before spaces become U+2581: `text` with those undone. */
static const char *restore_spaces(qc_job *job, const char *text, size_t *length)
{
    char *plain = (char *)job->scratch(job, *length + 1);
    size_t n = 0;
    if (!plain) {
        qc_fail(job, QC_E_NOMEM, "out of memory for a token");
        return NULL;
    }
    for (size_t i = 0; i < *length;) {
        int is_space = *length - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        plain[n++] = is_space ? ' ' : text[i];
        i += is_space ? 3 : 1;
    }
    plain[n] = 0;
    *length = n;
    return plain;
}

/* A type that being listed as an added token does not change. */
static int is_settled(const token *t)
{
    return t->type == TOKEN_UNKNOWN || t->type == TOKEN_CONTROL || t->type == TOKEN_BYTE;
}

static int same_text(const token *t, const char *text, size_t length)
{
    return t->text && t->length == length && memcmp(t->text, text, length) == 0;
}

qc_status vocabulary_add_added(vocabulary *v, uint64_t id, const char *text, size_t length, int special)
{
    if (id >= v->size) {
        char message[160];
        snprintf(message, sizeof message, "token \"%.*s\" is left out: the embedding has no row %llu", shown(length),
                 text, (unsigned long long)id);
        v->job->host->log(v->job->host, QC_LOG_WARNING, message);
        return QC_OK;
    }
    token *t = &v->tokens[id];
    int is_control = special || looks_special(text, length);
    if (!same_text(t, text, length) || !is_settled(t))
        t->type = is_control ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    if (t->type == TOKEN_USER_DEFINED)
        text = restore_spaces(v->job, text, &length);
    if (!text)
        return QC_E_NOMEM;
    t->text = text;
    t->length = length;
    t->score = ADDED_SCORE;
    return QC_OK;
}

static qc_status pad(vocabulary *v)
{
    enum { PAD_BYTES = 24 };
    uint32_t missing = 0;
    for (uint32_t i = 0; i < v->size; i++)
        missing += v->tokens[i].text == NULL;
    char *names = (char *)reserve(v->job, missing, PAD_BYTES);
    if (!names)
        return QC_E_NOMEM;
    for (uint32_t i = 0; i < v->size; i++) {
        if (v->tokens[i].text)
            continue;
        int length = snprintf(names, PAD_BYTES, "[PAD%u]", i);
        v->tokens[i].text = names;
        v->tokens[i].length = (size_t)length;
        names += PAD_BYTES;
    }
    return QC_OK;
}

static int compare_texts(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_tokens(const void *a, const void *b)
{
    const token *x = *(const token *const *)a, *y = *(const token *const *)b;
    int order = compare_texts(x->text, x->length, y->text, y->length);
    return order ? order : (x > y) - (x < y); /* of one array: by id */
}

static qc_status refuse_duplicates(const vocabulary *v)
{
    for (uint32_t i = 1; i < v->size; i++) {
        const token *a = v->sorted[i - 1], *b = v->sorted[i];
        if (a->length > 0 && same_text(a, b->text, b->length)) /* readers name empty tokens by their id */
            return qc_fail(v->job, QC_E_CORRUPT, "token \"%.*s\" occurs twice, as id %u and as id %u", shown(a->length),
                           a->text, (unsigned)(a - v->tokens), (unsigned)(b - v->tokens));
    }
    return QC_OK;
}

qc_status vocabulary_finish(vocabulary *v)
{
    qc_status status = pad(v);
    if (status != QC_OK)
        return status;
    v->sorted = (const token **)reserve(v->job, v->size, sizeof(void *));
    if (!v->sorted)
        return QC_E_NOMEM;
    for (uint32_t i = 0; i < v->size; i++)
        v->sorted[i] = &v->tokens[i];
    qsort(v->sorted, v->size, sizeof(void *), compare_tokens);
    return refuse_duplicates(v);
}

uint32_t vocabulary_find(const vocabulary *v, const char *text, size_t length)
{
    for (uint32_t low = 0, high = v->size; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        const token *t = v->sorted[middle];
        int order = compare_texts(text, length, t->text, t->length);
        if (order == 0)
            return (uint32_t)(t - v->tokens);
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return UINT32_MAX;
}

static qc_status report(const vocabulary *v, const qc_scan *out, const char *key, uint32_t type, const void *data)
{
    const qc_meta meta = {sizeof meta, key, type, 1, v->size, data};
    return out->meta(out, v->job, &meta);
}

qc_status vocabulary_report(const vocabulary *v, const qc_scan *out, int with_scores)
{
    qc_text *texts = (qc_text *)reserve(v->job, v->size, sizeof *texts);
    float *scores = (float *)reserve(v->job, v->size, sizeof *scores);
    int32_t *types = (int32_t *)reserve(v->job, v->size, sizeof *types);
    if (!texts || !scores || !types)
        return QC_E_NOMEM;
    for (uint32_t i = 0; i < v->size; i++) {
        texts[i] = (qc_text){v->tokens[i].text, v->tokens[i].length};
        scores[i] = v->tokens[i].score;
        types[i] = v->tokens[i].type;
    }
    qc_status status = report(v, out, "tokenizer.ggml.tokens", QC_TEXT, texts);
    if (status == QC_OK && with_scores)
        status = report(v, out, "tokenizer.ggml.scores", QC_F32, scores);
    if (status == QC_OK)
        status = report(v, out, "tokenizer.ggml.token_type", QC_I32, types);
    return status;
}
