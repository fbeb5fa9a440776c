/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams: COUNT pipes or socket pairs with one read outstanding on each.
 *
 *   streams -k pipe|socket [-n COUNT] [-t ms]
 *
 * BATCH of them, in a shuffled order, are sent a message; each read that this completes is waited
 * for and submitted anew. Prints the number of threads, too. aio_init asks for a thread for each stream, without
 * which the C library's AIO would never complete reads on more than 20; others may ignore it.
 */
#include "bench.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 32, MESSAGE = 64 };

static struct aiocb *cbs;
static int (*ends)[2];

static void open_streams(unsigned count, bool sockets)
{
    struct rlimit limit;

    /* Two descriptors each, and room for those that an implementation needs. */
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 4 * count + 256) {
        limit.rlim_cur = 4 * count + 256;
        if (setrlimit(RLIMIT_NOFILE, &limit))
            bench_fail("RLIMIT_NOFILE", true);
    }
    ends = bench_array(count, sizeof(*ends));
    cbs = bench_array(count, sizeof(*cbs));
    for (unsigned i = 0; i < count; i++) {
        if (sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]) : pipe(ends[i]))
            bench_fail("pipe or socketpair", true);
        cbs[i].aio_fildes = ends[i][0];
        cbs[i].aio_buf = bench_array(1, MESSAGE);
        cbs[i].aio_nbytes = MESSAGE;
        cbs[i].aio_sigevent.sigev_notify = SIGEV_NONE;
    }
}

static void send_message(unsigned i)
{
    static const char message[MESSAGE];

    if (write(ends[i][1], message, MESSAGE) != MESSAGE)
        bench_fail("write to a stream", true);
}

static uint64_t exchange(unsigned count, uint64_t end)
{
    unsigned stride = (unsigned) (count * 0.618) | 1, next = 0;
    uint64_t done = 0;

    while (count % stride == 0 && stride > 1)
        stride += 2;
    do {
        for (unsigned j = 0; j < BATCH; j++)
            send_message((next + j * stride) % count);
        for (unsigned j = 0; j < BATCH; j++) {
            struct aiocb *cb = &cbs[(next + j * stride) % count];

            bench_wait(cb);
            bench_take(cb);
            bench_submit(cb);
        }
        next = (next + BATCH * stride) % count;
        done += BATCH;
    } while (bench_now() < end);
    return done;
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    struct aioinit many = { .aio_threads = (int) options.count + 1, .aio_num = (int) options.count };
    struct bench_interval interval;
    uint64_t done;

    aio_init(&many);
    open_streams(options.count, !strcmp(options.kind, "socket"));
    for (unsigned i = 0; i < options.count; i++)
        bench_submit(&cbs[i]);
    exchange(options.count, bench_now() + options.duration / 4);
    interval = bench_begin();
    done = exchange(options.count, interval.begun + options.duration);
    bench_end(&interval, done);
    bench_print("threads", (double) bench_status("Threads"));
    for (unsigned i = 0; i < options.count; i++) {
        send_message(i);
        bench_wait(&cbs[i]);
        bench_take(&cbs[i]);
    }
    return 0;
}
