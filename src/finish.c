/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way up, from an engine's result: publish -> signal -> wake -> call -> group -> next in
 * order. The signal goes before the wakeup, and the request is not PUBLISHED without it: when
 * aio_suspend or LIO_WAIT returns it has been sent, as on glibc, unless the kernel has no room for it now.
 *
 * Up to the wakeup it is lock-free, for aio_error does it too, in a handler perhaps; the rest
 * takes locks. So the kernel engine's completions are published at once and then put on a stack, `settled`,
 * from which whoever may take locks does the rest: the waiter that reaped them, or the completion
 * thread, or the next call that submits. The pool and the streams do all of it themselves.
 *
 * After publishing, the control block is not touched. The request lives until its notification
 * has been delivered, and is freed by paio_notify's release.
 */
#include "finish.h"

#include "backlog.h"
#include "completion.h"
#include "dispatch.h"
#include "engine_kernel.h"
#include "inbox.h"
#include "order.h"
#include "probes.h"
#include "process.h"
#include "stats.h"
#include "waiter.h"

static _Atomic(struct paio_request *) settled;
static _Atomic bool urgent; /* settled has something that others wait for */

void paio_finish_reset(void)
{
    atomic_store(&settled, NULL);
    atomic_store(&urgent, false);
}

bool paio_finish_urgent(void)
{
    return atomic_load_explicit(&urgent, memory_order_relaxed) || paio_kernel_refillable();
}

static enum paio_way way_of(const struct paio_operation *operation)
{
    const struct paio_engine *engine = atomic_load(&operation->engine);

    return operation->by_waiter            ? PAIO_WAY_WAITER
           : engine == &paio_engine_kernel ? PAIO_WAY_KERNEL
           : engine == &paio_engine_stream ? PAIO_WAY_STREAM
                                           : PAIO_WAY_POOL;
}

static void publish(struct paio_request *request, ssize_t result)
{
    struct aiocb *cb = atomic_load_explicit(&request->cb, memory_order_relaxed);
    uint32_t buckets;

    if (result == -ECANCELED)
        paio_stats_count(PAIO_STAT_CANCELED);
    else
        paio_stats_done(request->operation.code, way_of(&request->operation), request->accepted);
    PAIO_PROBE_COMPLETE(cb, request->operation.code, request->operation.fd, result,
                        way_of(&request->operation));
    paio_stats_outstanding(-1);
    atomic_fetch_sub(&request->descriptor->requests, 1);
    if (request->appends)
        atomic_fetch_sub(&paio_appends, 1);
    atomic_store_explicit(&request->publication, PAIO_PUBLISHING, memory_order_release);
    buckets = paio_publish(cb, result);
    request->notified = paio_notify_at_once(&request->notice.event);
    /* Sequentially consistent: pairs with await_signal, which is held, and then looks here. */
    atomic_store(&request->publication, PAIO_PUBLISHED);
    if (request->operation.followed)
        paio_waiter_hold(buckets);
    else
        paio_waiter_wake(buckets);
}

static void release(struct paio_notice *notice)
{
    paio_request_drop(paio_request_of_notice(notice));
}

/* All that follows publishing. The request is gone afterwards, or whoever puts it in order drops it. */
static void finish(struct paio_request *request)
{
    struct paio_request *group = request->group;
    struct paio_link start;

    paio_list_init(&start);
    paio_order_leave(request, &start);
    request->notice.release = release;
    if (request->notified)
        paio_request_drop(request);
    else
        paio_notify(&request->notice);
    if (group)
        paio_finish_for_group(group);
    paio_dispatch_start(&start);
}

void paio_finish_for_group(struct paio_request *group)
{
    if (atomic_fetch_sub(&group->left, 1) == 1) {
        group->notice.release = release;
        paio_notify(&group->notice);
    }
}

/* Is there more to do than the kernel did without waiting? */
static bool incomplete(const struct paio_operation *operation, ssize_t result)
{
    /* A signal that came in while the kernel began it: then nothing has been transferred. */
    if (result == -EAGAIN || result == -EOPNOTSUPP || result == -EINTR)
        return true;
    return result > 0 && operation->done < operation->length;
}

void paio_finish_later(struct paio_operation *operation, ssize_t result)
{
    struct paio_request *request = paio_request_of(operation);
    struct paio_request *next = atomic_load_explicit(&settled, memory_order_relaxed);
    bool others_wait = request->lane;

    if (result > 0)
        operation->done += (size_t) result;
    request->carry_on = incomplete(operation, result);
    if (request->carry_on) {
        /* Nobody has it until the pool does: cancel is to wait for that. */
        atomic_store(&operation->arrived, false);
        others_wait = true;
    } else {
        publish(request, operation->done ? (ssize_t) operation->done : result);
    }
    /* Pairs with the exchange of settle_results: the request this way, `urgent` the other way. */
    do {
        request->next = next;
    } while (!atomic_compare_exchange_weak_explicit(&settled, &next, request, memory_order_acq_rel,
                                                    memory_order_relaxed));
    /* Not before: who settles takes it back before it takes the stack. The request may be gone. */
    if (others_wait)
        atomic_store(&urgent, true);
}

bool paio_finish_unsettled(void)
{
    return atomic_load_explicit(&settled, memory_order_relaxed) || paio_kernel_refillable();
}

