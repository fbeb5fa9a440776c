/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocking and restoring signals, and the locks, cost a submitter more than half of what a cached
 * 4 KiB write costs. So a write to a file that a thread of the pool is at work on goes onto a
 * stack, by one compare-and-swap, and that thread puts it in order when it completes its write; if
 * none is at work on the file, an idle one is rung to do so.
 *
 * The one that puts must look, with the request on the stack, whether a thread is still at work,
 * or rings; the thread stops being at work, or finds that it was rung, and then looks at the stack.
 * All of it is sequentially consistent, so one of them sees the other (paio_dispatch_quick,
 * rest and serve of engine_pool.c).
 *
 * Locks: `emptying` is held while a load of requests is put in order, so that two loads cannot
 * change places, and so that who comes later, to put a barrier behind them say, waits until they
 * are. It comes before the locks of files.
 */
#include "inbox.h"

#include "dispatch.h"

static _Atomic(struct paio_request *) inbox;
static _Atomic uint32_t unordered; /* requests that were put and are not yet in order */
static pthread_mutex_t emptying = PTHREAD_MUTEX_INITIALIZER;

void paio_inbox_reset(void)
{
    pthread_mutex_init(&emptying, NULL);
    atomic_store(&inbox, NULL);
    atomic_store(&unordered, 0);
}

void paio_inbox_put(struct paio_request *request)
{
    struct paio_request *next = atomic_load_explicit(&inbox, memory_order_relaxed);

    atomic_fetch_add(&unordered, 1);
    do
        request->next = next;
    while (!atomic_compare_exchange_weak(&inbox, &next, request));
}

void paio_inbox_empty(void)
{
    struct paio_batch batch;
    struct paio_request *each, *next;
    uint32_t count = 0;

    /* Not the stack: what somebody has taken off it and not yet put in order must be waited for. */
    if (!atomic_load(&unordered))
        return;
    paio_batch_init(&batch);
    pthread_mutex_lock(&emptying);
    each = paio_request_reverse(atomic_exchange(&inbox, NULL));
    for (; each; each = next) {
        next = each->next;
        paio_dispatch_enter(each, &batch);
        count++;
    }
    paio_dispatch_flush(&batch);
    atomic_fetch_sub(&unordered, count);
    pthread_mutex_unlock(&emptying);
}
