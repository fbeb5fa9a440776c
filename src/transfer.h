/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfer: carries an operation out in the calling thread, waiting as long as it takes.
 */
#ifndef PAIO_TRANSFER_H
#define PAIO_TRANSFER_H

#include "engine.h"

/*
 * Bytes in all, or -errno. What has moved already is not lost by an error that follows. A
 * descriptor that stands for another file by now is -ECANCELED, one that was closed -EBADF.
 */
ssize_t paio_transfer(struct paio_operation *operation);

enum paio_entry { PAIO_INSIDE, PAIO_OUTSIDE, PAIO_UNKNOWN };

/*
 * Is the thread asleep in a system call that transfers on fd, or syncs it? UNKNOWN without /proc or
 * a descriptor to read it by. Async-signal-safe as far as open, read and close are.
 */
enum paio_entry paio_transfer_entered(pid_t thread, int fd);

#endif
