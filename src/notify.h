/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notification: tells the application, by a signal or by a call on a thread of its own, that a
 * request or a list is done.
 */
#ifndef PAIO_NOTIFY_H
#define PAIO_NOTIFY_H

#include "base.h"

/*
 * Notice: one notification on its way. The sigevent is a copy. release gives the memory back
 * when the notice has been delivered; it is called once, with signals blocked.
 */
struct paio_notice {
    struct paio_link link;
    struct sigevent event;
    void (*release)(struct paio_notice *notice);
};

/* Forgets threads and queues. For start-up and a forked child, while there is one thread. */
void paio_notify_reset(void);

/*
 * Can event be delivered? Starts the first thread for SIGEV_THREAD. Asked before a request is
 * accepted. Signals blocked; not async-signal-safe.
 */
bool paio_notify_able(const struct sigevent *event);

/* Is what it takes there already? Lock-free, async-signal-safe. */
bool paio_notify_there(const struct sigevent *event);

/*
 * Delivers event at once if that can be done without a thread and without a queue: true. False:
 * it needs a notice. Lock-free, async-signal-safe.
 */
bool paio_notify_at_once(const struct sigevent *event);

/* Delivers notice, now or later, in order with others. Signals blocked. Async-signal-safe. */
void paio_notify(struct paio_notice *notice);

/*
 * Called every few milliseconds: sends signals that could not be queued, starts a thread where
 * calls wait and none was begun since the last time.
 */
void paio_notify_tick(void);

/* Does anything wait to be delivered? */
bool paio_notify_busy(void);

#endif
