/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that uses <aio.h> as any program does and has never heard of libposix-aio: the tests
 * put the library before it by LD_PRELOAD. Built with OLD_SYMBOLS it asks for the symbols by the
 * versions that programs older than glibc 2.34 ask for.
 *
 * It does READS reads and as many writes one by one, LISTED reads in a list, a sync, and a read of
 * a pipe that it cancels or completes; checks all data; and leaves as its argument says: "exit",
 * "_exit" or "kill". Status 0: all went well.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef OLD_SYMBOLS
#define OLD(name, version) __asm__(".symver " #name ", " #name "@" version)
OLD(aio_read, "GLIBC_2.2.5");
OLD(aio_write, "GLIBC_2.2.5");
OLD(aio_fsync, "GLIBC_2.2.5");
OLD(aio_error, "GLIBC_2.2.5");
OLD(aio_return, "GLIBC_2.2.5");
OLD(aio_suspend, "GLIBC_2.2.5");
OLD(aio_cancel, "GLIBC_2.2.5");
OLD(lio_listio, "GLIBC_2.4");
#endif

enum { READS = 20, LISTED = 10, SIZE = 4096 };

static unsigned char out[READS][SIZE], in[READS][SIZE];

static void check(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static ssize_t finish(struct aiocb *cb)
{
    const struct aiocb *const list[] = { cb };

    while (aio_error(cb) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    errno = aio_error(cb);
    return aio_return(cb);
}

static struct aiocb block(int fd, void *buf, size_t length, off_t offset)
{
    struct aiocb cb;

    memset(&cb, 0, sizeof(cb));
    cb.aio_fildes = fd;
    cb.aio_buf = buf;
    cb.aio_nbytes = length;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    return cb;
}

static void use_file(int fd)
{
    struct aiocb cbs[READS], *list[LISTED];

    for (int i = 0; i < READS; i++) {
        memset(out[i], i + 1, SIZE);
        cbs[i] = block(fd, out[i], SIZE, (off_t) i * SIZE);
        check(!aio_write(&cbs[i]), "aio_write");
    }
    for (int i = 0; i < READS; i++)
        check(finish(&cbs[i]) == SIZE, "write");
    cbs[0] = block(fd, NULL, 0, 0);
    check(!aio_fsync(O_SYNC, &cbs[0]) && finish(&cbs[0]) == 0, "aio_fsync");
    for (int i = 0; i < READS; i++) {
        cbs[i] = block(fd, in[i], SIZE, (off_t) i * SIZE);
        check(!aio_read(&cbs[i]), "aio_read");
    }
    for (int i = 0; i < READS; i++)
        check(finish(&cbs[i]) == SIZE, "read");
    check(!memcmp(in, out, sizeof(in)), "data");
    memset(in, 0, sizeof(in));
    for (int i = 0; i < LISTED; i++) {
        cbs[i] = block(fd, in[i], SIZE, (off_t) i * SIZE);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    check(!lio_listio(LIO_WAIT, list, LISTED, NULL), "lio_listio");
    check(!memcmp(in, out, (size_t) LISTED * SIZE), "listed data");
}

static void use_pipe(void)
{
    struct aiocb cb;
    int fds[2], answer;

    check(!pipe(fds), "pipe");
    cb = block(fds[0], in, 1, 0);
    check(!aio_read(&cb), "aio_read of a pipe");
    answer = aio_cancel(fds[0], &cb);
    check(answer == AIO_CANCELED || answer == AIO_NOTCANCELED, "aio_cancel");
    check(write(fds[1], "x", 1) == 1, "write to the pipe");
    finish(&cb);
}

int main(int argc, char *argv[])
{
    const char *end = argc > 1 ? argv[1] : "exit";
    char name[] = "t-plain-XXXXXX";
    int fd = mkstemp(name);

    check(fd >= 0, "mkstemp");
    unlink(name);
    use_file(fd);
    use_pipe();
    if (!strcmp(end, "_exit"))
        _exit(0);
    if (!strcmp(end, "kill"))
        raise(SIGKILL);
    return 0;
}
