/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocking and restoring signals, and the locks, cost a submitter more than half of what a cached
 * 4 KiB write costs, and a tenth of what io_submit does for a direct one. So a transfer of a file that has
 * others in flight goes onto a stack, by one compare-and-swap, and somebody else puts it in order.
 *
 * A buffered write, or a read that the device has begun with: a thread of the pool that is at work on the
 * file, when it completes what it has; for writes, if none is, an idle one is rung to do so. The one that
 * puts must look, with the request on the stack, whether threads are still at work, or rings; the thread
 * stops being at work, or finds that it was rung, and then looks at the stack. All of it is sequentially
 * consistent, so one of them sees the other (pass_to_pool of dispatch.c, rest and serve of worker.c,
 * perform of guest.c).
 *
 * What the kernel has been given by the call that submits: whoever comes next, at the latest who does what is
 * behind its result (settle_results of finish.c). The result may be first: then there is no order to be kept any
 * more, and what is left is to drop the request; or, if the kernel has handed it back, to give it to the pool.
 *
 * Locks: `emptying` is held while a load of requests is put in order, so that two loads cannot
 * change places, and so that who comes later, to put a barrier behind them say, waits until they
 * are. It comes before the locks of files.
 */
#include "inbox.h"

#include "dispatch.h"

static _Atomic(struct paio_link *) inbox; /* by in_file.next, which is not used before order is */
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
    struct paio_link *next = atomic_load_explicit(&inbox, memory_order_relaxed);

    atomic_fetch_add(&unordered, 1);
    do
        request->in_file.next = next;
    while (!atomic_compare_exchange_weak(&inbox, &next, &request->in_file));
}

bool paio_inbox_holds(void)
{
    return atomic_load(&inbox);
}

void paio_inbox_empty(void)
{
    struct paio_link *each, *next, load;
    struct paio_batch batch;
    uint32_t count = 0;

    /* Not the stack: what somebody has taken off it and not yet put in order must be waited for. */
    if (!atomic_load(&unordered))
        return;
    paio_batch_init(&batch);
    pthread_mutex_lock(&emptying);
    paio_list_init(&load);
    for (each = atomic_exchange(&inbox, NULL); each; each = next) {
        next = each->next;
        paio_list_push(&load, each);
    }
    for (; (each = paio_list_pop(&load)); count++)
        paio_dispatch_enter(paio_container(each, struct paio_request, in_file), &batch);
    paio_dispatch_flush(&batch);
    atomic_fetch_sub(&unordered, count);
    pthread_mutex_unlock(&emptying);
}
