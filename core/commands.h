/* The program's subcommands. argv[0] is the subcommand's own name; each returns the exit code. */
#ifndef CORE_COMMANDS_H
#define CORE_COMMANDS_H

int cmd_plugins(int argc, char **argv); /* qcore plugins [list | show | check] ... */

/* The exit code of a status; the table is in `qcore --help`. */
int exit_code(int32_t status);

#endif
