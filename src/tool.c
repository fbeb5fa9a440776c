/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program posix-aio: "posix-aio stat FILE" prints the statistics that a process keeps, or
 * kept, in FILE (LIBPOSIX_AIO_STATS), a name and a value a line.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "stats.h"

static const char usage[] = "Usage: posix-aio stat FILE\n"
                            "       posix-aio --help | --version\n"
                            "\n"
                            "Prints the statistics that a program on libposix-aio keeps in FILE\n"
                            "when the environment variable LIBPOSIX_AIO_STATS names it.\n";

static int stat_file(const char *path)
{
    const struct paio_stats *stats = paio_stats_open(path);
    char name[32];
    uint64_t value;

    if (!stats) {
        fprintf(stderr, "posix-aio: %s: %s\n", path,
                errno == EINVAL ? "not a statistics file of this version" : strerror(errno));
        return 1;
    }
    printf("pid %" PRIu64 "\nengine %.16s\n", stats->pid, stats->engine);
    if (stats->reason[0])
        printf("engine.reason %.48s\n", stats->reason);
    for (unsigned i = 0; paio_stats_read(stats, i, name, sizeof name, &value); i++)
        printf("%s %" PRIu64 "\n", name, value);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char *argv[])
{
    if (argc == 3 && strcmp(argv[1], "stat") == 0)
        return stat_file(argv[2]);
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(usage, stdout) < 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("posix-aio %s\n", PACKAGE_VERSION) < 0;
    fputs(usage, stderr);
    return 2;
}
