/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pool engine: what it offers beside the contract of engine.h.
 */
#ifndef PAIO_ENGINE_POOL_H
#define PAIO_ENGINE_POOL_H

#include "engine.h"

/*
 * Forgets threads and queues. For start-up and a forked child, while there is one thread. attend
 * looks for operations that the pool was not given yet, and submits them; with leaving it also
 * wakes whoever was to be woken with an operation that followed. A thread calls it when it has
 * completed an operation, when it goes on with another flow, before it sleeps, and when it was rung.
 * Called with signals blocked and no lock held.
 */
void paio_pool_reset(void (*attend)(bool leaving));

/* aio_init: most threads of a class (0: as before), seconds before an idle one ends (0: as before). */
void paio_pool_configure(unsigned threads, unsigned idle_seconds);

/*
 * Is there a thread for that class of work, or can one be started? Asked before a request is
 * accepted; afterwards submit never refuses, and one of them stays for idle_seconds to have it. Signals blocked.
 */
bool paio_pool_able(enum paio_class class);

/*
 * Is there time to wake a thread for each operation of that class? Always while one is late: others must not wait for
 * that. Lock-free, a hint.
 */
bool paio_pool_at_leisure(enum paio_class class);

/* Has every thread of that class done what it was given? What is queued for one of them may be left. Lock-free, a hint. */
bool paio_pool_at_rest(enum paio_class class);

/*
 * Are as many threads at work on the flow, of that class, as are good for it? Then one of them calls attend
 * later. Sequentially consistent. Lock-free.
 */
bool paio_pool_at_work(const struct paio_flow *flow, enum paio_class class);

/* Has the class of writes an idle thread that can be rung? Lock-free, a hint. */
bool paio_pool_attended(void);

/*
 * Has such a thread call attend. False: there is none. Sequentially consistent. Lock-free,
 * async-signal-safe.
 */
bool paio_pool_ring(void);

/*
 * Called every few milliseconds: starts a thread where work is queued and none was begun since
 * the last call, because those there are wait for something; starts others where there are less than submitters
 * start; and has idle ones take what was left to threads that are late, or to waiters since before the last call.
 */
void paio_pool_tick(void);

/* Leaves what is awaited (engine.h) to threads after all. Signals blocked. Async-signal-safe. */
void paio_pool_expose(void);

/* Are reads or buffered writes left to that thread (engine.h), as far as is soon found out? Signals blocked. */
bool paio_pool_left_to(pthread_t thread);

/* Is anything queued or begun? */
bool paio_pool_busy(void);

/*
 * Returns when no thread is between its check that fd is still the right file and the system
 * call that uses fd. Those that the kernel has put to sleep in that call hold the file already.
 * Signals blocked. Async-signal-safe.
 */
void paio_pool_wait_transfers(int fd);

#endif
