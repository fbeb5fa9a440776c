/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting by polling: a program that has other work to do asks now and then whether its read is
 * done. It reads a file ahead, block by block, and prints the sum of its bytes: while it adds up
 * one block, the next one is being read.
 *
 *   cc poll.c -o poll $(pkg-config --cflags --libs posix-aio)
 *   ./poll FILE
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 65536, SLICE = 1024 };

static unsigned char buffers[2][BLOCK];

static int read_block(struct aiocb *cb, int fd, int which, off_t offset)
{
    memset(cb, 0, sizeof *cb);
    cb->aio_fildes = fd;
    cb->aio_buf = buffers[which];
    cb->aio_nbytes = BLOCK;
    cb->aio_offset = offset;
    cb->aio_sigevent.sigev_notify = SIGEV_NONE; /* nobody tells us: we ask */
    return aio_read(cb);
}

/* The result of a request that aio_error no longer calls in progress. To be fetched once. */
static ssize_t result_of(struct aiocb *cb)
{
    int error = aio_error(cb);
    ssize_t n = aio_return(cb);

    if (error)
        fprintf(stderr, "read: %s\n", strerror(error));
    return n;
}

int main(int argc, char *argv[])
{
    unsigned long long sum = 0;
    struct aiocb cb;
    off_t offset = 0;
    ssize_t n;
    int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1, which = 0;

    if (fd < 0) {
        fprintf(stderr, "usage: poll FILE\n");
        return 2;
    }
    if (read_block(&cb, fd, which, offset) < 0) {
        perror("aio_read");
        return 1;
    }
    while (aio_error(&cb) == EINPROGRESS)
        sched_yield(); /* the first block: there is nothing else to do yet */
    while ((n = result_of(&cb)) > 0) {
        const unsigned char *block = buffers[which];
        ssize_t added = 0;

        offset += n;
        which = !which;
        if (read_block(&cb, fd, which, offset) < 0) {
            perror("aio_read");
            return 1;
        }
        do {
            /* A slice of the other work, then the question. aio_error is cheap. */
            for (int i = 0; i < SLICE && added < n; i++)
                sum += block[added++];
        } while (added < n || aio_error(&cb) == EINPROGRESS);
    }
    if (n < 0)
        return 1;
    printf("%lld bytes, sum %llu\n", (long long) offset, sum);
    return close(fd) < 0;
}
