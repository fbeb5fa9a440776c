/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The close family, in the shared library only. A queued request knows its file by a number. So
 * before a number loses its meaning, what is queued on it is canceled, with notification, as
 * POSIX allows for close; a write to a stream that has moved some bytes ends with those; and a
 * pool thread that has checked the file's identity gets the time to enter its system call. What
 * the kernel holds already goes on, on the old file.
 *
 * They act only for the process whose requests these are: a vfork child's close runs in its
 * parent's memory, and a forked child has no requests. Each is as async-signal-safe as the
 * function it stands for, and costs two loads when nothing is queued on the number.
 *
 * The library's own descriptors answer EBADF to close, are left out by close_range and
 * closefrom, and make room for dup2.
 */
#ifdef PIC

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backlog.h"
#include "cancel.h"
#include "engine_pool.h"
#include "engine_stream.h"
#include "file.h"
#include "process.h"

/* glibc's own names of what is interposed here. */
extern int __close(int fd);
extern int __dup2(int from, int to);

static bool owner(void)
{
    return paio_process_started() && getpid() == paio_settings.owner;
}

/* fd is about to stand for something else, or nothing. */
static void retire(int fd)
{
    struct paio_descriptor *descriptor;
    int saved_errno = errno;
    struct paio_signals saved;

    if (fd < 0 || !paio_process_started())
        return;
    descriptor = paio_descriptor_find(fd);
    if (!descriptor)
        return;
    if (atomic_load(&descriptor->requests) && owner()) {
        paio_cancel(fd, NULL);
        paio_signals_block(&saved);
        paio_backlog_wait_entering(fd);
        paio_stream_close(fd);
        paio_pool_wait_transfers(fd);
        paio_signals_restore(&saved);
    }
    paio_descriptor_forget(descriptor);
    errno = saved_errno;
}

static void retire_range(unsigned first, unsigned last)
{
    int fd;

    if (!owner() || first > INT_MAX)
        return;
    for (fd = paio_descriptor_next((int) first); fd >= 0 && (unsigned) fd <= last;
         fd = paio_descriptor_next(fd + 1)) {
        retire(fd);
        if (fd == INT_MAX)
            return;
    }
}

PAIO_EXPORT int close(int fd)
{
    _Atomic int *slot = fd >= 0 ? paio_private_find(fd) : NULL;

    if (slot && paio_process_started()) {
        errno = EBADF;
        return -1;
    }
    if (slot)
        atomic_store(slot, -1);
    retire(fd);
    return __close(fd);
}

/* Moves the library's descriptor out of the way of one that is to have its number. */
static void make_way(int fd)
{
    _Atomic int *slot = fd >= 0 ? paio_private_find(fd) : NULL;
    int moved;

    if (!slot || (paio_process_started() && !owner()))
        return;
    moved = owner() ? fcntl(fd, F_DUPFD_CLOEXEC, fd + 1) : -1;
    if (owner() && moved < 0)
        moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    atomic_store(slot, moved);
}

/* What another thread has seen of fd between retire and the replacement is not to be believed. */
static int replaced(int fd)
{
    struct paio_descriptor *descriptor = fd >= 0 ? paio_descriptor_find(fd) : NULL;

    if (descriptor)
        paio_descriptor_forget(descriptor);
    return fd;
}

PAIO_EXPORT int dup2(int from, int to)
{
    if (from == to || fcntl(from, F_GETFD) < 0)
        return __dup2(from, to);
    make_way(to);
    retire(to);
    return replaced(__dup2(from, to));
}

PAIO_EXPORT int dup3(int from, int to, int flags)
{
    if (from == to || flags & ~O_CLOEXEC || fcntl(from, F_GETFD) < 0)
        return (int) syscall(SYS_dup3, from, to, flags);
    make_way(to);
    retire(to);
    return replaced((int) syscall(SYS_dup3, from, to, flags));
}

/* The library's own descriptor with the smallest number from first to last, or -1. */
static int private_between(unsigned first, unsigned last)
{
    int found = -1;

    for (unsigned i = 0; i < PAIO_PRIVATE; i++) {
        int fd = paio_private_number(i);

        if (fd >= 0 && (unsigned) fd >= first && (unsigned) fd <= last && (found < 0 || fd < found))
            found = fd;
    }
    return found;
}

/* In a forked child that has not started the library: its parent's are closed like any other. */
static void forget_private(unsigned first, unsigned last)
{
    int own;

    while ((own = private_between(first, last)) >= 0)
        atomic_store(paio_private_find(own), -1);
}

PAIO_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    int own;

    if (!flags && !paio_process_started())
        forget_private(first, last);
    if (flags || first > last || !owner())
        return (int) syscall(SYS_close_range, first, last, flags);
    retire_range(first, last);
    while ((own = private_between(first, last)) >= 0) {
        if ((unsigned) own > first && syscall(SYS_close_range, first, (unsigned) own - 1, 0) < 0)
            return -1;
        if ((unsigned) own == last)
            return 0;
        first = (unsigned) own + 1;
    }
    return (int) syscall(SYS_close_range, first, last, 0);
}

PAIO_EXPORT void closefrom(int first)
{
    struct rlimit limit;

    if (first < 0)
        first = 0;
    if (close_range((unsigned) first, ~0u, 0) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    /* Before Linux 5.9. */
    for (rlim_t fd = (rlim_t) first; fd < limit.rlim_cur && fd <= INT_MAX; fd++)
        close((int) fd);
}

/* The C library's function of that name. */
static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

PAIO_EXPORT int fclose(FILE *stream)
{
    static int (*_Atomic real)(FILE *);

    if (!real)
        real = (int (*)(FILE *)) next("fclose");
    if (stream)
        retire(fileno(stream));
    return real(stream);
}

typedef FILE *reopen(const char *, const char *, FILE *);

static FILE *reopen_with(reopen *_Atomic *real, const char *name, const char *path,
                         const char *mode, FILE *stream)
{
    if (!*real)
        *real = (reopen *) next(name);
    if (stream)
        retire(fileno(stream));
    return (*real)(path, mode, stream);
}

PAIO_EXPORT FILE *freopen(const char *path, const char *mode, FILE *stream)
{
    static reopen *_Atomic real;

    return reopen_with(&real, "freopen", path, mode, stream);
}

PAIO_EXPORT FILE *freopen64(const char *path, const char *mode, FILE *stream)
{
    static reopen *_Atomic real;

    return reopen_with(&real, "freopen64", path, mode, stream);
}

#else

typedef int paio_no_close_family_here;

#endif
