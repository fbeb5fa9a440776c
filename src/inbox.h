/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inbox: requests that were accepted without a lock, and are to be put in order by somebody
 * else.
 */
#ifndef PAIO_INBOX_H
#define PAIO_INBOX_H

#include "request.h"

/* Forgets its contents. For start-up and a forked child, while there is one thread. */
void paio_inbox_reset(void);

/* Puts a request, filled in and with its reference to a file, into the inbox. Lock-free. */
void paio_inbox_put(struct paio_request *request);

/* Is there anything in it? Lock-free, async-signal-safe. */
bool paio_inbox_holds(void);

/*
 * Puts what is in the inbox in order and starts it. Whatever depends on order calls it first.
 * Signals blocked, no lock held. Async-signal-safe.
 */
void paio_inbox_empty(void);

#endif
