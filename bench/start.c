/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What it costs to be there.
 *
 *   start -k first -f FILE [-d]      the first request of a process, from aio_read until it is done
 *   start -k idle -f FILE [-d]       threads and memory of a process at rest after 1,000 requests
 *   start -k spawn -f PROGRAM [-n COUNT]
 *                                    starts and ends PROGRAM COUNT times; what it runs on is what
 *                                    this program's environment asks for
 *
 * idle's memory is what the process grew by (VmRSS) from before its first request, in bytes; the rest is
 * long enough for threads that only linger to end.
 */
#include "bench.h"

#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { IDLE_REQUESTS = 1000 };

static void one_request(struct bench_file *file, void *buffer)
{
    struct aiocb cb;

    bench_prepare(&cb, file, buffer, LIO_READ);
    bench_submit(&cb);
    bench_wait(&cb);
    bench_take(&cb);
}

static void first(const struct bench_options *options)
{
    struct bench_file file = bench_open(options, O_RDONLY);
    void *buffer = bench_buffer(file.bytes);
    struct bench_interval interval = bench_begin();

    one_request(&file, buffer);
    bench_print("first", (double) (bench_now() - interval.begun) / 1e3);
    bench_end(&interval, 1);
}

static void idle(const struct bench_options *options)
{
    struct bench_file file = bench_open(options, O_RDONLY);
    void *buffer = bench_buffer(file.bytes);
    const struct timespec rest = { .tv_sec = 2, .tv_nsec = 500000000 };
    struct bench_interval interval;
    long before = bench_status("VmRSS");

    interval = bench_begin();
    for (unsigned i = 0; i < IDLE_REQUESTS; i++)
        one_request(&file, buffer);
    bench_end(&interval, IDLE_REQUESTS);
    nanosleep(&rest, NULL);
    bench_print("threads", (double) bench_status("Threads"));
    bench_print("bytes", (double) (bench_status("VmRSS") - before) * 1024);
}

static void spawn(const struct bench_options *options)
{
    extern char **environ;
    char *words[] = { (char *) options->file, NULL };
    uint64_t begun = bench_now();
    struct rusage usage;
    int status;
    pid_t child;

    for (unsigned i = 0; i < options->count; i++)
        if (posix_spawn(&child, options->file, NULL, NULL, words, environ) ||
            waitpid(child, &status, 0) != child || status)
            bench_fail(options->file, false);
    bench_print("done", options->count);
    bench_print("rate", options->count / ((double) (bench_now() - begun) / 1e9));
    getrusage(RUSAGE_CHILDREN, &usage);
    bench_print("cpu", ((double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                        (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)) / options->count);
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);

    if (!options.file)
        bench_fail("-f FILE is needed", false);
    if (!strcmp(options.kind, "first"))
        first(&options);
    else if (!strcmp(options.kind, "idle"))
        idle(&options);
    else
        spawn(&options);
    return 0;
}