static void settle_results(void)
{
    struct paio_request *next, *each;

    if (!atomic_load_explicit(&settled, memory_order_relaxed))
        return;
    atomic_store_explicit(&urgent, false, memory_order_relaxed);
    each = paio_request_reverse(atomic_exchange_explicit(&settled, NULL, memory_order_acq_rel));
    /* What the kernel was given without a lock is to be in order before it leaves, if it can be. */
    paio_inbox_empty();
    for (; each; each = next) {
        next = each->next;
        if (!each->carry_on)
            finish(each);
        else if (paio_order_there(each))
            paio_dispatch_carry_on(each);
    }
}

void paio_finish_attend(bool leaving)
{
    paio_inbox_empty();
    if (leaving)
        paio_waiter_wake(0);
}

void paio_finish_settle(void)
{
    paio_inbox_empty();
    settle_results();
    if (paio_kernel_refillable()) {
        paio_backlog_refill();
        /* What the kernel refused has been put back. */
        settle_results();
    }
}

void paio_finish_now(struct paio_operation *operation, ssize_t result)
{
    struct paio_request *request = paio_request_of(operation);

    if (result == -EOPNOTSUPP && way_of(operation) == PAIO_WAY_STREAM) {
        /* No way without waiting, but data is there: a thread of the pool takes it. */
        paio_dispatch_to_pool(request, PAIO_CLASS_STREAM);
        return;
    }
    publish(request, result);
    finish(request);
}

unsigned paio_finish_reap(void)
{
    struct paio_signals saved;
    unsigned count;

    paio_signals_block(&saved);
    count = paio_kernel_reap();
    paio_finish_settle();
    paio_signals_restore(&saved);
    return count;
}

/* Publishes what nobody waits for yet. gcc takes the probe for a lot of code: hence the attribute. */
static inline __attribute__((always_inline)) void
publish_fresh(struct aiocb *cb, enum paio_code code, ssize_t result, uint64_t began)
{
    uint64_t error = result < 0 ? (uint64_t) (uint32_t) -result : 0;

    paio_stats_done(code, PAIO_WAY_INLINE, began);
    PAIO_PROBE_COMPLETE(cb, code, cb->aio_fildes, result, PAIO_WAY_INLINE);
    cb->__return_value = result < 0 ? -1 : result;
    /* Release: pairs with the acquire of aio_error in whichever thread calls it. */
    atomic_store_explicit(paio_status(cb), error, memory_order_release);
}

struct paio_request *paio_finish_carrier(const struct sigevent *event)
{
    /* First, for the completion thread stays while it is out of the slab. */
    struct paio_request *carrier = paio_request_allocate(NULL);

    if (!carrier)
        return NULL;
    if (!paio_completion_start() || !paio_notify_able(event)) {
        paio_request_free(carrier);
        return NULL;
    }
    carrier->notice.event = *event;
    return carrier;
}

static struct paio_notice *notice_of(struct paio_request *carrier, const struct sigevent *event)
{
    carrier->notice.event = *event;
    carrier->notice.release = release;
    return &carrier->notice;
}

/* A notice of event that stands alone, or NULL. */
static struct paio_notice *make_notice(const struct sigevent *event)
{
    struct paio_request *carrier = paio_finish_carrier(event);

    return carrier ? notice_of(carrier, event) : NULL;
}

/* Is there something, and has no handler forked since, of which this is the child? */
static bool is_own(const struct paio_reserved *reserved)
{
    return reserved && reserved->process == paio_process_started();
}

bool paio_finish_reserve(struct paio_reserved *reserved, const struct sigevent *event)
{
    reserved->process = paio_process_started();
    reserved->carrier = paio_request_try(NULL);
    if (!reserved->carrier)
        return false;
    /* Not before: with the carrier out of the slab the completion thread stays, and starts a thread for calls if none is left. */
    if (is_own(reserved) && paio_completion_there() && paio_notify_there(event))
        return true;
    paio_finish_unreserve(reserved);
    return false;
}

void paio_finish_unreserve(const struct paio_reserved *reserved)
{
    if (is_own(reserved))
        paio_request_free(reserved->carrier);
}

/* As paio_finish_in_caller, for one that is to be told of. */
static PAIO_APART int finish_and_notify(struct aiocb *cb, enum paio_code code, ssize_t result, uint64_t began,
                                        const struct paio_reserved *reserved)
{
    const struct timespec pause = { .tv_nsec = 1000000 };
    bool published = cb->aio_sigevent.sigev_notify != SIGEV_THREAD;
    struct paio_notice *notice;
    struct paio_signals saved;
    /* The control block is the caller's once published. */
    struct sigevent event = cb->aio_sigevent;

    if (published) {
        publish_fresh(cb, code, result, began);
        if (paio_notify_at_once(&event))
            return 0;
    }
    paio_signals_block(&saved);
    /* Anew, if a handler has forked since the call began, and this is the child. */
    paio_process_start();
    if (is_own(reserved))
        notice = notice_of(reserved->carrier, &event);
    else
        notice = make_notice(&event);
    while (!notice && published && !paio_notify_at_once(&event)) {
        /* The signal cannot be queued now, and there is no memory to remember it. */
        nanosleep(&pause, NULL);
        notice = make_notice(&event);
    }
    if (notice && !published)
        publish_fresh(cb, code, result, began);
    if (notice)
        paio_notify(notice);
    paio_signals_restore(&saved);
    return notice || published ? 0 : -EAGAIN;
}

int paio_finish_in_caller(struct aiocb *cb, enum paio_code code, ssize_t result, uint64_t began,
                          const struct paio_reserved *reserved)
{
    if (cb->aio_sigevent.sigev_notify != SIGEV_NONE)
        return finish_and_notify(cb, code, result, began, reserved);
    publish_fresh(cb, code, result, began);
    return 0;
}
