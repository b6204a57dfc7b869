#include "haystack.h"
#include <string.h>

enum { LOOK_BACK = 48 }; /* tokens within which a sentence should have ended */

/* S. Vigna's splitmix64: names and values are the same on every machine. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Item number `which` (modulo their number) of a list with commas. */
static void pick_name(const char *list, uint64_t which, char name[TEXT_BYTES])
{
    size_t n = 1;
    for (const char *c = list; *c; c++)
        n += *c == ',';
    for (which %= n; which > 0; which--)
        list = strchr(list, ',') + 1;
    list += strspn(list, " ");
    size_t length = strcspn(list, ",");
    while (length > 0 && list[length - 1] == ' ')
        length--;
    snprintf(name, TEXT_BYTES, "%.*s", (int)(length < TEXT_BYTES ? length : TEXT_BYTES - 1), list);
}

/* `form` with {name} and {value} filled in; 0 where it is too long. */
static int fill_in(const char *form, const char *name, const char *value, char text[TEXT_BYTES])
{
    size_t n = 0;
    while (*form && n + 1 < TEXT_BYTES) {
        const char *filled = !strncmp(form, "{name}", 6) ? name : !strncmp(form, "{value}", 7) ? value : NULL;
        if (!filled) {
            text[n++] = *form++;
            continue;
        }
        size_t length = strlen(filled);
        if (length >= TEXT_BYTES - n)
            return 0;
        memcpy(text + n, filled, length);
        n += length;
        form += filled == name ? 6 : 7;
    }
    text[n] = '\0';
    return *form == '\0';
}

/* Everything but the text around it. */
typedef struct question {
    id_list needle, end, answer; /* end: the question */
    char value[32];
} question;

static qc_status make_question(const qc_evaluation *e, qc_job *job, const needle_texts *texts, const hiding_place *at,
                               question *q)
{
    char name[TEXT_BYTES], text[TEXT_BYTES], line[TEXT_BYTES + 2], answer[sizeof q->value + 1];
    uint64_t seed = mix(at->length ^ mix(at->depth ^ mix(at->trial))), most = 1;
    for (unsigned i = 0; i < texts->digits; i++)
        most *= 10;
    pick_name(texts->names, seed, name);
    snprintf(q->value, sizeof q->value, "%0*llu", (int)texts->digits, (unsigned long long)(mix(seed) % most));
    snprintf(answer, sizeof answer, " %s", q->value);
    if (!fill_in(texts->needle, name, q->value, text))
        return qc_fail(job, QC_E_INVALID, "setting 'needle' is longer than %d bytes", TEXT_BYTES - 1);
    snprintf(line, sizeof line, "\n%s\n", text);
    qc_status status = ids_encode(e, job, line, strlen(line), 0, &q->needle);
    if (status != QC_OK)
        return status;
    if (!fill_in(texts->question, name, q->value, text))
        return qc_fail(job, QC_E_INVALID, "setting 'question' is longer than %d bytes", TEXT_BYTES - 1);
    snprintf(line, sizeof line, "\n%s", text);
    return ids_encode_both(e, job, line, answer, 0, &q->end, &q->answer);
}

static void free_question(const qc_host *host, question *q)
{
    ids_free(host, &q->needle);
    ids_free(host, &q->end);
    ids_free(host, &q->answer);
}

static int ends_sentence(const qc_evaluation *e, uint32_t token)
{
    size_t n = 0;
    const char *text = e->piece(e, token, &n);
    return text && n > 0 && (text[n - 1] == '.' || memchr(text, '\n', n));
}

/* The last end of a sentence at or before tokens[at]; `at` itself where there is none near. */
static size_t sentence_end(const qc_evaluation *e, const uint32_t *tokens, size_t at)
{
    for (size_t back = 0; back < LOOK_BACK && back < at; back++)
        if (ends_sentence(e, tokens[at - back - 1]))
            return at - back;
    return at;
}

/* hay: the n tokens of the text that are used. */
static qc_status put_together(const qc_evaluation *e, qc_job *job, const question *q, const uint32_t *hay, size_t n,
                              size_t depth, greedy *g)
{
    size_t before = depth == 0 ? 0 : sentence_end(e, hay, n * depth / 100);
    int bos = e->special.add_bos && e->special.bos != QC_NO_TOKEN;
    qc_status status = bos ? ids_append(job, &g->said, &e->special.bos, 1) : QC_OK;
    if (status == QC_OK)
        status = ids_append(job, &g->said, hay, before);
    if (status == QC_OK)
        status = ids_append(job, &g->said, q->needle.ids, q->needle.n);
    if (status == QC_OK)
        status = ids_append(job, &g->said, hay + before, n - before);
    if (status == QC_OK)
        status = ids_append(job, &g->said, q->end.ids, q->end.n);
    return status == QC_OK ? ids_append(job, &g->guess, q->answer.ids, q->answer.n) : status;
}

static qc_status set_answer(qc_job *job, const char *value, greedy *g)
{
    g->n = strlen(value) + 1;
    g->answer = job->host->alloc(job->host, g->n + 1);
    if (!g->answer)
        return qc_fail(job, QC_E_NOMEM, "out of memory for an answer");
    snprintf(g->answer, g->n + 1, " %s", value);
    return QC_OK;
}

qc_status haystack_make(const qc_evaluation *e, qc_job *job, const needle_texts *texts, const hiding_place *at,
                        greedy *g)
{
    question q = {0};
    qc_status status = make_question(e, job, texts, at, &q);
    size_t own = 1 + q.needle.n + q.end.n + q.answer.n;
    if (status == QC_OK && (q.end.n == 0 || at->length <= own))
        status = qc_fail(job, QC_E_INVALID, "a length of %zu tokens leaves no room for text beside needle and question",
                         at->length);
    size_t hay = status == QC_OK ? at->length - own : 0;
    if (status == QC_OK && e->n_tokens < hay)
        status = qc_fail(job, QC_E_INVALID, "the text has %zu tokens, a length of %zu needs %zu", e->n_tokens,
                         at->length, hay);
    if (status == QC_OK)
        status = set_answer(job, q.value, g);
    if (status == QC_OK) {
        size_t first = (e->n_tokens - hay) / at->n_trials * at->trial;
        status = put_together(e, job, &q, e->tokens + first, hay, at->depth, g);
    }
    free_question(job->host, &q);
    return status;
}
