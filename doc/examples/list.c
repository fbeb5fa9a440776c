/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting by a list: lio_listio submits many requests in one call, and waits for all of them. Reads
 * records of a file at random places, as a database does, and prints them in order.
 *
 *   cc list.c -o list $(pkg-config --cflags --libs posix-aio)
 *   ./list FILE SIZE NUMBER...
 *
 * SIZE is that of a record, in bytes; the records are numbered from 0.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record {
    struct aiocb cb;
    char *bytes;
};

static int prepare(struct record *record, int fd, size_t size, long number)
{
    record->bytes = malloc(size);
    if (!record->bytes)
        return -1;
    record->cb.aio_lio_opcode = LIO_READ;
    record->cb.aio_fildes = fd;
    record->cb.aio_buf = record->bytes;
    record->cb.aio_nbytes = size;
    record->cb.aio_offset = (off_t) number * (off_t) size;
    record->cb.aio_sigevent.sigev_notify = SIGEV_NONE; /* the list as a whole is waited for */
    return 0;
}

/* Reads them all. What became of each is in its control block; -1 only if that is not known. */
static int read_all(struct record *records, struct aiocb **list, int count)
{
    if (lio_listio(LIO_WAIT, list, count, NULL) == 0)
        return 0;
    if (errno == EIO)
        return 0; /* at least one has failed, and says so itself */
    if (errno != EINTR && errno != EAGAIN)
        return -1;
    /* A handler ran, or not all were accepted (those say EAGAIN): wait for the others. */
    for (int i = 0; i < count; i++) {
        const struct aiocb *one = &records[i].cb;

        while (aio_error(one) == EINPROGRESS)
            aio_suspend(&one, 1, NULL);
    }
    return 0;
}

static int print(struct record *record, size_t size, const char *number)
{
    int error = aio_error(&record->cb);
    ssize_t n = aio_return(&record->cb);

    if (!error && (size_t) n == size)
        return printf("%s: %.*s\n", number, (int) size, record->bytes) < 0;
    fprintf(stderr, "%s: %s\n", number, error ? strerror(error) : "behind the end of the file");
    return 1;
}

int main(int argc, char *argv[])
{
    size_t size = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    int count = argc - 3, status = 0, fd = size ? open(argv[1], O_RDONLY) : -1;
    struct record *records;
    struct aiocb **list;

    if (fd < 0) {
        fprintf(stderr, "usage: list FILE SIZE NUMBER...\n");
        return 2;
    }
    records = calloc((size_t) count, sizeof *records);
    list = calloc((size_t) count, sizeof *list);
    for (int i = 0; records && list && i < count; i++) {
        if (prepare(&records[i], fd, size, atol(argv[i + 3])) < 0)
            return 1;
        list[i] = &records[i].cb;
    }
    if (!records || !list || read_all(records, list, count) < 0) {
        perror("list");
        return 1;
    }
    for (int i = 0; i < count; i++) {
        status |= print(&records[i], size, argv[i + 3]);
        free(records[i].bytes);
    }
    free(records);
    free(list);
    close(fd);
    return status;
}
