/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiters: how aio_suspend and LIO_WAIT sleep, and how a completion wakes exactly those who
 * asked for it.
 */
#ifndef PAIO_WAITER_H
#define PAIO_WAITER_H

#include "control.h"

/* Forgets every waiter. For start-up and a forked child, while there is one thread. */
void paio_waiter_reset(void);

/*
 * Waits until one of the control blocks is not in progress, and its signal sent: 0, -EINTR, or
 * -ETIMEDOUT past deadline (CLOCK_MONOTONIC, NULL: none). NULL entries are skipped; none at all is 0. A
 * cancellation point. Async-signal-safe, also in a handler that interrupted this function.
 */
int paio_wait_any(const struct aiocb *const list[], int count, const struct timespec *deadline);

/*
 * Wakes the waiters of the buckets that paio_publish returned, and those that were held.
 * Async-signal-safe, lock-free.
 */
void paio_waiter_wake(uint32_t buckets);

/* Leaves the buckets to the next call of paio_waiter_wake, or to the tick. Lock-free. */
void paio_waiter_hold(uint32_t buckets);

/*
 * Called every few milliseconds, with the library's background: stalled says that completions
 * lay in the ring for a whole tick. Takes the lead from a thread that does nothing with it, and
 * hands it to another.
 */
void paio_waiter_tick(bool stalled);

#endif
