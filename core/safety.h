/* May code from this place be run? Refuses what somebody else could have put there. */
#ifndef CORE_SAFETY_H
#define CORE_SAFETY_H

#include <stddef.h>

typedef enum path_check { PATH_SAFE, PATH_MISSING, PATH_UNSAFE } path_check;

/* A folder, or (folder: what it must not lead out of) a plain file in one. why[]: one line, unless safe. */
path_check check_folder(const char *path, char *why, size_t n);
path_check check_file(const char *folder, const char *path, char *why, size_t n);

#endif
