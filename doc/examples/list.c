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
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record {
    struct aiocb cb;
    char *bytes;
};

/* The number that text is, if it is one between least and most; else -1, with a message. */
static long long number_in(const char *text, const char *what, long long least, long long most)
{
    long long number;
    char *end;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (!errno && end > text && !*end && number >= least && number <= most)
        return number;
    fprintf(stderr, "list: \"%s\" is no %s\n", text, what);
    return -1;
}

static int prepare(struct record *record, int fd, size_t size, long long number)
{
    record->bytes = malloc(size);
    if (!record->bytes)
        return -1;
    record->cb.aio_lio_opcode = LIO_READ;
    record->cb.aio_fildes = fd;
    record->cb.aio_buf = record->bytes;
    record->cb.aio_nbytes = size;
    record->cb.aio_offset = (off_t) (number * (long long) size);
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

    if (!error && (size_t) n == size) {
        printf("%s: ", number);
        fwrite(record->bytes, 1, size, stdout);
        return putchar('\n') == EOF;
    }
    fprintf(stderr, "%s: %s\n", number, error ? strerror(error) : "behind the end of the file");
    return 1;
}

/* Reads and prints the records of those numbers: the exit status. */
static int list_records(int fd, size_t size, char *numbers[], int count)
{
    struct record *records = calloc((size_t) count, sizeof *records);
    struct aiocb **list = calloc((size_t) count, sizeof *list);
    int status = records && list ? 0 : 1, ready;
    long long number;

    for (int i = 0; !status && i < count; i++) {
        number = number_in(numbers[i], "record", 0, LLONG_MAX / (long long) size - 1);
        if (number < 0)
            status = 2;
        else if (prepare(&records[i], fd, size, number) < 0)
            status = 1;
        else
            list[i] = &records[i].cb;
    }
    if (status == 1)
        fprintf(stderr, "list: records of %zu bytes: %s\n", size, strerror(errno));
    else if (!status && read_all(records, list, count) < 0) {
        perror("list");
        exit(1); /* what is still being read must not be freed */
    }
    ready = !status;
    for (int i = 0; ready && i < count; i++)
        status |= print(&records[i], size, numbers[i]);
    for (int i = 0; records && i < count; i++)
        free(records[i].bytes);
    free(records);
    free(list);
    return status;
}

int main(int argc, char *argv[])
{
    long long size;
    int fd, status;

    if (argc < 4) {
        fprintf(stderr, "usage: list FILE SIZE NUMBER...\n");
        return 2;
    }
    size = number_in(argv[2], "size", 1, LLONG_MAX);
    if (size < 0)
        return 2;
    fd = open(argv[1], O_RDONLY);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    status = list_records(fd, (size_t) size, argv + 3, argc - 3);
    close(fd);
    return status;
}
