/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program posix-aio: finds the command that its first argument names.
 */
#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

static const char usage[] =
    "Usage: posix-aio run [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
    "       posix-aio info [FILE]\n"
    "       posix-aio stat PID|FILE [INTERVAL [COUNT]]\n"
    "       posix-aio --help | --version\n"
    "\n"
    "run   runs PROGRAM with its POSIX asynchronous I/O on libposix-aio.\n"
    "      --engine=ENGINE  auto: kernel AIO where it works (the default); kernel: the same, and\n"
    "                       synchronous writes too where the kernel can; pool: no kernel AIO\n"
    "      --order=ORDER    any: requests run in parallel (the default); descriptor: those on one\n"
    "                       descriptor run one at a time, as on glibc\n"
    "      --stats[=FILE]   keep statistics in FILE, %p in it being the process ID\n"
    "                       (posix-aio.%p in this directory)\n"
    "      --library=FILE   the library itself, if it is not the installed one\n"
    "      --quiet          no warning if PROGRAM does not seem to use POSIX AIO\n"
    "info  tells what this kernel offers and which way each kind of request will go;\n"
    "      with FILE, for that file, by trying. FILE is not changed.\n"
    "stat  prints the statistics of a process, by its ID or by their FILE: once, or the rates of\n"
    "      each INTERVAL seconds, COUNT times.\n"
    "\n"
    "The manual pages posix-aio(1) and libposix-aio(7) say more.\n";

static const struct {
    const char *name;
    int (*function)(int argc, char *argv[]);
} commands[] = { { "run", tool_run }, { "info", tool_info }, { "stat", tool_stat } };

void tool_complain(const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    fputs("posix-aio: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int tool_misused(int status, const char *format, ...)
{
    va_list arguments;

    fputs("posix-aio: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("\nTry \"posix-aio --help\".\n", stderr);
    return status;
}

int tool_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return TOOL_OK;
    tool_complain("cannot write the output: %s", strerror(errno));
    return TOOL_FAILED;
}

int tool_help(void)
{
    fputs(usage, stdout);
    return tool_flush();
}

int main(int argc, char *argv[])
{
    const char *name = argc > 1 ? argv[1] : NULL;

    if (!name)
        return tool_misused(TOOL_USAGE, "which command? run, info or stat");
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0)
        return tool_help();
    if (strcmp(name, "--version") == 0) {
        printf("posix-aio %s\n", PACKAGE_VERSION);
        return tool_flush();
    }
    for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].function(argc - 1, argv + 1);
    return tool_misused(TOOL_USAGE, "there is no command \"%s\", only run, info and stat", name);
}
