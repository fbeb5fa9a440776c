/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting by a function: SIGEV_THREAD has one called for each request that is done, on a thread of the
 * library. Functions of several requests run at the same time, so what they share has a lock. Writes
 * a file of numbered lines, its blocks in parallel, and makes sure that they are on the device.
 *
 *   cc thread.c -o thread $(pkg-config --cflags --libs posix-aio) -pthread
 *   ./thread FILE LINES
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of a line, lines of a block, and how many blocks may be on their way. */
enum { LINE = 16, LINES = 4096, MOST = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long outstanding;  /* under lock */
static int failed;        /* under lock */

struct block {
    struct aiocb cb;
    char lines[LINES * LINE];
};

/* A request is done; with an error, or not all of it written, the whole has failed. */
static void count(int error)
{
    pthread_mutex_lock(&lock);
    outstanding--;
    failed = failed ? failed : error;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void written(union sigval value)
{
    struct block *block = value.sival_ptr;
    int error = aio_error(&block->cb);

    if (!error && aio_return(&block->cb) != (ssize_t) block->cb.aio_nbytes)
        error = ENOSPC;
    free(block); /* the request is done, and nobody else has it */
    count(error);
}

/* Waits until there are no more than that on their way. */
static void wait_until_left(long left)
{
    pthread_mutex_lock(&lock);
    while (outstanding > left)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* One more. To be called before the request: its function may run before aio_write has returned. */
static void expect(void)
{
    pthread_mutex_lock(&lock);
    outstanding++;
    pthread_mutex_unlock(&lock);
}

static void fill(char *lines, long first, long count_of_lines)
{
    char line[32];

    for (long i = 0; i < count_of_lines; i++) {
        snprintf(line, sizeof line, "%*ld\n", LINE - 1, first + i);
        memcpy(lines + i * LINE, line, LINE);
    }
}

static int write_block(int fd, long first, long end)
{
    struct block *block = calloc(1, sizeof *block);
    long count_of_lines = end - first < LINES ? end - first : LINES;

    if (!block)
        return -1;
    fill(block->lines, first, count_of_lines);
    block->cb.aio_fildes = fd;
    block->cb.aio_buf = block->lines;
    block->cb.aio_nbytes = (size_t) count_of_lines * LINE;
    block->cb.aio_offset = (off_t) first * LINE;
    block->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    block->cb.aio_sigevent.sigev_notify_function = written;
    block->cb.aio_sigevent.sigev_value.sival_ptr = block;
    wait_until_left(MOST - 1);
    expect();
    if (aio_write(&block->cb) == 0)
        return 0;
    count(errno);
    free(block);
    return -1;
}

/* The function for aio_fsync, whose control block is not to be freed. */
static void synced(union sigval value)
{
    count(aio_error(value.sival_ptr));
}

static int sync_file(int fd)
{
    static struct aiocb cb;

    cb.aio_fildes = fd;
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = synced;
    cb.aio_sigevent.sigev_value.sival_ptr = &cb;
    expect();
    /* It begins when the writes before it have ended: there is no need to wait for them first. */
    if (aio_fsync(O_SYNC, &cb) == 0)
        return 0;
    count(errno);
    return -1;
}

int main(int argc, char *argv[])
{
    long lines = argc == 3 ? atol(argv[2]) : 0;
    int fd = lines > 0 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;

    if (fd < 0) {
        fprintf(stderr, "usage: thread FILE LINES\n");
        return 2;
    }
    for (long first = 0; first < lines; first += LINES)
        if (write_block(fd, first, lines) < 0)
            break;
    sync_file(fd);
    wait_until_left(0);
    if (failed) {
        errno = failed;
        perror(argv[1]);
    }
    return failed || close(fd) < 0;
}
