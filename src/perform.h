/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a waiter carries out itself of what was left to it.
 */
#ifndef PAIO_PERFORM_H
#define PAIO_PERFORM_H

#include "control.h"

/* What a waiter has carried out itself. */
struct paio_performed {
    bool writes; /* buffered writes, which were all that it waits for */
    uint64_t held_up; /* nanoseconds for which reads have kept others, or the wait for another, from going on */
    bool part;   /* some are still left to it */
};

/*
 * The calling thread is about to wait for any of list, of which nothing is done. If those in progress are left to
 * waiters, it carries out what is left on the file of the first, until one of list is done, and short writes behind it for
 * a while. If none is done then, because others do it or it would take too long, what is left is exposed, unless the pool
 * has some of list that were left before: those are the older ones, and the rest can be left to the next wait. Signals
 * blocked. Async-signal-safe.
 */
struct paio_performed paio_perform(const struct aiocb *const list[], int count);

/* Leaves to the pool what was left to waiters. Signals blocked. Async-signal-safe. */
void paio_perform_expose(void);

#endif
