/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completion thread: does in the background what no waiter has done, and watches streams.
 */
#ifndef PAIO_COMPLETION_H
#define PAIO_COMPLETION_H

#include "base.h"

/* Milliseconds from one tick to the next, while there is anything to be looked for. */
enum { PAIO_TICK = 4 };

/* Forgets the thread. For start-up and a forked child, while there is one thread. */
void paio_completion_reset(void);

/*
 * Sees to it that the thread exists: false when it cannot be had. Called before a request is
 * accepted, but after it has been taken from the slab. Signals blocked; not async-signal-safe.
 */
bool paio_completion_start(void);

/* Does it exist? If so it stays while a request is out of the slab. Lock-free, async-signal-safe. */
bool paio_completion_there(void);

/*
 * Makes the thread tick, if it does not yet: a system call only then. Called after an engine or
 * a queue was given something that might need the thread's looking in. Async-signal-safe.
 */
void paio_completion_wake(void);

/* Makes the thread settle now, if it is not about to. Async-signal-safe. */
void paio_completion_prompt(void);

/* The epoll set that streams are watched in, or -1. */
int paio_completion_epoll(void);

/*
 * Another set with threads that sleep in it, who are told what an event is about by its data. For prompt completions
 * (engine.h) one of them is woken, the completion thread only if none sleeps there: 0, or -errno if that cannot be.
 */
int paio_completion_share(int epoll, uint64_t about);

/*
 * Wakes one of the threads that sleep in such a set, or keeps the next from sleeping, which is told `about`. Rings that
 * nobody has heard yet are one. Async-signal-safe.
 */
void paio_completion_ring(int epoll, uint64_t about);

/* Whoever is woken for prompt completions takes and settles all that are there. Signals blocked, no lock held. */
void paio_completion_reap(void);

#endif
