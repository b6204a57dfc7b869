/* qcore: the command line. */
#include "core/commands.h"
#include "core/job.h"
#include "core/recipe.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "qcore turns a model into one with fewer bits, as a recipe says.\n"
                           "\n"
                           "  qcore -c RECIPE [options]    run a recipe\n"
                           "  qcore plugins [--help]       what methods, encodings, formats, ... there are\n"
                           "\n"
                           "  -c, --config RECIPE      the recipe, a YAML file\n"
                           "  -s, --set KEY=VALUE      override a key of it; enough of these need no recipe\n"
                           "  -n, --dry-run            print the plan and write nothing\n"
                           "  -j, --json               print the plan or the summary as JSON\n"
                           "  -q, --quiet              no progress, no summary\n"
                           "  -t, --threads N          at most N threads; the output does not depend on it\n"
                           "      --plugin-path DIR    look for plugins in DIR first; may be repeated\n"
                           "      --cpu-mask LEVEL     use no more than this CPU level (x86-v3, generic)\n"
                           "      --version\n"
                           "  -h, --help\n"
                           "\n"
                           "Examples\n"
                           "  qcore -c recipe.yaml\n"
                           "  qcore -c recipe.yaml --dry-run --set quantize.preset=Q3_K_S\n"
                           "  qcore -s model.path=tiny -s quantize.preset=Q4_K_M -s output.path=tiny.gguf\n"
                           "  qcore plugins show q4_k\n"
                           "\n"
                           "Exit codes\n"
                           "    0  done\n"
                           "    1  a bug in qcore\n"
                           "    2  a mistake in the command line or the recipe\n"
                           "    3  not supported\n"
                           "    4  an input file is corrupt\n"
                           "    5  the system refused to read or write\n"
                           "    6  NaN or Inf in the weights\n"
                           "    7  memory or another limit\n"
                           "  130  interrupted\n";

enum { OPTION_PLUGIN_PATH = 256, OPTION_CPU_MASK, OPTION_VERSION };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, 's'},
    {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},
    {"threads", required_argument, NULL, 't'},
    {"plugin-path", required_argument, NULL, OPTION_PLUGIN_PATH},
    {"cpu-mask", required_argument, NULL, OPTION_CPU_MASK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

enum { GO_ON = -1, USAGE = 2 }; /* exit codes, or none yet */

static int usage(const char *message, const char *what)
{
    fprintf(stderr, "qcore: error: %s%s (see qcore --help)\n", message, what);
    return USAGE;
}

static int set_threads(run_options *o, const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < 1 || n > RUN_MAX_THREADS)
        return usage("--threads wants a number from 1 to 1024, not ", text);
    o->threads = (unsigned)n;
    return GO_ON;
}

static int take_option(run_options *o, int option, const char **sets, const char **paths)
{
    switch (option) {
    case 'c':
        o->recipe = optarg;
        return GO_ON;
    case 's':
        sets[o->n_sets++] = optarg;
        return GO_ON;
    case 'n':
        o->dry_run = 1;
        return GO_ON;
    case 'j':
        o->json = 1;
        return GO_ON;
    case 'q':
        o->quiet = 1;
        return GO_ON;
    case 't':
        return set_threads(o, optarg);
    case OPTION_PLUGIN_PATH:
        paths[o->n_plugin_paths++] = optarg;
        return GO_ON;
    case OPTION_CPU_MASK:
        o->cpu_mask = optarg;
        return GO_ON;
    case OPTION_VERSION:
        printf("qcore " QCORE_VERSION " (plugin ABI %d.%d)\n", QC_ABI_MAJOR, QC_ABI_MINOR);
        return 0;
    case 'h':
        fputs(help, stdout);
        return 0;
    default: /* getopt has said what was wrong */
        return USAGE;
    }
}

/* The first signal asks the work to end, the second ends the program. */
static void interrupt(int signal_number)
{
    (void)signal_number;
    job_cancel_all();
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup has it ignored */
        sigaction(SIGHUP, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that grows too large is an error like any other */
}

static int run(int argc, char **argv, const char **sets, const char **paths)
{
    run_options o = {.sets = sets, .plugin_paths = paths};
    int option, code = GO_ON;
    while (code == GO_ON && (option = getopt_long(argc, argv, "c:s:njqt:h", long_options, NULL)) != -1)
        code = take_option(&o, option, sets, paths);
    if (code != GO_ON)
        return code;
    if (optind < argc)
        return usage("unexpected argument: ", argv[optind]);
    if (!o.recipe && !o.n_sets)
        return usage("no recipe given: qcore -c RECIPE", "");
    catch_signals();
    return cmd_run(&o);
}

int main(int argc, char **argv)
{
    static char prefix[] = "qcore: error"; /* getopt begins its messages with argv[0] */
    if (argc > 0)
        argv[0] = prefix;
    if (argc > 1 && !strcmp(argv[1], "plugins"))
        return cmd_plugins(argc - 1, argv + 1);
    const char **lists = calloc(2 * (size_t)argc + 2, sizeof *lists);
    if (!lists) {
        fputs("qcore: error: out of memory\n", stderr);
        return exit_code(QC_E_NOMEM);
    }
    int code = run(argc, argv, lists, lists + argc + 1);
    free(lists);
    return code;
}
