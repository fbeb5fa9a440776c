/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program to be run on the library: where it is, and whether the dynamic linker can and would
 * put the library before it.
 */
#ifndef TOOL_PROGRAM_H
#define TOOL_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

/*
 * Finds the program as execvp(3) does: by the path if the name has a slash, else in PATH. 0, or
 * ENOENT, or EACCES: there is one that may not be executed.
 */
int program_find(const char *name, char path[PATH_MAX]);

enum program_answer {
    PROGRAM_FITS,
    PROGRAM_UNREADABLE, /* it may be executed and not read: nothing more is known of it */
    PROGRAM_CALLS_NONE, /* it will run, but nothing that it loads at its start uses POSIX AIO */
    PROGRAM_NEVER,      /* the library cannot be put before it */
    PROGRAM_INCOMPLETE, /* it cannot start: its interpreter or dynamic linker is not there */
};

/*
 * Can the library, a shared object, be put before the program at path? Says why not in reason,
 * a sentence. A script is followed to its interpreter. Runs the program's dynamic linker to learn
 * what it loads.
 */
enum program_answer program_examine(const char *path, const char *library, char *reason,
                                    unsigned size);

/*
 * Is that file the library, for this architecture, and can LD_PRELOAD name it? 0, or -1 and in
 * reason what is wrong with it, to go behind its name.
 */
int program_library(const char *library, char *reason, unsigned size);

#endif
