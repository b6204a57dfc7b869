/* The program's subcommands. argv[0] is the subcommand's own name; each returns the exit code. */
#ifndef CORE_COMMANDS_H
#define CORE_COMMANDS_H

#include "qcore/host.h"

/* The command line of a run. Strings are argv's. */
typedef struct run_options {
    const char *recipe, *cpu_mask; /* cpu_mask NULL: $QCORE_CPU_MASK, or none */
    const char *const *sets, *const *plugin_paths; /* "quantize.preset=Q4_K_M"; folders, in order */
    size_t n_sets, n_plugin_paths;
    unsigned threads; /* 0: as the recipe says */
    int dry_run, json, quiet;
} run_options;

int cmd_run(const run_options *options); /* qcore -c recipe.yaml ... */
int cmd_plugins(int argc, char **argv); /* qcore plugins [list | show | check] ... */

/* Fails where what was printed did not arrive: a plan cut short must not look whole. */
qc_status flush_stdout(qc_job *job);

/* The exit code of a status; the table is in `qcore --help`. */
int exit_code(qc_status status);

#endif
