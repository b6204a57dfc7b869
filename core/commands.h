/* The program's commands. argv[0] is the command's own name; each returns the exit code. */
#ifndef CORE_COMMANDS_H
#define CORE_COMMANDS_H

#include "qcore/host.h"

int cmd_run(int argc, char **argv); /* qcore -c recipe.yaml ... */
int cmd_calibrate(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_plugins(int argc, char **argv); /* qcore plugins [list | show | check] ... */

/* Fails where what was printed did not arrive: a plan cut short must not look whole. */
qc_status flush_stdout(qc_job *job);

/* The exit code of a status; the table is in `qcore --help`. */
int exit_code(qc_status status);

#endif
