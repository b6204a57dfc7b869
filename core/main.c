/* qcore: which command it is. */
#include "core/commands.h"
#include <string.h>

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"calibrate", cmd_calibrate}, {"eval", cmd_eval},         {"compare", cmd_compare},
        {"inspect", cmd_inspect},     {"tokenize", cmd_tokenize}, {"plugins", cmd_plugins},
    };
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    return cmd_run(argc, argv);
}
