/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "roundtrip FILE" writes FILE by POSIX AIO, 64 requests in flight at once, syncs it, and reads
 * it back the same way, then prints the library's version and what its statistics counted (none
 * where LIBPOSIX_AIO_STATS is not set). Exits with 1 where a request failed or a byte is wrong.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <posix-aio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 64, SIZE = 4096 };

static unsigned char written[REQUESTS][SIZE], found[REQUESTS][SIZE];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Waits until the request is complete, and returns its result; ends the program if it failed. */
static ssize_t result(struct aiocb *request, const char *what)
{
    const struct aiocb *list[] = {request};

    while (aio_error(request) == EINPROGRESS)
        if (aio_suspend(list, 1, NULL) && errno != EINTR)
            fail("aio_suspend");
    errno = aio_error(request);
    if (errno)
        fail(what);
    return aio_return(request);
}

static void transfer(int fd, int (*submit)(struct aiocb *), unsigned char (*data)[SIZE], const char *what)
{
    static struct aiocb requests[REQUESTS];

    memset(requests, 0, sizeof requests);
    for (int i = 0; i < REQUESTS; i++) {
        requests[i].aio_fildes = fd;
        requests[i].aio_buf = data[i];
        requests[i].aio_nbytes = SIZE;
        requests[i].aio_offset = (off_t)i * SIZE;
        if (submit(&requests[i]))
            fail(what);
    }
    for (int i = 0; i < REQUESTS; i++)
        if (result(&requests[i], what) != SIZE) {
            fprintf(stderr, "%s: short\n", what);
            exit(1);
        }
}

static uint64_t counted(const char *operation)
{
    static const char *const ways[] = {"inline", "kernel", "pool", "stream", "waiter"};
    uint64_t sum = 0, value;
    char name[32];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s", operation, ways[i]);
        if (posix_aio_stat(name, &value) == 0)
            sum += value;
        else if (errno != ENOENT && errno != ENODATA)
            fail(name);
    }
    return sum;
}

int main(int argc, char *argv[])
{
    unsigned int version = posix_aio_version();
    struct aiocb sync;
    int fd;

    if (argc != 2 || version != POSIX_AIO_VERSION) {
        fprintf(stderr, "usage: roundtrip FILE, on the library that the header belongs to\n");
        return 2;
    }
    for (int i = 0; i < REQUESTS; i++)
        for (int j = 0; j < SIZE; j++)
            written[i][j] = (unsigned char)(i * 31 + j * 7 + (j >> 8));
    fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        fail(argv[1]);
    transfer(fd, aio_write, written, "aio_write");
    memset(&sync, 0, sizeof sync);
    sync.aio_fildes = fd;
    if (aio_fsync(O_SYNC, &sync) || result(&sync, "aio_fsync"))
        fail("aio_fsync");
    transfer(fd, aio_read, found, "aio_read");
    if (memcmp(written, found, sizeof written)) {
        fprintf(stderr, "what was read is not what was written\n");
        return 1;
    }
    printf("version %u.%u.%u\n", version >> 16 & 0xff, version >> 8 & 0xff, version & 0xff);
    printf("writes %" PRIu64 "\nreads %" PRIu64 "\nfsyncs %" PRIu64 "\n", counted("write"), counted("read"),
           counted("fsync"));
    return 0;
}
