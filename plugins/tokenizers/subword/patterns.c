#include "patterns.h"
#include "expressions.h"
#include <string.h>

/* The expressions are those of the families' own tokenizer.json. Each cuts every piece that the one before it left into
 * its matches and the gaps between them. */
#define THREE_DIGITS "[0-9][0-9][0-9]"
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"

static const struct row {
    const char *names; /* a space around each */
    unsigned flags;
    const char *steps[MAX_STEPS]; /* the rest NULL */
} rows[] = {
    {" gpt-2 phi-2 jais jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe gigachat mellum "
     "a.x-4.0 exaone4 trillion granite-docling ",
     0,
     {GPT2}},
    {" mpt olmo modern-bert ", PRE_COMPOSES, {GPT2}},
    {" llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ",
     PRE_IGNORES_MERGES | PRE_ADDS_BOS,
     {LLAMA3}},
    {" dbrx smaug-bpe chatglm-bpe ", 0, {LLAMA3}},
    {" glm4 glm5 ", PRE_IGNORES_MERGES, {LLAMA3}},
    {" qwen2 ", PRE_COMPOSES, {QWEN2}},
    {" deepseek-r1-qwen kormo f2llmv2 megrez hunyuan solar-open stablelm2 grok-2 ", 0, {QWEN2}},
    {" qwen35 ", PRE_COMPOSES, {QWEN35}},
    {" smollm starcoder refact codeshell exaone minerva-7b mellum2 ", 0, {"\\p{N}", GPT2}},
    {" command-r ", PRE_COMPOSES, {"\\p{N}", GPT2}},
    {" tekken ", PRE_IGNORES_MERGES | PRE_ADDS_BOS, {TEKKEN}},
    {" gpt-4o llama4 kanana2 talkie minimax-m2 ", 0, {GPT4O}},
    {" deepseek-v3 hunyuan-dense joyai-llm hy_v4 ", 0, {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK}},
    {" deepseek-coder ", 0, {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}},
    {" falcon ", 0, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, THREE_DIGITS}},
    {" bloom poro-chat gpt3-finnish ", 0, {BLOOM}},
    {" default ", 0, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", THREE_DIGITS}},
};

static const struct row *find_row(const char *name, size_t length)
{
    if (length == 0 || memchr(name, ' ', length))
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (const char *at = rows[i].names; at[1]; at = strchr(at + 1, ' '))
            if (strncmp(at + 1, name, length) == 0 && at[length + 1] == ' ')
                return &rows[i];
    return NULL;
}

unsigned patterns_flags(const char *name)
{
    const struct row *row = find_row(name, strlen(name));
    return row ? row->flags : 0;
}

/* PCRE2's \s has one character too many, U+180E: the property that Unicode defines takes its place. */
static void spell_out_spaces(const char *regex, char *out, size_t room)
{
    size_t n = 0;
    for (; *regex && n + sizeof "\\p{White_Space}" < room; regex++) {
        int is_escape = *regex == '\\' && regex[1];
        if (is_escape && (regex[1] == 's' || regex[1] == 'S')) {
            n += (size_t)snprintf(out + n, room - n, "\\%c{White_Space}", regex[1] == 's' ? 'p' : 'P');
            regex++;
            continue;
        }
        out[n++] = *regex;
        if (is_escape)
            out[n++] = *++regex;
    }
    out[n] = 0;
}

static qc_status compile(patterns *p, qc_job *job, const char *regex)
{
    char spelt[2048];
    int error;
    PCRE2_SIZE at;
    spell_out_spaces(regex, spelt, sizeof spelt);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)spelt, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at,
                                     NULL);
    if (!code) {
        char why[160] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        return qc_fail(job, QC_E_UNSUPPORTED, "this build's PCRE2 cannot read \"%.100s\": %s", regex, why);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where it cannot, matches are the same, only later */
    p->steps[p->n++] = code;
    return QC_OK;
}

/* Steps of a match, far beyond what these expressions need on a text of any kind. */
enum { MATCH_LIMIT = 1 << 30 };

qc_status patterns_open(patterns *p, qc_job *job, const char *name, size_t length)
{
    *p = (patterns){{NULL}, 0, 0, pcre2_match_context_create(NULL)};
    if (!p->limits)
        return qc_fail(job, QC_E_NOMEM, "out of memory for a pre-tokenizer");
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    if (length == 0) {
        job->host->log(job->host, QC_LOG_WARNING,
                       "the metadata has no tokenizer.ggml.pre: texts are cut the default way, which may be wrong");
        name = "default";
        length = strlen(name);
    }
    const struct row *row = find_row(name, length);
    if (!row)
        return qc_fail(job, QC_E_UNSUPPORTED, "tokenizer.ggml.pre: unknown pre-tokenizer '%.*s'",
                       (int)(length < 60 ? length : 60), name);
    p->flags = row->flags;
    qc_status status = QC_OK;
    for (size_t i = 0; i < MAX_STEPS && row->steps[i] && status == QC_OK; i++)
        status = compile(p, job, row->steps[i]);
    return status;
}

void patterns_close(patterns *p)
{
    for (size_t i = 0; i < p->n; i++)
        pcre2_code_free(p->steps[i]);
    pcre2_match_context_free(p->limits);
}

typedef struct cutting {
    const patterns *patterns;
    qc_job *job;
    pcre2_match_data *match;
    piece_encoder encode_piece;
    void *arg;
} cutting;

/* The next match at or after `at`; [n, n) where there is none. */
static qc_status find_match(const cutting *c, size_t step, const char *text, size_t n, size_t at, size_t *begin,
                            size_t *end)
{
    const pcre2_code *code = c->patterns->steps[step];
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int result = pcre2_match(code, subject, n, at, PCRE2_NO_UTF_CHECK, c->match, c->patterns->limits);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = pcre2_match(code, subject, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, c->match, c->patterns->limits);
    if (result < 0 && result != PCRE2_ERROR_NOMATCH)
        return qc_fail(c->job, QC_E_LIMIT, "the text cannot be cut into words: PCRE2 gives up with error %d", result);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(c->match);
    int found = result >= 0 && ends[1] > ends[0];
    *begin = found ? ends[0] : n;
    *end = found ? ends[1] : n;
    return QC_OK;
}

/* A piece goes through the steps from `step` on. */
static qc_status cut(const cutting *c, size_t step, const char *text, size_t n)
{
    if (step == c->patterns->n)
        return c->encode_piece(c->arg, text, n);
    qc_status status = QC_OK;
    size_t begin = n, end = n;
    for (size_t at = 0; at < n && status == QC_OK; at = end) {
        status = find_match(c, step, text, n, at, &begin, &end);
        if (status == QC_OK && begin > at)
            status = cut(c, step + 1, text + at, begin - at);
        if (status == QC_OK && end > begin)
            status = cut(c, step + 1, text + begin, end - begin);
    }
    return status;
}

qc_status patterns_cut(const patterns *p, qc_job *job, pcre2_match_data *match, const char *text, size_t n,
                       piece_encoder encode_piece, void *arg)
{
    const cutting c = {p, job, match, encode_piece, arg};
    return cut(&c, 0, text, n);
}
