/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program posix-aio: its commands, each in a file of its own, and what they have in common.
 */
#ifndef TOOL_H
#define TOOL_H

/* Exit statuses; those of "posix-aio run" are in run.c. */
enum { TOOL_OK, TOOL_FAILED, TOOL_USAGE };

/* The commands. argv[0] is the command's name; what they return is the exit status. */
int tool_run(int argc, char *argv[]);
int tool_info(int argc, char *argv[]);
int tool_stat(int argc, char *argv[]);

/* A message on standard error, as printf, behind "posix-aio: " and with the line's end. */
void tool_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for a command used wrongly; says where help is, and returns status. */
int tool_misused(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the usage of all commands, the answer to --help, and returns the exit status. */
int tool_help(void);

/* Writes out what was printed: TOOL_OK, or TOOL_FAILED with a message. */
int tool_flush(void);

#endif
