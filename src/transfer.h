/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfer: carries an operation out in the calling thread, waiting as long as it takes.
 */
#ifndef PAIO_TRANSFER_H
#define PAIO_TRANSFER_H

#include <sys/resource.h>

#include "engine.h"

/*
 * Bytes in all, or -errno. What has moved already is not lost by an error that follows. A
 * descriptor that stands for another file by now is -ECANCELED, one that was closed -EBADF.
 */
ssize_t paio_transfer(struct paio_operation *operation);

/*
 * Where a write must end (RLIMIT_FSIZE); RLIM_INFINITY: anywhere. One beyond it raises SIGXFSZ in the thread that
 * carries it out. Async-signal-safe.
 */
static inline rlim_t paio_transfer_limit(void)
{
    struct rlimit limit;

#ifdef SYS_getrlimit
    /* At half the price of prlimit64, by which the C library asks. */
    if (syscall(SYS_getrlimit, RLIMIT_FSIZE, &limit) == 0)
        return limit.rlim_cur;
#endif
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

enum paio_entry { PAIO_INSIDE, PAIO_OUTSIDE, PAIO_UNKNOWN };

/*
 * Is the thread asleep in a system call that transfers on fd, or syncs it? UNKNOWN without /proc or
 * a descriptor to read it by. Async-signal-safe as far as open, read and close are.
 */
enum paio_entry paio_transfer_entered(pid_t thread, int fd);

#endif
