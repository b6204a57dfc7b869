/* qcore compare -c RECIPE --presets A,B,...: several presets of one model in a table. */
#include "core/commands.h"
#include "core/compare.h"
#include "core/suggest.h"
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "qcore compare quantizes a model by several presets and puts sizes and losses into a table.\n"
    "\n"
    "  qcore compare -c RECIPE --presets A,B,... [options]\n"
    "\n"
    "For each, quantize.preset and output of the recipe are replaced; calibration and evaluate hold for\n"
    "all. Figures compare with the recipe's model, which is the first row.\n"
    "\n"
    "      --presets A,B,...    names of presets, or files like those (mix.yaml)\n"
    "      --keep DIR           keep the files, as MODEL-PRESET.gguf; without, each is made in $TMPDIR\n"
    "                           (or /tmp) and removed again\n"
    "      --format FORMAT      text, csv, json or markdown\n"
    "      --text FILE          text to be predicted (evaluate.text); may be repeated\n"
    "      --calibration TEXT   text to calibrate on (calibration.text); may be repeated\n"
    "      --metrics A,B,...    what to measure (evaluate.metrics)\n"
    "      --tokens N           use no more than N tokens of the text (evaluate.tokens)\n" OPTIONS_HELP "\n"
    "Examples\n"
    "  qcore compare -c recipe.yaml --presets Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_S,Q2_K\n"
    "  qcore compare -c recipe.yaml --presets Q4_K_M,my-mix.yaml --keep out --format markdown\n";

enum { OPTION_PRESETS, OPTION_KEEP, OPTION_FORMAT }; /* places in the table of options */

static const option_spec options[] = {
    [OPTION_PRESETS] = {"presets", OPTION_OWN, NULL}, [OPTION_KEEP] = {"keep", OPTION_OWN, NULL},
    [OPTION_FORMAT] = {"format", OPTION_OWN, NULL},   {"text", OPTION_LIST, "evaluate.text"},
    {"calibration", OPTION_LIST, "calibration.text"}, {"metrics", OPTION_WORDS, "evaluate.metrics"},
    {"tokens", OPTION_YAML, "evaluate.tokens"},       {NULL, OPTION_OWN, NULL},
};

static const command_spec command = {.name = "compare", .help = help, .argument_key = "model.path", .options = options};

typedef struct compare_state {
    table_format format;
} compare_state;

/* ---- the command line ---- */

static int read_format(const run_options *o, table_format *format)
{
    static const char *const words[] = {"text", "csv", "json", "markdown"}; /* in the order of TABLE_* */
    const char *word = o->own[OPTION_FORMAT], *nearest = NULL;
    char message[120];
    *format = o->json ? TABLE_JSON : TABLE_TEXT;
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++) {
        if (!strcmp(word, words[i])) {
            *format = (table_format)i;
            return OPTIONS_GO_ON;
        }
        nearest = suggest_better(word, nearest, words[i]);
    }
    if (!word)
        return OPTIONS_GO_ON;
    snprintf(message, sizeof message, "no format '%.40s'%s%s%s", word, nearest ? "; did you mean '" : "",
             nearest ? nearest : ": there are text, csv, json and markdown", nearest ? "'?" : "");
    return options_usage(&command, message, "");
}

/* The session's own recipe is that of the first scheme, so that one without a preset is whole. */
static int add_first_preset(run_options *o)
{
    static const option_spec spec = {"presets", OPTION_TEXT, "quantize.preset"};
    const char *list = o->own[OPTION_PRESETS], *preset;
    size_t length;
    if (!list || !next_preset(&list, &preset, &length))
        return options_usage(&command, "no presets given: --presets A,B,...", "");
    char *first = strndup(preset, length);
    const override_arg made = {strdup("--presets"), first ? options_override(&spec, first, 0) : NULL};
    o->sets[o->n_sets++] = made; /* there is room: --presets took two arguments, or one and has no other override */
    free(first);
    return made.name && made.set ? OPTIONS_GO_ON : options_usage(&command, "out of memory", "");
}

static int check_options(run_options *o, table_format *format)
{
    if (!o->recipe && !o->n_sets)
        return options_usage(&command, "no recipe given: qcore compare -c RECIPE --presets A,B,...", "");
    int code = read_format(o, format);
    return code == OPTIONS_GO_ON ? add_first_preset(o) : code;
}

/* ---- the work ---- */

static qc_status run(session *s, qc_job *job, void *arg)
{
    const compare_state *state = arg;
    schemes *c = NULL;
    qc_status status = schemes_open(s, job, s->options->own[OPTION_PRESETS], s->options->own[OPTION_KEEP], &c);
    if (status == QC_OK) {
        status = schemes_compare(c, job);
        /* rows that are done, whatever ended the rest */
        qc_status printed = comparison_print(schemes_comparison(c), job, state->format, stdout);
        status = status == QC_OK ? printed : status;
    }
    schemes_free(c);
    return status;
}

int cmd_compare(int argc, char **argv)
{
    run_options o;
    compare_state state = {0};
    int code = options_parse(&command, argc, argv, &o);
    if (code == OPTIONS_GO_ON)
        code = check_options(&o, &state.format);
    if (code == OPTIONS_GO_ON)
        code = session_run(&o, RECIPE_EVALUATE, run, &state);
    options_free(&o);
    return code;
}
