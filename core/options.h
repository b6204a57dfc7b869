/* Command lines by table: what a command's options mean is which keys of a recipe they put in place, so that all a
 * command can be told can be written down in a recipe too. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include "core/recipe.h"

typedef enum option_kind {
    OPTION_TEXT, /* KEY is the argument as it is */
    OPTION_LIST, /* KEY is a list of all arguments of this option */
    OPTION_YAML, /* KEY is what the argument says: a number, a size */
    OPTION_WORDS, /* KEY is the list "a,b,c" */
    OPTION_TRUE, /* no argument; KEY is true */
    OPTION_OWN, /* no key: the command itself looks at run_options.own */
    OPTION_OWN_FLAG /* the same without an argument: own is "" where it was given */
} option_kind;

typedef struct option_spec {
    const char *name; /* "text": --text */
    option_kind kind;
    const char *key; /* "evaluate.text" */
} option_spec;

enum { MAX_OWN_OPTIONS = 24 };

typedef struct command_spec {
    const char *name, *help;
    const char *argument_key; /* where the one argument goes ("model.path"); NULL: there is none */
    const option_spec *options; /* ends with name NULL; at most MAX_OWN_OPTIONS */
    int is_run; /* takes --dry-run */
} command_spec;

/* What every command may be told, and its own options. */
typedef struct run_options {
    const char *recipe, *cpu_mask; /* cpu_mask NULL: $QCORE_CPU_MASK, or none */
    override_arg *sets;
    const char **plugin_paths; /* in order */
    size_t n_sets, n_plugin_paths;
    unsigned threads; /* 0: as the recipe says */
    int dry_run, json, quiet;
    const char *own[MAX_OWN_OPTIONS]; /* as command_spec.options; NULL: not given */
    int n_arguments; /* that went to argument_key */
} run_options;

enum { OPTIONS_GO_ON = -1 };

/* OPTIONS_GO_ON, or the exit code after help, a version or a mistake, which has been said. */
int options_parse(const command_spec *command, int argc, char **argv, run_options *o);
void options_free(run_options *o);
/* "KEY=VALUE" as an option says it, for an override_arg; again: not the first of a list. Owned; NULL: out of memory. */
char *options_override(const option_spec *spec, const char *value, int again);
/* Says a mistake in the command line; returns the exit code. */
int options_usage(const command_spec *command, const char *message, const char *what);

/* The lines of --help about options that every command has. */
#define OPTIONS_HELP                                                                 \
    "  -c, --config RECIPE      take what is not said here from a recipe\n"          \
    "  -s, --set KEY=VALUE      override a key of it\n"                              \
    "  -j, --json               for programs\n"                                      \
    "  -q, --quiet              no progress, and no summary of what was saved\n"     \
    "  -t, --threads N          at most N threads; no figure depends on it\n"        \
    "      --memory SIZE        about as much memory as may be used (1GiB)\n"        \
    "      --plugin-path DIR    look for plugins in DIR first; may be repeated\n"    \
    "      --cpu-mask LEVEL     use no more than this CPU level (x86-v3, generic)\n" \
    "      --backend NAME       kernels of this backend, not the best that fits\n"   \
    "  -h, --help\n"

#endif
