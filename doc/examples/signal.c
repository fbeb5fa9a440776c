/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting by signals: each request sends a real-time signal that is queued, with a value that says
 * which one it is. The signal is blocked and taken by sigwaitinfo, so that there is no handler and nothing
 * that a handler may not do. Prints how often a byte occurs in each of the files.
 *
 *   cc signal.c -o signal $(pkg-config --cflags --libs posix-aio)
 *   ./signal FILE...
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK = 65536, WANTED = '\n' };

struct file {
    const char *name;
    unsigned long found;
    struct aiocb cb;
    char block[BLOCK];
};

static int start(struct file *file, off_t offset)
{
    int fd = file->cb.aio_fildes;

    file->cb = (struct aiocb){ .aio_fildes = fd,
                               .aio_buf = file->block,
                               .aio_nbytes = BLOCK,
                               .aio_offset = offset };
    file->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    file->cb.aio_sigevent.sigev_signo = SIGRTMIN;        /* real-time: each is queued */
    file->cb.aio_sigevent.sigev_value.sival_ptr = file;  /* which one it is */
    return aio_read(&file->cb);
}

/* What a request has read. 1: the next is on its way. 0: the file is at its end. */
static int go_on(struct file *file)
{
    int error = aio_error(&file->cb);
    ssize_t n = aio_return(&file->cb);

    for (ssize_t i = 0; i < n; i++)
        file->found += file->block[i] == WANTED;
    if (n > 0)
        return start(file, file->cb.aio_offset + n) < 0 ? -1 : 1;
    errno = error; /* aio_return need not set it */
    return n < 0 ? -1 : 0;
}

/* Takes completions until no file is left. */
static int serve(const sigset_t *completions, int left)
{
    siginfo_t info;
    int more;

    while (left) {
        if (sigwaitinfo(completions, &info) < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        if (info.si_code != SI_ASYNCIO) /* somebody else has sent the signal */
            continue;
        more = go_on(info.si_value.sival_ptr);
        if (more < 0)
            return -1;
        left -= !more;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct file *files = calloc((size_t) argc, sizeof *files);
    sigset_t completions;

    /* Before any request, and before any thread: who does not block it is killed by it. */
    sigemptyset(&completions);
    sigaddset(&completions, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &completions, NULL);
    if (!files)
        return 1;
    for (int i = 1; i < argc; i++) {
        files[i].name = argv[i];
        files[i].cb.aio_fildes = open(argv[i], O_RDONLY);
        if (files[i].cb.aio_fildes < 0 || start(&files[i], 0) < 0) {
            perror(argv[i]);
            return 1;
        }
    }
    if (serve(&completions, argc - 1) < 0) {
        perror("signal");
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        printf("%lu %s\n", files[i].found, files[i].name);
        close(files[i].cb.aio_fildes);
    }
    free(files);
    return 0;
}
