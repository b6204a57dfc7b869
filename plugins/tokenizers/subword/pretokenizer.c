/* A pre-tokenizer is written down as a list of steps in one text, and looked up in a table of such texts. */
#include "pretokenizer.h"
#include "expressions.h"
#include "patterns.h"

enum { MAX_STEPS_BYTES = 4096, MAX_DEPTH = 8 };

typedef struct steps {
    char text[MAX_STEPS_BYTES]; /* steps, a newline between two */
    size_t length;
    int adds_space; /* a space in front of the text, which llama.cpp's byte-level BPE cannot add */
} steps;

static void append_char(steps *s, char c)
{
    if (s->length < sizeof s->text - 1)
        s->text[s->length++] = c; /* cut short, it equals no row of the table */
    s->text[s->length] = 0;
}

static void append(steps *s, const char *text)
{
    for (; *text; text++)
        append_char(s, *text);
}

/* A regular expression with line ends spelt out, which some files hold as they are. */
static void append_regex(steps *s, const char *regex)
{
    for (; *regex; regex++) {
        if (*regex == '\r' || *regex == '\n')
            append(s, *regex == '\r' ? "\\r" : "\\n");
        else
            append_char(s, *regex);
    }
}

static int is_false(const json_t *object, const char *key)
{
    return json_is_false(json_object_get(object, key));
}

/* Matches and gaps alike become pieces: "Isolated"; or matches alone, where the expression leaves no gaps. */
static int isolates(const json_t *split)
{
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    int inverted = json_is_true(json_object_get(split, "invert"));
    return behavior && strcmp(behavior, inverted ? "Removed" : "Isolated") == 0;
}

static void append_split(steps *s, const json_t *split)
{
    const json_t *pattern = json_object_get(split, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    append(s, isolates(split) ? "Split " : "Split otherwise ");
    append_regex(s, regex ? regex : "at a fixed text");
}

static void append_step(steps *s, const json_t *part, int depth)
{
    const char *type = type_of(part);
    const json_t *list = json_object_get(part, "pretokenizers");
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        for (size_t i = 0; i < json_array_size(list); i++)
            append_step(s, json_array_get(list, i), depth + 1);
        return;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        s->adds_space |= !is_false(part, "add_prefix_space");
        if (is_false(part, "use_regex"))
            return;
    }
    if (s->length > 0)
        append_char(s, '\n');
    if (strcmp(type, "Split") == 0)
        append_split(s, part);
    else
        append(s, type);
    if (strcmp(type, "Digits") == 0 && json_is_true(json_object_get(part, "individual_digits")))
        append(s, " individually");
}

static int holds_byte_level(const json_t *part, const char *list_key, int depth)
{
    const json_t *list = json_object_get(part, list_key);
    for (size_t i = 0; i < json_array_size(list) && depth < MAX_DEPTH; i++)
        if (holds_byte_level(json_array_get(list, i), list_key, depth + 1))
            return 1;
    return strcmp(type_of(part), "ByteLevel") == 0;
}

int is_byte_level(const json_t *part)
{
    return holds_byte_level(part, "pretokenizers", 0) || holds_byte_level(part, "decoders", 0);
}

enum { EITHER, IGNORES_MERGES, NEEDS_MERGES };

/* The names and expressions are those of llama.cpp's llama-vocab.cpp in their original form. */
static const struct {
    const char *steps, *name;
    int merges; /* model.ignore_merges */
} table[] = {
    {"ByteLevel", "gpt-2", EITHER},
    {"Split " GPT2, "gpt-2", EITHER},
    {"Split " LLAMA3, "llama-bpe", IGNORES_MERGES},
    {"Split " LLAMA3, "dbrx", NEEDS_MERGES},
    {"Split " QWEN2, "qwen2", EITHER},
    {"Split " QWEN35, "qwen35", EITHER},
    {"Split " TEKKEN, "tekken", EITHER},
    {"Split " GPT4O, "gpt-4o", EITHER},
    {"Digits individually\nByteLevel", "smollm", EITHER},
    {"Split \\p{N}{1,3}\nSplit [一-龥぀-ゟ゠-ヿ]+\nSplit " DEEPSEEK, "deepseek-v3", EITHER},
    {"Split [\\r\\n]\nSplit \\s?\\p{L}+\nSplit \\s?\\p{P}+\nSplit [一-龥ࠀ-一가-퟿]+\nDigits individually",
     "deepseek-coder", EITHER},
    {"Split  ?[^(\\s|[.,!?…。，、।۔،])]+", "bloom", EITHER},
    {"Punctuation\nByteLevel\nDigits\nSplit [0-9][0-9][0-9]", "falcon", EITHER},
};

/* Is there, through all lists, just this one step? */
static int is_only(const json_t *normalizer, const char *type)
{
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (json_array_size(list) == 1)
        return strcmp(type_of(json_array_get(list, 0)), type) == 0;
    return strcmp(type_of(normalizer), type) == 0;
}

static int is_none(const json_t *normalizer)
{
    return !json_is_object(normalizer) || (strcmp(type_of(normalizer), "Sequence") == 0 &&
                                           json_array_size(json_object_get(normalizer, "normalizers")) == 0);
}

qc_status normalizer_report(qc_job *job, const json_t *tokenizer, const char *pre, const qc_scan *out)
{
    const json_t *normalizer = json_object_get(tokenizer, "normalizer");
    int composes = is_only(normalizer, "NFC"), expected = (patterns_flags(pre) & PRE_COMPOSES) != 0;
    if (!composes && !is_none(normalizer))
        job->host->log(job->host, QC_LOG_WARNING,
                       "tokenizer.json: text is normalized in a way that is not built in: ids may differ");
    if (composes == expected)
        return QC_OK;
    return qc_meta_text(out, job, NORMALIZER_KEY, composes ? "nfc" : "none");
}

static void warn_of_differences(qc_job *job, const steps *s, const json_t *tokenizer)
{
    const json_t *normalizer = json_object_get(tokenizer, "normalizer");
    if (s->adds_space)
        job->host->log(job->host, QC_LOG_WARNING,
                       "tokenizer.json: a space goes in front of every text; llama.cpp does not add it");
    if (json_is_object(normalizer))
        job->host->log(job->host, QC_LOG_INFO,
                       "tokenizer.json: text is normalized before it is cut; llama.cpp takes it as it is");
}

qc_status pretokenizer_name(qc_job *job, const json_t *tokenizer, const char **name)
{
    steps s = {{0}, 0, 0};
    append_step(&s, json_object_get(tokenizer, "pre_tokenizer"), 0);
    int ignores = json_is_true(json_object_get(json_object_get(tokenizer, "model"), "ignore_merges"));
    warn_of_differences(job, &s, tokenizer);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int fits = table[i].merges == EITHER || (table[i].merges == IGNORES_MERGES) == ignores;
        if (!fits || strcmp(table[i].steps, s.text) != 0)
            continue;
        *name = table[i].name;
        return QC_OK;
    }
    for (size_t i = 0; i < s.length; i++)
        if (s.text[i] == '\n')
            s.text[i] = ';';
    return qc_fail(job, QC_E_INVALID,
                   "tokenizer.json: unknown pre-tokenizer (%.300s); say which of llama.cpp's it equals, as in "
                   "model: {tokenizer: {bpe: {pre: llama-bpe}}}",
                   s.text);
}
