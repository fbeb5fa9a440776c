/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists: entries per second through lio_listio.
 *
 *   lists -f FILE -k wait|nowait [-d] [-n ENTRIES] [-s MiB] [-t ms]
 *
 * wait: LIO_WAIT. nowait: LIO_NOWAIT, then aio_suspend on the whole list until each entry is done.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Sleeps until all are done, by waiting for any of those that are not. */
static void wait_for_all(struct aiocb **list, const struct aiocb **left, unsigned count)
{
    unsigned pending = count;

    memcpy(left, list, count * sizeof(*left));
    for (;;) {
        unsigned kept = 0;

        for (unsigned i = 0; i < pending; i++)
            if (aio_error(left[i]) == EINPROGRESS)
                left[kept++] = left[i];
        pending = kept;
        if (!pending)
            return;
        if (aio_suspend(left, (int) pending, NULL) && errno != EINTR)
            bench_fail("aio_suspend", true);
    }
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    bool nowait = !strcmp(options.kind, "nowait");
    struct bench_file file = bench_open(&options, O_RDONLY);
    struct aiocb *cbs = bench_array(options.count, sizeof(*cbs));
    struct aiocb **list = bench_array(options.count, sizeof(*list));
    const struct aiocb **left = bench_array(options.count, sizeof(*left));
    struct bench_interval interval;
    uint64_t done = 0;

    for (unsigned i = 0; i < options.count; i++) {
        cbs[i].aio_buf = bench_buffer(file.bytes);
        list[i] = &cbs[i];
    }
    interval = bench_begin();
    do {
        for (unsigned i = 0; i < options.count; i++)
            bench_prepare(&cbs[i], &file, (void *) cbs[i].aio_buf, LIO_READ);
        if (lio_listio(nowait ? LIO_NOWAIT : LIO_WAIT, list, (int) options.count, NULL))
            bench_fail("lio_listio", true);
        if (nowait)
            wait_for_all(list, left, options.count);
        for (unsigned i = 0; i < options.count; i++)
            bench_take(&cbs[i]);
        done += options.count;
    } while (bench_now() < interval.begun + options.duration);
    bench_end(&interval, done);
    return 0;
}
