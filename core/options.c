#include "core/options.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    USAGE = 2,
    OPTION_PLUGIN_PATH = 256,
    OPTION_CPU_MASK,
    OPTION_VERSION,
    OPTION_MEMORY,
    OPTION_BACKEND,
    OPTION_OPS,
    OPTION_FIRST_OWN
};

static const struct option common[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},
    {"threads", required_argument, NULL, 't'},
    {"plugin-path", required_argument, NULL, OPTION_PLUGIN_PATH},
    {"cpu-mask", required_argument, NULL, OPTION_CPU_MASK},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"backend", required_argument, NULL, OPTION_BACKEND},
    {"ops", required_argument, NULL, OPTION_OPS},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
};

enum { N_COMMON = sizeof common / sizeof common[0] };

int options_usage(const command_spec *command, const char *message, const char *what)
{
    fprintf(stderr, "qcore: error: %s%s (see qcore%s%s --help)\n", message, what, *command->name ? " " : "",
            command->name);
    return USAGE;
}

static int no_memory(void)
{
    fputs("qcore: error: out of memory\n", stderr);
    return 7;
}

/* ---- overrides ---- */

/* `text` in YAML's double quotes, in which a bare line end would be a space. */
static void quote(char *to, const char *text)
{
    *to++ = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n' || *text == '\r')
            *to++ = '\\';
        *to++ = *text == '\n' ? 'n' : *text == '\r' ? 'r' : *text;
    }
    *to++ = '"';
    *to = 0;
}

char *options_override(const option_spec *spec, const char *value, int again)
{
    size_t room = strlen(spec->key) + 2 * strlen(value) + 16;
    char *text = malloc(room), *quoted = malloc(2 * strlen(value) + 3);
    if (text && quoted) {
        quote(quoted, value);
        if (spec->kind == OPTION_TEXT)
            snprintf(text, room, "%s=%s", spec->key, quoted);
        else if (spec->kind == OPTION_LIST)
            snprintf(text, room, again ? "%s[]=%s" : "%s=[%s]", spec->key, quoted);
        else if (spec->kind == OPTION_WORDS)
            snprintf(text, room, "%s=[%s]", spec->key, value);
        else
            snprintf(text, room, "%s=%s", spec->key, spec->kind == OPTION_TRUE ? "true" : value);
    }
    free(quoted);
    return text;
}

static int add_override(run_options *o, const option_spec *spec, const char *value)
{
    int again = 0;
    char name[64];
    snprintf(name, sizeof name, "--%s", spec->name);
    for (size_t i = 0; i < o->n_sets; i++)
        again |= o->sets[i].name && !strcmp(o->sets[i].name, name);
    const override_arg made = {strdup(name), options_override(spec, value ? value : "", again)};
    o->sets[o->n_sets++] = made;
    return made.name && made.set ? OPTIONS_GO_ON : no_memory();
}

/* ---- one option ---- */

static int set_threads(const command_spec *command, run_options *o, const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < 1 || n > RUN_MAX_THREADS)
        return options_usage(command, "--threads wants a number from 1 to 1024, not ", text);
    o->threads = (unsigned)n;
    return OPTIONS_GO_ON;
}

static int take_own(const command_spec *command, run_options *o, size_t i)
{
    const option_spec *spec = &command->options[i];
    if (spec->kind == OPTION_OWN || spec->kind == OPTION_OWN_FLAG) {
        o->own[i] = optarg ? optarg : "";
        return OPTIONS_GO_ON;
    }
    return add_override(o, spec, optarg);
}

