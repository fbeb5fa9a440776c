/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request costs while COUNT are outstanding, in time and in memory.
 *
 *   outstanding -k file -f FILE [-d] [-n COUNT] [-t ms]
 *   outstanding -k pipe [-n COUNT] [-t ms]
 *
 * file: COUNT reads of the file in flight; the oldest is waited for and submitted anew, until each
 * has had its turn and the time is over. pipe: COUNT reads outstanding on PIPES pipes (fewer if there
 * are fewer reads); a message is sent to one after the other, and the read that takes it is waited for and
 * submitted anew. "bytes" is what the process grew by for each request once all were submitted, the
 * control blocks and buffers excepted, which were there before; a first request has been done by then. It is
 * left out where COUNT is too small for a growth in whole pages to mean anything.
 */
#include "bench.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PIPES = 500, ENOUGH_FOR_BYTES = 1000 };

static struct aiocb *cbs;
static struct bench_file file;
static int ends[PIPES][2];
static unsigned pipes;

static void open_pipes(unsigned count)
{
    pipes = count < PIPES ? count : PIPES;
    for (unsigned i = 0; i < pipes; i++)
        if (pipe(ends[i]))
            bench_fail("pipe", true);
}

/* Request i reads from pipe i mod PIPES; reads on one pipe complete in the order of submission. */
static void prepare(unsigned i, void *buffer)
{
    if (!pipes) {
        bench_prepare(&cbs[i], &file, buffer, LIO_READ);
        return;
    }
    cbs[i].aio_fildes = ends[i % pipes][0];
    cbs[i].aio_buf = buffer;
    cbs[i].aio_nbytes = 1;
    cbs[i].aio_sigevent.sigev_notify = SIGEV_NONE;
}

static void complete(unsigned i)
{
    if (pipes && write(ends[i % pipes][1], "", 1) != 1)
        bench_fail("write to a pipe", true);
    bench_wait(&cbs[i]);
    bench_take(&cbs[i]);
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    unsigned count = options.count;
    struct bench_interval interval;
    char *buffers;
    uint64_t done = 0;
    long before, after;

    if (!strcmp(options.kind, "pipe"))
        open_pipes(count);
    else
        file = bench_open(&options, O_RDONLY);
    cbs = bench_array(count, sizeof(*cbs));
    buffers = bench_buffer((pipes ? 1 : count) * options.bytes);
    memset(cbs, 0, count * sizeof(*cbs));
    for (unsigned i = 0; i < count; i++)
        prepare(i, pipes ? buffers : buffers + i * options.bytes);
    bench_submit(&cbs[0]);
    complete(0);
    prepare(0, buffers);

    before = bench_status("VmRSS");
    for (unsigned i = 0; i < count; i++)
        bench_submit(&cbs[i]);
    after = bench_status("VmRSS");
    interval = bench_begin();
    for (unsigned i = 0; done < count || bench_now() < interval.begun + options.duration; done++) {
        complete(i);
        prepare(i, (void *) cbs[i].aio_buf);
        bench_submit(&cbs[i]);
        i = (i + 1) % count;
    }
    bench_end(&interval, done);
    if (count >= ENOUGH_FOR_BYTES)
        bench_print("bytes", (double) (after - before) * 1024 / count);
    for (unsigned j = 0, i = done % count; j < count; j++, i = (i + 1) % count)
        complete(i);
    return 0;
}
