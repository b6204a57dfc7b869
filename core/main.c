/* qcore: which command it is. */
#include "core/commands.h"
#include "core/suggest.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"calibrate", cmd_calibrate}, {"eval", cmd_eval},         {"compare", cmd_compare},
    {"inspect", cmd_inspect},     {"tokenize", cmd_tokenize}, {"plugins", cmd_plugins},
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static int unknown_command(const char *word)
{
    const char *nearest = NULL;
    for (size_t i = 0; i < N_COMMANDS; i++)
        nearest = suggest_better(word, nearest, commands[i].name);
    if (nearest)
        fprintf(stderr, "qcore: error: no command '%s'; did you mean '%s'?\n", word, nearest);
    else
        fprintf(stderr, "qcore: error: no command '%s' (see qcore --help)\n", word);
    return exit_code(QC_E_INVALID);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < N_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    return argc > 1 && argv[1][0] != '-' ? unknown_command(argv[1]) : cmd_run(argc, argv);
}