static int take_option(const command_spec *command, run_options *o, int option)
{
    static const option_spec keys[] = {{"memory", OPTION_YAML, "run.memory"},
                                       {"backend", OPTION_TEXT, "run.backend"},
                                       {"ops", OPTION_LIST, "run.ops"}};
    switch (option) {
    case 'c':
        o->recipe = optarg;
        return OPTIONS_GO_ON;
    case 's':
        o->sets[o->n_sets++] = (override_arg){NULL, strdup(optarg)};
        return o->sets[o->n_sets - 1].set ? OPTIONS_GO_ON : no_memory();
    case 'n':
        o->dry_run = 1;
        return OPTIONS_GO_ON;
    case 'j':
        o->json = 1;
        return OPTIONS_GO_ON;
    case 'q':
        o->quiet = 1;
        return OPTIONS_GO_ON;
    case 't':
        return set_threads(command, o, optarg);
    case OPTION_PLUGIN_PATH:
        o->plugin_paths[o->n_plugin_paths++] = optarg;
        return OPTIONS_GO_ON;
    case OPTION_CPU_MASK:
        o->cpu_mask = optarg;
        return OPTIONS_GO_ON;
    case OPTION_MEMORY:
    case OPTION_BACKEND:
    case OPTION_OPS:
        return add_override(o, &keys[option - OPTION_MEMORY], optarg);
    case OPTION_VERSION:
        printf("qcore " QCORE_VERSION " (plugin ABI %d.%d)\n", QC_ABI_MAJOR, QC_ABI_MINOR);
        return 0;
    case 'h':
        fputs(command->help, stdout);
        return 0;
    default: /* getopt has said what was wrong */
        return option >= OPTION_FIRST_OWN ? take_own(command, o, (size_t)(option - OPTION_FIRST_OWN)) : USAGE;
    }
}

/* The common options, --dry-run where the command takes it, then its own. */
static void fill_long_options(const command_spec *command, struct option *to)
{
    memcpy(to, common, sizeof common);
    to += N_COMMON;
    if (command->is_run)
        *to++ = (struct option){"dry-run", no_argument, NULL, 'n'};
    for (int i = 0; command->options && command->options[i].name; i++) {
        option_kind kind = command->options[i].kind;
        int has = kind == OPTION_TRUE || kind == OPTION_OWN_FLAG ? no_argument : required_argument;
        *to++ = (struct option){command->options[i].name, has, NULL, OPTION_FIRST_OWN + i};
    }
    *to = (struct option){NULL, 0, NULL, 0};
}

static int take_argument(const command_spec *command, run_options *o, const char *argument)
{
    const option_spec spec = {"", OPTION_TEXT, command->argument_key};
    if (!command->argument_key || o->n_arguments++)
        return options_usage(command, "unexpected argument: ", argument);
    const override_arg made = {strdup(*argument ? argument : "MODEL"), options_override(&spec, argument, 0)};
    o->sets[o->n_sets++] = made;
    return made.name && made.set ? OPTIONS_GO_ON : no_memory();
}

int options_parse(const command_spec *command, int argc, char **argv, run_options *o)
{
    static char prefix[] = "qcore: error"; /* getopt begins its messages with argv[0] */
    struct option long_options[N_COMMON + MAX_OWN_OPTIONS + 2];
    int option, code = OPTIONS_GO_ON;
    *o = (run_options){0};
    o->sets = calloc((size_t)argc + 2, sizeof *o->sets);
    o->plugin_paths = calloc((size_t)argc + 2, sizeof *o->plugin_paths);
    if (!o->sets || !o->plugin_paths)
        return no_memory();
    if (argc > 0)
        argv[0] = prefix;
    fill_long_options(command, long_options);
    const char *letters = command->is_run ? "c:s:njqt:h" : "c:s:jqt:h";
    while (code == OPTIONS_GO_ON && (option = getopt_long(argc, argv, letters, long_options, NULL)) != -1)
        code = take_option(command, o, option);
    for (; code == OPTIONS_GO_ON && optind < argc; optind++)
        code = take_argument(command, o, argv[optind]);
    return code;
}

void options_free(run_options *o)
{
    union {
        const char *shown;
        char *owned;
    } text;
    for (size_t i = 0; o->sets && i < o->n_sets; i++) {
        text.shown = o->sets[i].name;
        free(text.owned);
        text.shown = o->sets[i].set;
        free(text.owned);
    }
    free(o->sets);
    free(o->plugin_paths);
}
