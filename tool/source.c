/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the statistics of a process. It has the file mapped, so /proc/PID/maps names it, as the
 * process itself sees it: /proc/PID/root is where to look for the name. The file may have been
 * removed, or another made in its place; only the very one that is mapped will do. /proc/PID/map_files has it
 * whatever became of its name, but not every user may look there.
 */
#include "source.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tool.h"

struct mapping {
    char range[64]; /* addresses, as map_files has them */
    ino_t inode;    /* the device that is shown with it is not always the one that stat(2) tells */
    char path[PATH_MAX];
};

/* Reads a line of /proc/PID/maps. True: a file mapped shared, to be written. */
static bool parse_mapping(const char *line, struct mapping *mapping)
{
    char permissions[8];
    uint64_t inode;
    int begin = 0;

    if (sscanf(line, "%63s %7s %*s %*s %" SCNu64 " %n", mapping->range, permissions, &inode,
               &begin) != 3 || strcmp(permissions, "rw-s") != 0)
        return false;
    mapping->inode = inode;
    snprintf(mapping->path, sizeof mapping->path, "%.*s", (int) strcspn(line + begin, "\n"),
             line + begin);
    return mapping->path[0] == '/';
}

/* Opens the file if it is one of statistics, and the one that is mapped. */
static const struct paio_stats *open_mapped(const char *path, const struct mapping *mapping)
{
    struct stat st;

    /* Nothing but a regular file is to be opened: a device could do something. */
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != mapping->inode)
        return NULL;
    return paio_stats_open(path);
}

static const struct paio_stats *open_mapping(const char *pid, const struct mapping *mapping)
{
    char path[PATH_MAX + 64];
    const struct paio_stats *stats;

    snprintf(path, sizeof path, "/proc/%s/root%s", pid, mapping->path);
    stats = open_mapped(path, mapping);
    if (stats)
        return stats;
    snprintf(path, sizeof path, "/proc/%s/map_files/%s", pid, mapping->range);
    return open_mapped(path, mapping);
}

/* The process's ID as it sees it itself, in the innermost PID namespace. */
static uint64_t own_number(const char *pid)
{
    uint64_t number = strtoull(pid, NULL, 10);
    char path[64], *line = NULL;
    size_t size = 0;
    FILE *status;

    snprintf(path, sizeof path, "/proc/%s/status", pid);
    status = fopen(path, "re");
    while (status && getline(&line, &size, status) > 0)
        if (strncmp(line, "NSpid:", 6) == 0)
            number = strtoull(strrchr(line, '\t') + 1, NULL, 10);
    free(line);
    if (status)
        fclose(status);
    return number;
}

/* What /proc/PID/maps shows of the library and of its statistics. */
struct view {
    const struct paio_stats *stats;
    bool library;
};

static struct view look_at(const char *pid, FILE *maps)
{
    struct view view = { NULL, false };
    uint64_t number = own_number(pid);
    struct mapping mapping;
    size_t size = 0;
    char *line = NULL;

    while (!view.stats && getline(&line, &size, maps) > 0) {
        view.library = view.library || strstr(line, "/libposix-aio.so");
        if (parse_mapping(line, &mapping))
            view.stats = open_mapping(pid, &mapping);
        /* A forked child has its parent's mapped until it submits a request itself. */
        if (view.stats && view.stats->pid != number)
            view.stats = NULL;
    }
    free(line);
    return view;
}

/* Was the process started with LIBPOSIX_AIO_STATS set? */
static bool asked_for_stats(const char *pid)
{
    char path[64], *word = NULL;
    bool asked = false;
    size_t size = 0;
    FILE *words;

    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    words = fopen(path, "re");
    while (words && !asked && getdelim(&word, &size, '\0', words) > 0)
        asked = strncmp(word, "LIBPOSIX_AIO_STATS=", 19) == 0;
    free(word);
    if (words)
        fclose(words);
    return asked;
}

static void explain_missing(const char *pid, bool library)
{
    if (!library)
        tool_complain("process %s does not have libposix-aio loaded and keeps no statistics; "
                      "\"posix-aio run --stats PROGRAM\" starts a program with both", pid);
    else if (asked_for_stats(pid))
        tool_complain("process %s keeps no statistics yet: it has submitted no request, or could "
                      "not make the file that LIBPOSIX_AIO_STATS names", pid);
    else
        tool_complain("process %s keeps no statistics: start it by \"posix-aio run --stats\", or "
                      "with LIBPOSIX_AIO_STATS=FILE in its environment", pid);
}

static int open_process(const char *pid, struct source *source)
{
    struct view view;
    char path[64];
    FILE *maps;

    source->process = (int) syscall(SYS_pidfd_open, (pid_t) atoi(pid), 0);
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    maps = fopen(path, "re");
    if (!maps && errno == ENOENT)
        tool_complain("there is no process %s; if it has ended, name the file of its statistics",
                      pid);
    else if (!maps)
        tool_complain("process %s may not be looked into: %s; become its user, or name the file "
                      "of its statistics", pid, strerror(errno));
    if (!maps)
        return TOOL_FAILED;
    view = look_at(pid, maps);
    fclose(maps);
    source->stats = view.stats;
    if (!view.stats)
        explain_missing(pid, view.library);
    return view.stats ? TOOL_OK : TOOL_FAILED;
}

/* The process that keeps the file, if it is to be seen from here and has the file mapped. */
static int keeper_of(const char *file, const struct paio_stats *stats)
{
    int process = (int) syscall(SYS_pidfd_open, (pid_t) stats->pid, 0);
    struct mapping mapping;
    struct stat st;
    bool mapped = false;
    size_t size = 0;
    char path[64], *line = NULL;
    FILE *maps;

    if (process < 0 || stat(file, &st) < 0)
        return process;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/maps", stats->pid);
    maps = fopen(path, "re");
    while (maps && !mapped && getline(&line, &size, maps) > 0)
        mapped = parse_mapping(line, &mapping) && mapping.inode == st.st_ino;
    free(line);
    if (maps)
        fclose(maps);
    if (mapped)
        return process;
    syscall(SYS_close, process);
    return -1;
}

int source_open(const char *name, struct source *source)
{
    source->process = -1;
    if (*name && !name[strspn(name, "0123456789")])
        return open_process(name, source);
    source->stats = paio_stats_open(name);
    if (source->stats) {
        source->process = keeper_of(name, source->stats);
        return TOOL_OK;
    }
    tool_complain("%s: %s", name,
                  errno == EINVAL ? "not a statistics file of this version" : strerror(errno));
    return TOOL_FAILED;
}
