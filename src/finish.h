/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finish: the way up, from an engine's result to the caller; and what is behind results that the kernel engine has
 * published already.
 */
#ifndef PAIO_FINISH_H
#define PAIO_FINISH_H

#include "request.h"

/* Callbacks of the engines: the kernel's takes no lock, the rest is for paio_finish_settle. */
void paio_finish_later(struct paio_operation *operation, ssize_t result);
void paio_finish_now(struct paio_operation *operation, ssize_t result);

/*
 * What tells of a request by a call of its function, taken before the caller carries the request out: what has been
 * done cannot be refused any more. It is the process's that has taken it, not a child's that a handler forks.
 */
struct paio_reserved {
    struct paio_request *carrier;
    uint32_t process;
};

/*
 * False: not all is there that it takes, and the request is to be accepted, or refused, first. Lock-free; signals may be
 * open: a handler that jumps leaves the carrier behind.
 */
bool paio_finish_reserve(struct paio_reserved *reserved, const struct sigevent *event);

/* Gives it back, for a request that the caller has not carried out. Likewise. */
void paio_finish_unreserve(const struct paio_reserved *reserved);

/*
 * Publishes the result of a request that was never in flight, began at that time of the statistics, and notifies by what is
 * reserved for it, if anything is. -EAGAIN if it cannot be notified; then it is not published.
 */
int paio_finish_in_caller(struct aiocb *cb, enum paio_code code, ssize_t result, uint64_t began,
                          const struct paio_reserved *reserved);

/*
 * A request that carries nothing but a notification of event, or NULL if that cannot be: no memory, no thread to be had.
 * Signals blocked; not async-signal-safe.
 */
struct paio_request *paio_finish_carrier(const struct sigevent *event);

/* A group has one request less to wait for: notifies when that was the last. Signals blocked. */
void paio_finish_for_group(struct paio_request *group);

/*
 * Puts in order what paio_dispatch_quick has accepted, does the rest for results that
 * paio_finish_later has published, and refills the kernel engine. Signals blocked. Async-signal-safe.
 */
void paio_finish_settle(void);

/* For the threads of the pool: see paio_pool_reset. */
void paio_finish_attend(bool leaving);

/* Is there anything to settle? Does somebody wait for it who will not hear of it otherwise? */
bool paio_finish_unsettled(void);
bool paio_finish_urgent(void);

/*
 * Reaps completions of the kernel engine and settles. Returns how many there were.
 * Async-signal-safe.
 */
unsigned paio_finish_reap(void);

/* Forgets what is settled. For start-up and a forked child, while there is one thread. */
void paio_finish_reset(void);

#endif
