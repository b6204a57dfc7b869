/* qcore tokenize MODEL: a text as the model sees it. */
#include "core/commands.h"
#include "core/jsonout.h"
#include "core/quantize.h"
#include "core/text.h"
#include "core/tokens.h"
#include <stdlib.h>

static const char help[] =
    "qcore tokenize shows the tokens of a text, an id and what it stands for on each line.\n"
    "\n"
    "  qcore tokenize MODEL (--text FILE | --string TEXT) [options]\n"
    "\n"
    "MODEL is a Hugging Face folder or a GGUF file.\n"
    "\n"
    "      --text FILE          the bytes of a file\n"
    "      --string TEXT        a text given here\n"
    "      --special            control tokens written in the text are recognized: <|im_end|>, </s>\n"
    "      --bare               without the tokens that begin and end a text\n" OPTIONS_HELP "\n"
    "Examples\n"
    "  qcore tokenize models/tiny --string 'Hello world'\n"
    "  qcore tokenize tiny-Q4_K_M.gguf --text wiki.txt --json\n";

enum { OPTION_FILE, OPTION_STRING, OPTION_SPECIAL, OPTION_BARE }; /* places in the table of options */

static const option_spec options[] = {
    [OPTION_FILE] = {"text", OPTION_OWN, NULL},
    [OPTION_STRING] = {"string", OPTION_OWN, NULL},
    [OPTION_SPECIAL] = {"special", OPTION_OWN_FLAG, NULL},
    [OPTION_BARE] = {"bare", OPTION_OWN_FLAG, NULL},
    {NULL, OPTION_OWN, NULL},
};

static const command_spec command = {
    .name = "tokenize", .help = help, .argument_key = "model.path", .options = options};

static const size_t MOST_BYTES = (size_t)1 << 31;

typedef struct tokenize_state {
    model *model;
    tokenizer *tokenizer;
    char *text; /* owned */
    size_t n;
    token_list tokens;
} tokenize_state;

static qc_status take_text(const session *s, qc_job *job, tokenize_state *t)
{
    const char *path = s->options->own[OPTION_FILE], *string = s->options->own[OPTION_STRING];
    if (!path == !string)
        return qc_fail(job, QC_E_INVALID, "name one text: --text FILE or --string TEXT");
    if (path)
        return text_read(job, path, MOST_BYTES, &t->text, &t->n);
    t->n = strlen(string);
    t->text = malloc(t->n + 1);
    if (!t->text)
        return qc_fail(job, QC_E_NOMEM, "out of memory for the text");
    memcpy(t->text, string, t->n + 1);
    return QC_OK;
}

static qc_status encode(session *s, qc_job *job, tokenize_state *t)
{
    uint32_t flags = s->options->own[OPTION_BARE] ? 0 : QC_ENCODE_ADD;
    flags |= s->options->own[OPTION_SPECIAL] ? QC_ENCODE_SPECIAL : 0;
    qc_status status = take_text(s, job, t);
    if (status == QC_OK)
        status = open_model(s, job, s->recipe, NULL, &t->model);
    if (status == QC_OK)
        status = tokenizer_open(job, s->registry, t->model, &t->tokenizer);
    return status == QC_OK ? tokenizer_encode(t->tokenizer, job, t->text, t->n, flags, &t->tokens) : status;
}

enum { SHOWN_BYTES = 1024 }; /* of a token */

/* The bytes that token i stands for, zero-terminated; cut where they are very many. Returns how many there are. */
static size_t copy_piece(const tokenize_state *t, size_t i, char piece[SHOWN_BYTES])
{
    size_t n;
    const char *bytes = tokenizer_piece(t->tokenizer, t->tokens.ids[i], &n);
    n = n < SHOWN_BYTES ? n : SHOWN_BYTES - 1;
    memcpy(piece, bytes, n);
    piece[n] = 0;
    return n;
}

/* What a token that stands for no bytes is called: "<s>". Cut like pieces. */
static size_t copy_name(const tokenize_state *t, size_t i, char name[SHOWN_BYTES])
{
    const qc_meta *names = model_meta(t->model, "tokenizer.ggml.tokens");
    uint32_t id = t->tokens.ids[i];
    *name = 0;
    if (!names || names->type != QC_TEXT || !names->is_array || id >= names->count)
        return 0;
    const qc_text *text = (const qc_text *)names->data + id;
    size_t n = text->length < SHOWN_BYTES ? (size_t)text->length : SHOWN_BYTES - 1;
    if (n)
        memcpy(name, text->data, n);
    name[n] = 0;
    return n;
}

/* Bytes that do not print, and those that only with other tokens' are a character, as \xHH. */
static void print_bytes(const char *piece, size_t n)
{
    for (size_t i = 0, length; i < n; i += length ? length : 1) {
        unsigned char c = (unsigned char)piece[i];
        length = utf8_length((const unsigned char *)piece + i);
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (length == 0 || c < ' ' || c == 0x7f)
            printf("\\x%02x", c);
        else
            fwrite(piece + i, 1, length, stdout);
    }
}

static void print_tokens(const tokenize_state *t)
{
    char piece[SHOWN_BYTES];
    for (size_t i = 0; i < t->tokens.n; i++) {
        size_t n = copy_piece(t, i, piece);
        const char *quote = n ? "\"" : ""; /* names of control tokens have none */
        n = n ? n : copy_name(t, i, piece);
        printf("%8u  %s", t->tokens.ids[i], quote);
        print_bytes(piece, n);
        printf("%s\n", quote);
    }
}

static void put_pieces(json_out *j, const tokenize_state *t)
{
    char piece[SHOWN_BYTES];
    put_json_list(j, "pieces");
    for (size_t i = 0; i < t->tokens.n; i++) {
        copy_piece(t, i, piece);
        put_json_text(j, NULL, piece);
    }
    put_json_end_list(j);
}

static void put_json(const session *s, const tokenize_state *t)
{
    json_out j = {.file = stdout};
    put_json_object(&j, NULL);
    put_json_text(&j, "model", s->recipe->model.path);
    put_json_count(&j, "bytes", t->n);
    put_json_count(&j, "tokens", t->tokens.n);
    put_json_list(&j, "ids");
    for (size_t i = 0; i < t->tokens.n; i++)
        put_json_count(&j, NULL, t->tokens.ids[i]);
    put_json_end_list(&j);
    put_pieces(&j, t);
    put_json_end_object(&j);
}

static qc_status run(session *s, qc_job *job, void *arg)
{
    tokenize_state *t = arg;
    qc_status status = encode(s, job, t);
    if (status == QC_OK && s->options->json)
        put_json(s, t);
    else if (status == QC_OK)
        print_tokens(t);
    token_list_free(&t->tokens);
    tokenizer_free(t->tokenizer);
    model_free(t->model);
    free(t->text);
    return status == QC_OK ? flush_stdout(job) : status;
}

int cmd_tokenize(int argc, char **argv)
{
    run_options o;
    tokenize_state state = {0};
    int code = options_parse(&command, argc, argv, &o);
    if (code == OPTIONS_GO_ON && !o.recipe && !o.n_arguments)
        code = options_usage(&command, "no model given: qcore tokenize MODEL --text FILE", "");
    if (code == OPTIONS_GO_ON)
        code = session_run(&o, 0, run, &state);
    options_free(&o);
    return code;
}
