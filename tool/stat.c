/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * posix-aio stat: prints the statistics of a process once, a name and a value a line, or what
 * they changed by in each interval, as vmstat does. The file is only read: the process is not disturbed.
 */
#include "tool.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source.h"

enum { ROWS = 20 }; /* between two headings */

static const double longest = 1000000; /* interval, seconds */

struct watch {
    double interval; /* seconds; 0: once */
    unsigned long count; /* rows; 0: no end */
};

static int print_all(const struct paio_stats *stats)
{
    char name[32];
    uint64_t value;

    printf("pid %" PRIu64 "\nengine %.16s\n", stats->pid, stats->engine);
    if (stats->reason[0])
        printf("engine.reason %.48s\n", stats->reason);
    for (unsigned i = 0; paio_stats_read(stats, i, name, sizeof name, &value); i++)
        printf("%s %" PRIu64 "\n", name, value);
    return tool_flush();
}

/* copy becomes what stats says now, and change what that is more than copy said before. */
static void take(const struct paio_stats *stats, struct paio_stats *copy,
                 struct paio_stats *change)
{
    uint64_t now;

    for (unsigned i = 0; i < PAIO_STATS; i++) {
        now = atomic_load_explicit(&stats->counter[i], memory_order_relaxed);
        change->counter[i] = now - copy->counter[i];
        copy->counter[i] = now;
    }
    for (unsigned o = 0; o < PAIO_STAT_OPERATIONS; o++) {
        for (unsigned i = 0; i < PAIO_LATENCIES; i++) {
            now = atomic_load_explicit(&stats->latency[o][i], memory_order_relaxed);
            change->latency[o][i] = now - copy->latency[o][i];
            copy->latency[o][i] = now;
        }
    }
}

static void print_heading(void)
{
    printf("%9s %9s %9s %9s %9s %9s %9s %9s %9s %8s %8s %8s %8s\n", "read/s", "write/s", "fsync/s",
           "inline/s", "kernel/s", "pool/s", "stream/s", "waiter/s", "outstand", "r50/us", "r99/us",
           "w50/us", "w99/us");
}

static void print_row(const struct paio_stats *now, const struct paio_stats *change,
                      double seconds)
{
    double operation[PAIO_STAT_OPERATIONS] = { 0 }, way[PAIO_WAYS] = { 0 };

    for (unsigned o = 0; o < PAIO_STAT_OPERATIONS; o++) {
        for (unsigned w = 0; w < PAIO_WAYS; w++) {
            double each = (double) change->counter[PAIO_STAT_DONE + o * PAIO_WAYS + w] / seconds;

            operation[o] += each;
            way[w] += each;
        }
    }
    for (unsigned o = 0; o < PAIO_STAT_OPERATIONS; o++)
        printf("%9.0f ", operation[o]);
    for (unsigned w = 0; w < PAIO_WAYS; w++)
        printf("%9.0f ", way[w]);
    printf("%9" PRIu64, now->counter[PAIO_STAT_OUTSTANDING]);
    for (unsigned o = 0; o < 2; o++)
        printf(" %8.1f %8.1f", (double) paio_stats_percentile(change, o, 500) / 1000,
               (double) paio_stats_percentile(change, o, 990) / 1000);
    putchar('\n');
}

/* Waits until the time, of paio_now. True: the process has ended before. */
static bool wait_until(int process, uint64_t time)
{
    struct pollfd end = { .fd = process, .events = POLLIN };
    uint64_t now;

    while ((now = paio_now()) < time) {
        struct timespec left = { .tv_sec = (time_t) ((time - now) / 1000000000),
                                 .tv_nsec = (long) ((time - now) % 1000000000) };

        if (ppoll(&end, 1, &left, NULL) > 0)
            return true;
    }
    return false;
}

static int print_rates(const struct source *source, const struct watch *watch)
{
    static struct paio_stats copy, change;
    uint64_t before = paio_now(), next = before, now;
    unsigned long rows = 0;
    bool ended = false;

    take(source->stats, &copy, &change);
    do {
        next += (uint64_t) (watch->interval * 1e9);
        ended = wait_until(source->process, next);
        take(source->stats, &copy, &change);
        now = paio_now();
        if (rows % ROWS == 0)
            print_heading();
        print_row(&copy, &change, (double) (now - before) / 1e9);
        before = now;
        if (tool_flush() != TOOL_OK)
            return TOOL_FAILED;
    } while (!ended && ++rows != watch->count);
    if (ended)
        tool_complain("process %" PRIu64 " has ended", source->stats->pid);
    return TOOL_OK;
}

static int read_watch(int argc, char *argv[], struct watch *watch)
{
    char *end = NULL;

    if (argc > 2) {
        watch->interval = strtod(argv[2], &end);
        if (*end || end == argv[2] || !(watch->interval >= 0.001 && watch->interval <= longest))
            return tool_misused(TOOL_USAGE, "\"%s\" is no interval: seconds, from 0.001 to %.0f",
                                argv[2], longest);
    }
    if (argc > 3) {
        if (argv[3][strspn(argv[3], "0123456789")] || (watch->count = strtoul(argv[3], NULL, 10)) == 0)
            return tool_misused(TOOL_USAGE, "\"%s\" is no count: a number from 1", argv[3]);
    }
    return TOOL_OK;
}

/* The file was made shorter than the statistics that are mapped. */
static void on_bus_error(int number)
{
    static const char message[] = "posix-aio: the file of statistics was cut short\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);

    (void) number, (void) written;
    _exit(TOOL_FAILED);
}

int tool_stat(int argc, char *argv[])
{
    struct watch watch = { 0 };
    struct source source;
    int status;

    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return tool_help();
    if (argc > 1 && strcmp(argv[1], "--") == 0) {
        argc--;
        argv++;
    } else if (argc > 1 && argv[1][0] == '-') {
        return tool_misused(TOOL_USAGE, "stat has no option %s", argv[1]);
    }
    if (argc < 2 || argc > 4)
        return tool_misused(TOOL_USAGE, "stat takes PID or FILE, and perhaps INTERVAL and COUNT");
    signal(SIGBUS, on_bus_error);
    status = read_watch(argc, argv, &watch);
    if (!status)
        status = source_open(argv[1], &source);
    if (status)
        return status;
    return watch.interval > 0 ? print_rates(&source, &watch) : print_all(source.stats);
}
