/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * posix-aio run: sets the environment and executes the program. The exit statuses are those of
 * env(1).
 */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "program.h"
#include "stats.h"

enum { RUN_FAILED = 125, RUN_CANNOT = 126, RUN_NOT_FOUND = 127 };

struct run {
    const char *engine;  /* NULL: as the environment has it */
    const char *order;   /* the same */
    const char *stats;   /* the same */
    const char *library;
    bool quiet;
    bool help;
    char **program;      /* and its arguments */
};

/* Is the value one of the list's, which ends with NULL? */
static bool is_one_of(const char *value, const char *const *list)
{
    while (*list && strcmp(*list, value) != 0)
        list++;
    return *list != NULL;
}

static int read_options(int argc, char *argv[], struct run *run)
{
    static const char *const engines[] = { "auto", "kernel", "pool", NULL };
    static const char *const orders[] = { "any", "descriptor", NULL };
    static const struct option options[] = {
        { "engine", required_argument, NULL, 'e' }, { "order", required_argument, NULL, 'o' },
        { "stats", optional_argument, NULL, 's' },  { "library", required_argument, NULL, 'l' },
        { "quiet", no_argument, NULL, 'q' },        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
        switch (option) {
        case 'e': run->engine = optarg; break;
        case 'o': run->order = optarg; break;
        case 's': run->stats = optarg ? optarg : "posix-aio.%p"; break;
        case 'l': run->library = optarg; break;
        case 'q': run->quiet = true; break;
        case 'h': run->help = true; return 0;
        case ':': return tool_misused(RUN_FAILED, "%s needs a value", argv[optind - 1]);
        default: return tool_misused(RUN_FAILED, "run has no option %s", argv[optind - 1]);
        }
    }
    if (run->engine && !is_one_of(run->engine, engines))
        return tool_misused(RUN_FAILED, "the engine is auto, kernel or pool, not \"%s\"",
                            run->engine);
    if (run->order && !is_one_of(run->order, orders))
        return tool_misused(RUN_FAILED, "the order is any or descriptor, not \"%s\"", run->order);
    if (run->stats && !*run->stats)
        return tool_misused(RUN_FAILED, "--stats= needs the name of a file");
    if (optind == argc)
        return tool_misused(RUN_FAILED, "run which program?");
    run->program = argv + optind;
    return 0;
}

static int set(const char *name, const char *value)
{
    if (setenv(name, value, 1) == 0)
        return 0;
    tool_complain("cannot set %s: %s", name, strerror(errno));
    return RUN_FAILED;
}

/* The name of a file, made absolute, for the program may go to another directory. To be freed. */
static char *absolute(const char *name)
{
    char *here = *name == '/' ? NULL : getcwd(NULL, 0), *whole = NULL;

    if (*name == '/')
        whole = strdup(name);
    else if (here && asprintf(&whole, "%s/%s", here, name) < 0)
        whole = NULL;
    free(here);
    if (!whole)
        tool_complain("%s: cannot tell the working directory: %s", name, strerror(errno));
    return whole;
}

/* The library first, behind it what was to be preloaded already. */
static int set_preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    char *all = NULL;
    int status;

    if (!others || !*others)
        return set("LD_PRELOAD", library);
    if (asprintf(&all, "%s:%s", library, others) < 0) {
        tool_complain("%s", strerror(ENOMEM));
        return RUN_FAILED;
    }
    status = set("LD_PRELOAD", all);
    free(all);
    return status;
}

/*
 * Makes the file as the library would, to see that it can be made, and takes it away again: the
 * program has the process number that we have now. Earlier statistics are gone then, also if the
 * program should use no AIO.
 */
static int try_stats(const char *name)
{
    struct paio_stats *stats = NULL;
    char path[PATH_MAX];

    errno = ENAMETOOLONG;
    if (paio_stats_expand(path, sizeof path, name))
        stats = paio_stats_make(path);
    else
        snprintf(path, sizeof path, "%s", name);
    if (!stats) {
        tool_complain("statistics cannot be kept in %s: %s", path,
                      errno == EEXIST ? "it exists and holds something else; remove it, or name "
                                        "another file" : strerror(errno));
        return RUN_FAILED;
    }
    munmap(stats, sizeof *stats);
    unlink(path);
    return 0;
}

static int set_stats(const char *file)
{
    char *whole = absolute(file);
    int status = whole ? try_stats(whole) : RUN_FAILED;

    if (!status)
        status = set("LIBPOSIX_AIO_STATS", whole);
    free(whole);
    return status;
}

static int set_environment(const struct run *run, const char *library)
{
    int status = set_preload(library);

    if (!status && run->engine)
        status = set("LIBPOSIX_AIO_ENGINE", run->engine);
    if (!status && run->order && strcmp(run->order, "any") == 0)
        unsetenv("LIBPOSIX_AIO_ORDER");
    else if (!status && run->order)
        status = set("LIBPOSIX_AIO_ORDER", run->order);
    if (!status && run->stats)
        status = set_stats(run->stats);
    return status;
}

static int check_library(const char *library)
{
    char reason[200];

    if (program_library(library, reason, sizeof reason) == 0)
        return 0;
    tool_complain("the library %s %s", library, reason);
    return RUN_FAILED;
}

/* The path of the program, or a status. */
static int find_program(const char *name, char path[PATH_MAX])
{
    switch (program_find(name, path)) {
    case 0: return 0;
    case EACCES:
        tool_complain("%s: may not be executed", name);
        return RUN_CANNOT;
    default:
        tool_complain("%s: not found", name);
        return RUN_NOT_FOUND;
    }
}

/* Says what stands against running the program on the library. */
static int examine(const struct run *run, const char *path, const char *library)
{
    char reason[PATH_MAX + 200];

    switch (program_examine(path, library, reason, sizeof reason)) {
    case PROGRAM_NEVER:
        tool_complain("%s: cannot be put on the library: %s", run->program[0], reason);
        return RUN_CANNOT;
    case PROGRAM_INCOMPLETE:
        tool_complain("%s: %s", run->program[0], reason);
        return RUN_NOT_FOUND;
    case PROGRAM_UNREADABLE:
        if (!run->quiet)
            tool_complain("warning: %s: whether the library can be put before it is not known", reason);
        return 0;
    case PROGRAM_CALLS_NONE:
        if (!run->quiet)
            tool_complain("warning: %s; what it loads or starts later is on the library all the "
                          "same", reason);
        return 0;
    default:
        return 0;
    }
}

static int execute(const struct run *run, const char *path)
{
    int error;

    execvp(path, run->program);
    error = errno;
    tool_complain("%s: cannot be run: %s", run->program[0], strerror(error));
    return error == ENOENT ? RUN_NOT_FOUND : RUN_CANNOT;
}

int tool_run(int argc, char *argv[])
{
    struct run run = { .library = LIBDIR "/libposix-aio.so.1" };
    char path[PATH_MAX], *library;
    int status = read_options(argc, argv, &run);

    if (status || run.help)
        return status ? status : tool_help();
    library = absolute(run.library);
    status = library ? check_library(library) : RUN_FAILED;
    if (!status)
        status = find_program(run.program[0], path);
    if (!status)
        status = examine(&run, path, library);
    if (!status)
        status = set_environment(&run, library);
    if (!status)
        status = execute(&run, path);
    free(library);
    return status;
}
