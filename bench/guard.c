/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guard counts: so many requests of one kind, and nothing else that depends on their number.
 *
 *   guard -k KIND [-f FILE] [-d] [-m] [-n COUNT] [-b BYTES]
 *
 * read      DEPTH reads in flight, the oldest waited for by aio_suspend
 * write     the same with writes
 * single    writes, one at a time, each waited for at once
 * pair      two writes, the file opened with O_APPEND, waited for at once, the first first
 * pooled    as write, waited for with a time limit
 * limited   as single, waited for with a time limit
 * alone     the same with reads
 * dsync     as write, the file opened with O_DSYNC
 * list      lio_listio(LIO_WAIT) of LIST reads
 * one       the same of a single one
 * thread    reads one at a time that tell by SIGEV_THREAD
 * poll      reads one at a time, aio_error asked until it is done
 * pipe      a read of a pipe, the message that it waits for, aio_suspend
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 32, LIST = 64 };

static struct aiocb cbs[LIST];
static struct bench_file file;
static sem_t told;

static void wait_limited(const struct aiocb *cb)
{
    const struct timespec limit = { .tv_sec = 60 };

    while (aio_error(cb) == EINPROGRESS)
        if (aio_suspend(&cb, 1, &limit))
            bench_fail("aio_suspend", true);
}

static void window(unsigned depth, unsigned count, int opcode, void (*wait)(const struct aiocb *cb))
{
    for (unsigned i = 0; i < count; i++) {
        struct aiocb *cb = &cbs[i % depth];

        if (i >= depth) {
            wait(cb);
            bench_take(cb);
        }
        bench_prepare(cb, &file, (void *) cb->aio_buf, opcode);
        bench_submit(cb);
    }
    for (unsigned i = 0; i < depth; i++) {
        wait(&cbs[i]);
        bench_take(&cbs[i]);
    }
}

static void pairs(unsigned count)
{
    for (unsigned done = 0; done < count; done += 2) {
        for (unsigned i = 0; i < 2; i++) {
            bench_prepare(&cbs[i], &file, (void *) cbs[i].aio_buf, LIO_WRITE);
            bench_submit(&cbs[i]);
        }
        for (unsigned i = 0; i < 2; i++) {
            bench_wait(&cbs[i]);
            bench_take(&cbs[i]);
        }
    }
}

static void lists(unsigned count, unsigned entries)
{
    struct aiocb *list[LIST];

    for (unsigned done = 0; done < count; done += entries) {
        for (unsigned i = 0; i < entries; i++) {
            bench_prepare(&cbs[i], &file, (void *) cbs[i].aio_buf, LIO_READ);
            list[i] = &cbs[i];
        }
        if (lio_listio(LIO_WAIT, list, (int) entries, NULL))
            bench_fail("lio_listio", true);
        for (unsigned i = 0; i < entries; i++)
            bench_take(&cbs[i]);
    }
}

static void on_thread(union sigval value)
{
    bench_take(value.sival_ptr);
    sem_post(&told);
}

static void threads(unsigned count)
{
    sem_init(&told, 0, 0);
    for (unsigned i = 0; i < count; i++) {
        bench_prepare(&cbs[0], &file, (void *) cbs[0].aio_buf, LIO_READ);
        cbs[0].aio_sigevent.sigev_notify = SIGEV_THREAD;
        cbs[0].aio_sigevent.sigev_notify_function = on_thread;
        cbs[0].aio_sigevent.sigev_value.sival_ptr = &cbs[0];
        bench_submit(&cbs[0]);
        while (sem_wait(&told))
            ;
    }
}

static void polls(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bench_prepare(&cbs[0], &file, (void *) cbs[0].aio_buf, LIO_READ);
        bench_submit(&cbs[0]);
        while (aio_error(&cbs[0]) == EINPROGRESS)
            ;
        bench_take(&cbs[0]);
    }
}

static void pipes(unsigned count)
{
    int ends[2];

    if (pipe(ends))
        bench_fail("pipe", true);
    cbs[0].aio_fildes = ends[0];
    cbs[0].aio_nbytes = 1;
    cbs[0].aio_sigevent.sigev_notify = SIGEV_NONE;
    for (unsigned i = 0; i < count; i++) {
        bench_submit(&cbs[0]);
        if (write(ends[1], "", 1) != 1)
            bench_fail("write to a pipe", true);
        bench_wait(&cbs[0]);
        bench_take(&cbs[0]);
    }
}

static int flags_for(const char *kind)
{
    return O_RDWR | (strcmp(kind, "dsync") ? 0 : O_DSYNC) | (strcmp(kind, "pair") ? 0 : O_APPEND);
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    const char *kind = options.kind;

    for (unsigned i = 0; i < LIST; i++)
        cbs[i].aio_buf = bench_buffer(options.bytes);
    if (strcmp(kind, "pipe"))
        file = bench_open(&options, flags_for(kind));
    if (!strcmp(kind, "read"))
        window(DEPTH, options.count, LIO_READ, bench_wait);
    else if (!strcmp(kind, "write") || !strcmp(kind, "dsync"))
        window(DEPTH, options.count, LIO_WRITE, bench_wait);
    else if (!strcmp(kind, "single"))
        window(1, options.count, LIO_WRITE, bench_wait);
    else if (!strcmp(kind, "limited"))
        window(1, options.count, LIO_WRITE, wait_limited);
    else if (!strcmp(kind, "alone"))
        window(1, options.count, LIO_READ, wait_limited);
    else if (!strcmp(kind, "pair"))
        pairs(options.count);
    else if (!strcmp(kind, "pooled"))
        window(DEPTH, options.count, LIO_WRITE, wait_limited);
    else if (!strcmp(kind, "list"))
        lists(options.count, LIST);
    else if (!strcmp(kind, "one"))
        lists(options.count, 1);
    else if (!strcmp(kind, "thread"))
        threads(options.count);
    else if (!strcmp(kind, "poll"))
        polls(options.count);
    else if (!strcmp(kind, "pipe"))
        pipes(options.count);
    else
        bench_fail("no such kind", false);
    return 0;
}
