/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that submits requests when it is told to, and knows nothing of the library.
 *
 *   requester OPERATION FILE
 *
 * OPERATION is read, write or fsync, and may have "direct-", "dsync-", "append-" or "nonblock-"
 * in front: how FILE is opened. A line on standard input is a number: so many requests of one
 * block each, one after the other at offset 0, and then it answers with a line "done". At the end
 * of its input it ends. Status 1: a request has failed.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4096 };

static const struct {
    const char *prefix;
    int flags;
} prefixes[] = { { "direct-", O_DIRECT },
                 { "dsync-", O_DSYNC },
                 { "append-", O_APPEND },
                 { "nonblock-", O_NONBLOCK } };

static int submit(const char *operation, struct aiocb *cb)
{
    if (!strcmp(operation, "fsync"))
        return aio_fsync(O_SYNC, cb);
    return strcmp(operation, "read") ? aio_write(cb) : aio_read(cb);
}

static int request(const char *operation, int fd)
{
    static _Alignas(BLOCK) char block[BLOCK];
    struct aiocb cb = { .aio_fildes = fd,
                        .aio_buf = block,
                        .aio_nbytes = BLOCK,
                        .aio_sigevent = { .sigev_notify = SIGEV_NONE } };
    const struct aiocb *list = &cb;

    if (submit(operation, &cb))
        return -1;
    while (aio_error(&cb) == EINPROGRESS)
        aio_suspend(&list, 1, NULL);
    errno = aio_error(&cb);
    return aio_return(&cb) < 0 ? -1 : 0;
}

int main(int argc, char *argv[])
{
    const char *operation = argc > 1 ? argv[1] : "";
    int flags = 0, fd;
    char line[32];

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (!strncmp(operation, prefixes[i].prefix, strlen(prefixes[i].prefix))) {
            flags = prefixes[i].flags;
            operation += strlen(prefixes[i].prefix);
        }
    }
    flags |= strcmp(operation, "read") ? O_WRONLY : O_RDONLY;
    fd = argc == 3 ? open(argv[2], flags) : -1;
    if (fd < 0) {
        perror("requester");
        return 2;
    }
    while (fgets(line, sizeof line, stdin)) {
        for (long n = atol(line); n > 0; n--) {
            if (request(operation, fd)) {
                perror(operation);
                return 1;
            }
        }
        puts("done");
        fflush(stdout);
    }
    return 0;
}
