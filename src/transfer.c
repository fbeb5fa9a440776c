/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The blocking transfer of one operation, as a thread of the pool does it: the check that the
 * descriptor still stands for the file that it stood for, and the system call.
 */
#include "transfer.h"

#include <fcntl.h>
#include <stdio.h>

#include "file.h"

/*
 * The system calls themselves, not the C library's functions, which are cancellation points: the thread may be a waiter's,
 * where cancellation is disabled meanwhile (paio_signals_block).
 */
static ssize_t call(const struct paio_operation *o)
{
    char *buffer = (char *) o->buffer + o->done;
    size_t length = o->length - o->done;
    off_t offset = o->offset + (off_t) o->done;
    ssize_t n;

    switch (o->code) {
    case PAIO_FSYNC:
        return syscall(SYS_fsync, o->fd);
    case PAIO_FDATASYNC:
        return syscall(SYS_fdatasync, o->fd);
    case PAIO_READ:
        if (!o->stream && ((n = syscall(SYS_pread64, o->fd, buffer, length, offset)) >= 0 ||
                           errno != ESPIPE))
            return n;
        return syscall(SYS_read, o->fd, buffer, length);
    default:
        if (!o->stream && ((n = syscall(SYS_pwrite64, o->fd, buffer, length, offset)) >= 0 ||
                           errno != ESPIPE))
            return n;
        return syscall(SYS_write, o->fd, buffer, length);
    }
}

ssize_t paio_transfer(struct paio_operation *o)
{
    ssize_t n;

    if (paio_identity_holds(o->fd, &o->identity))
        n = call(o);
    else
        n = -1, errno = -paio_descriptor_lost(o->fd);
    if (n < 0)
        return o->done ? (ssize_t) o->done : -errno;
    return (ssize_t) o->done + n;
}

/* /proc/PID/task/TID/syscall: "17 0x5 …". */
enum paio_entry paio_transfer_entered(pid_t thread, int fd)
{
    char path[64], text[64];
    unsigned long argument;
    long number;
    ssize_t n;
    int proc;

    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int) thread);
    proc = open(path, O_RDONLY | O_CLOEXEC);
    if (proc < 0)
        return PAIO_UNKNOWN;
    n = read(proc, text, sizeof text - 1);
    paio_close(proc);
    if (n <= 0)
        return PAIO_UNKNOWN;
    text[n] = '\0';
    if (sscanf(text, "%ld %lx", &number, &argument) != 2 || (int) argument != fd)
        return PAIO_OUTSIDE;
    return number == SYS_pread64 || number == SYS_pwrite64 || number == SYS_read ||
           number == SYS_write || number == SYS_fsync || number == SYS_fdatasync
               ? PAIO_INSIDE
               : PAIO_OUTSIDE;
}
