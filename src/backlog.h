/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backlog of the kernel engine: what the kernel has no room for yet.
 */
#ifndef PAIO_BACKLOG_H
#define PAIO_BACKLOG_H

#include "engine.h"

/* Forgets what is in it. For start-up and a forked child, while there is one thread. */
void paio_backlog_reset(void);

/* Lock-free. */
bool paio_backlog_empty(void);

/* Puts operations at the end of the line. Signals blocked. */
void paio_backlog_put(struct paio_operation **operations, unsigned count);

/*
 * Submits what waited, as far as there is room; what is on a descriptor that stands for another file by now is
 * completed with -ECANCELED or -EBADF. Signals blocked.
 */
void paio_backlog_refill(void);

/* Takes an operation back that still waits: see engine.h, cancel. */
bool paio_backlog_cancel(struct paio_operation *operation);

/*
 * Returns when no operation on fd is between the backlog and the kernel: from then on the kernel
 * holds the file itself. Signals blocked. Async-signal-safe.
 */
void paio_backlog_wait_entering(int fd);

#endif
