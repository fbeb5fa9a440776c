/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a call that submits holds its caller up: the time inside aio_read, aio_write or
 * lio_listio, on a file that is cold or slow.
 *
 *   call -f FILE -k read|write|list [-d] [-n DEPTH] [-t ms]
 *
 * read and write keep DEPTH requests in flight: the oldest is waited for and submitted anew. list
 * submits DEPTH reads by one lio_listio(LIO_NOWAIT) and waits for all of them. The first DEPTH calls
 * (the first list), which start threads and whatever else an implementation needs, are not counted.
 */
#include "bench.h"

#include <fcntl.h>
#include <string.h>

static struct bench_histogram inside;
static struct bench_file file;
static struct aiocb *cbs;
static struct aiocb **list;
static unsigned depth;

static uint64_t one_by_one(uint64_t duration, int opcode)
{
    uint64_t done = 0, end = bench_now() + duration, before;

    for (unsigned i = 0; i < depth; i++)
        bench_submit(&cbs[i]);
    for (unsigned i = 0; bench_now() < end; i = (i + 1) % depth, done++) {
        bench_wait(&cbs[i]);
        bench_take(&cbs[i]);
        bench_prepare(&cbs[i], &file, (void *) cbs[i].aio_buf, opcode);
        before = bench_now();
        bench_submit(&cbs[i]);
        bench_add(&inside, bench_now() - before);
    }
    for (unsigned i = 0; i < depth; i++) {
        bench_wait(&cbs[i]);
        bench_take(&cbs[i]);
    }
    return done + depth;
}

static uint64_t by_lists(uint64_t duration)
{
    uint64_t done = 0, end = bench_now() + duration, before;

    while (bench_now() < end) {
        before = bench_now();
        if (lio_listio(LIO_NOWAIT, list, (int) depth, NULL))
            bench_fail("lio_listio", true);
        if (done)
            bench_add(&inside, bench_now() - before);
        for (unsigned i = 0; i < depth; i++) {
            bench_wait(&cbs[i]);
            bench_take(&cbs[i]);
            bench_prepare(&cbs[i], &file, (void *) cbs[i].aio_buf, LIO_READ);
        }
        done += depth;
    }
    return done;
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    int opcode = strcmp(options.kind, "write") ? LIO_READ : LIO_WRITE;
    struct bench_interval interval;
    uint64_t done;

    depth = options.count;
    file = bench_open(&options, opcode == LIO_WRITE ? O_RDWR : O_RDONLY);
    cbs = bench_array(depth, sizeof(*cbs));
    list = bench_array(depth, sizeof(*list));
    for (unsigned i = 0; i < depth; i++) {
        bench_prepare(&cbs[i], &file, bench_buffer(file.bytes), opcode);
        list[i] = &cbs[i];
    }
    interval = bench_begin();
    if (!strcmp(options.kind, "list"))
        done = by_lists(options.duration);
    else
        done = one_by_one(options.duration, opcode);
    bench_end(&interval, done);
    bench_print_histogram(&inside);
    return 0;
}
