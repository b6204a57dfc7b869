/* Where things are: the program's own data, relative to its executable, and the search path of plugins. */
#ifndef CORE_PATHS_H
#define CORE_PATHS_H

#include "qcore/host.h"

const char *path_name(const char *path); /* what follows the last slash; borrowed from the path */
/* "a/b/c.gguf" to "a/b" and "c.gguf"; ".", where there is no slash. Owned; free both. */
qc_status path_split(qc_job *job, const char *path, char **folder, char **name);

/* Owned strings (free); NULL when out of memory. */
char *path_join(const char *folder, const char *name);
char *paths_share(const char *name); /* PREFIX/share/qcore/NAME, PREFIX/bin/qcore being this program */

/* NAME in the user's own folder, which an XDG variable names or else lies in the home; NULL where there is neither. */
char *paths_user(const char *variable, const char *under_home, const char *name);

/* The search path in order: `given` (command line, then recipe), $QCORE_PLUGIN_PATH, the user's folder, the installed
 * one. Folders that need not exist. Owned; path_list_free. */
qc_status paths_plugins(qc_job *job, const char *const *given, size_t n_given, char ***folders, size_t *n_folders);
/* Names in a folder but those with a leading dot, sorted: readdir's order is nobody's. Owned; path_list_free. */
qc_status list_folder(qc_job *job, const char *folder, char ***names, size_t *n);

void path_list_free(char **list, size_t n);

#endif
