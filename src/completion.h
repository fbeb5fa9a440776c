/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completion thread: does in the background what no waiter has done, and watches streams.
 */
#ifndef PAIO_COMPLETION_H
#define PAIO_COMPLETION_H

#include "base.h"

/* Forgets the thread. For start-up and a forked child, while there is one thread. */
void paio_completion_reset(void);

/*
 * Sees to it that the thread exists: false when it cannot be had. Called before a request is
 * accepted, after paio_completion_request(1). Signals blocked; not async-signal-safe.
 */
bool paio_completion_start(void);

/* Counts accepted requests: the thread does not end while there are any. Lock-free. */
void paio_completion_request(int change);

/*
 * Counts what an engine or a queue holds that might need the thread's looking in: it ticks while
 * there is any. After an increment somebody calls paio_completion_wake. Lock-free.
 */
void paio_completion_work(int change);

/*
 * Makes the thread tick, if it does not yet: a system call only then. Async-signal-safe.
 */
void paio_completion_wake(void);

/* Makes the thread settle now, if it is not about to. Async-signal-safe. */
void paio_completion_prompt(void);

/* The epoll set that streams are watched in, or -1. */
int paio_completion_epoll(void);

#endif
