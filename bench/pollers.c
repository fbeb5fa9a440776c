/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pollers: programs that ask.
 *
 *   pollers -f FILE -k error|suspend [-d] [-n COUNT] [-s MiB] [-t ms]
 *
 * error: COUNT reads in flight, and aio_error on one after the other, round and round; what is done
 * is submitted anew. suspend: aio_suspend on COUNT entries with one completing at a time: one read
 * of the file, and COUNT - 1 reads that wait in one empty pipe.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct aiocb *cbs;
static struct bench_file file;

static void submit_next(struct aiocb *cb)
{
    bench_prepare(cb, &file, (void *) cb->aio_buf, LIO_READ);
    bench_submit(cb);
}

static uint64_t by_error(unsigned depth, uint64_t end)
{
    uint64_t done = 0;

    for (unsigned i = 0; i < depth; i++)
        submit_next(&cbs[i]);
    while (bench_now() < end)
        for (unsigned i = 0; i < depth; i++)
            if (aio_error(&cbs[i]) != EINPROGRESS) {
                bench_take(&cbs[i]);
                submit_next(&cbs[i]);
                done++;
            }
    for (unsigned i = 0; i < depth; i++, done++) {
        while (aio_error(&cbs[i]) == EINPROGRESS)
            ;
        bench_take(&cbs[i]);
    }
    return done;
}

static uint64_t by_suspend(unsigned count, const struct aiocb **list, uint64_t end)
{
    uint64_t done = 0;

    do {
        submit_next(&cbs[0]);
        while (aio_error(&cbs[0]) == EINPROGRESS)
            if (aio_suspend(list, (int) count, NULL) && errno != EINTR)
                bench_fail("aio_suspend", true);
        bench_take(&cbs[0]);
        done++;
    } while (bench_now() < end);
    return done;
}

/* Reads of one byte each, all on one pipe that nobody writes to until the end. */
static void wait_in_pipe(unsigned count, int ends[2])
{
    if (pipe(ends))
        bench_fail("pipe", true);
    for (unsigned i = 1; i < count; i++) {
        cbs[i].aio_fildes = ends[0];
        cbs[i].aio_nbytes = 1;
        cbs[i].aio_sigevent.sigev_notify = SIGEV_NONE;
        bench_submit(&cbs[i]);
    }
}

static void feed_pipe(unsigned count, int end)
{
    for (unsigned i = 1; i < count; i++)
        if (write(end, "", 1) != 1)
            bench_fail("write to a pipe", true);
    for (unsigned i = 1; i < count; i++) {
        bench_wait(&cbs[i]);
        bench_take(&cbs[i]);
    }
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    const struct aiocb **list = bench_array(options.count, sizeof(*list));
    struct bench_interval interval;
    bool suspend = !strcmp(options.kind, "suspend");
    uint64_t done;
    int ends[2];

    file = bench_open(&options, O_RDONLY);
    cbs = bench_array(options.count, sizeof(*cbs));
    for (unsigned i = 0; i < options.count; i++) {
        cbs[i].aio_buf = bench_buffer(file.bytes);
        list[i] = &cbs[i];
    }
    if (suspend)
        wait_in_pipe(options.count, ends);
    interval = bench_begin();
    if (suspend)
        done = by_suspend(options.count, list, interval.begun + options.duration);
    else
        done = by_error(options.count, interval.begun + options.duration);
    bench_end(&interval, done);
    if (suspend)
        feed_pipe(options.count, ends[1]);
    return 0;
}
