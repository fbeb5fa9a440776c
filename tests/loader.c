/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that loads the library named by its argument with dlopen, submits a read of an empty
 * pipe and one of a file, lets go of the library with dlclose while the first is in flight, and
 * then completes it: the code that has to run must still be there. Status 0: all went well.
 */
#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned char bytes[200];

static int done(int (*error)(const struct aiocb *), const struct aiocb *cb)
{
    const struct timespec moment = { .tv_nsec = 1000000 };

    for (int i = 0; i < 60000 && error(cb) == EINPROGRESS; i++)
        nanosleep(&moment, NULL);
    return error(cb) == 0;
}

static int load_and_leave(const char *library)
{
    int (*submit)(struct aiocb *), (*error)(const struct aiocb *);
    struct aiocb file = { .aio_nbytes = 10, .aio_buf = bytes },
                 stream = { .aio_nbytes = 1, .aio_buf = bytes + 100 };
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    FILE *data = tmpfile();
    int fds[2];

    if (!handle || pipe(fds) || !data || fputs("0123456789", data) < 0 || fflush(data)) {
        fprintf(stderr, "%s\n", handle ? strerror(errno) : dlerror());
        return 1;
    }
    *(void **) &submit = dlsym(handle, "aio_read");
    *(void **) &error = dlsym(handle, "aio_error");
    file.aio_sigevent.sigev_notify = stream.aio_sigevent.sigev_notify = SIGEV_NONE;
    file.aio_fildes = fileno(data);
    stream.aio_fildes = fds[0];
    if (!submit || !error || submit(&file) || submit(&stream))
        return 2;
    if (!done(error, &file) || memcmp(bytes, "0123456789", 10))
        return 3;
    if (error(&stream) != EINPROGRESS || dlclose(handle))
        return 4;
    if (write(fds[1], "x", 1) != 1 || !done(error, &stream) || bytes[100] != 'x')
        return 5;
    return 0;
}

int main(int argc, char *argv[])
{
    for (int i = 0; i < 20; i++) {
        int status = argc > 1 ? load_and_leave(argv[1]) : 6;

        if (status)
            return status;
    }
    return 0;
}
