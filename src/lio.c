/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lio_listio: submits a list, some operations at a time to an engine (dispatch.h), and waits
 * for all of it or arranges for one notification when all of it is done.
 *
 * LIO_WAIT keeps nothing but the control blocks: it waits for each in turn. A signal that
 * interrupts it leaves nothing behind. LIO_NOWAIT has a group, which counts what is in flight,
 * plus one for the call itself, and notifies when nothing is left.
 *
 * Signals stay open as long as the entries are served in the caller, as in aio_read. From the first one on that is
 * not, or that tells when it is done, they are blocked until all have been submitted: a handler that is told of one
 * may look at all of them.
 */
#include "habit.h"
#include "perform.h"
#include "submit.h"
#include "waiter.h"

struct listing {
    struct paio_batch batch;
    struct paio_request *group;
    struct paio_signals saved;
    bool entered; /* signals are blocked */
    bool awaited; /* left to the thread that waits, if it can be */
    bool short_of_resources;
};

static void enter(struct listing *listing)
{
    if (listing->entered)
        return;
    listing->entered = true;
    paio_signals_block(&listing->saved);
    /* Anew, if a handler has forked since, and this is the child. */
    paio_process_start();
    paio_finish_settle();
}

static void leave(struct listing *listing)
{
    if (listing->entered)
        paio_signals_restore(&listing->saved);
}

/* An entry that was not accepted says so itself. */
static void reject(struct aiocb *cb, int error)
{
    cb->__return_value = -1;
    atomic_store_explicit(paio_status(cb), (uint64_t) (uint32_t) -error, memory_order_release);
}

/* Are others under way on the descriptor? Then somebody is awake to do it, and threads would get in each other's way. */
static bool in_company(const struct aiocb *cb)
{
    struct paio_descriptor *descriptor = paio_descriptor_find(cb->aio_fildes);

    return descriptor && atomic_load(&descriptor->requests);
}

/* Makes a request of what could not be done in the caller. */
static PAIO_APART int accept_rest(struct listing *listing, struct aiocb *cb, enum paio_code code,
                                  struct paio_progress progress)
{
    struct paio_call call = { .cb = cb, .code = code, .group = listing->group, .progress = progress };

    enter(listing);
    if (listing->awaited && !in_company(cb))
        call.expected = PAIO_WAITS;
    paio_choose_look(&call);
    return paio_dispatch_accept(&call, &listing->batch);
}

static void submit_entry(struct listing *listing, struct aiocb *cb)
{
    enum paio_code code = cb->aio_lio_opcode == LIO_READ ? PAIO_READ : PAIO_WRITE;
    struct paio_progress progress = { 0 };
    int error;

    /* It is its first request's. */
    if (paio_in_flight(cb))
        return;
    error = cb->aio_lio_opcode == LIO_READ || cb->aio_lio_opcode == LIO_WRITE ? paio_submit_check(cb, code) : -EINVAL;
    if (error) {
        reject(cb, error);
        return;
    }
    if (cb->aio_sigevent.sigev_notify != SIGEV_NONE)
        enter(listing);
    if (!paio_submit_inline(cb, code, false, &progress, &error))
        error = accept_rest(listing, cb, code, progress);
    if (error) {
        listing->short_of_resources = true;
        reject(cb, error);
    }
}

static void submit_list(struct listing *listing, struct aiocb *const list[], int count)
{
    for (int i = 0; i < count; i++) {
        unsigned collected = listing->batch.pool.count;

        if (!list[i] || list[i]->aio_lio_opcode == LIO_NOP)
            continue;
        submit_entry(listing, list[i]);
        /* There may be many more that are not the pool's. */
        if (listing->batch.pool.count <= collected)
            paio_dispatch_flush_pool(&listing->batch);
    }
    paio_dispatch_flush(&listing->batch);
}

/* 0 when all are done, -EIO if any failed, or why the wait ended. */
static int wait_all(struct aiocb *const list[], int count)
{
    bool failed = false;

    for (int i = 0; i < count; i++) {
        const struct aiocb *each = list[i];
        int error = 0;

        if (!each || each->aio_lio_opcode == LIO_NOP)
            continue;
        /* One that is done has perhaps not had its signal yet. */
        if (paio_in_progress(each) || each->aio_sigevent.sigev_notify != SIGEV_NONE)
            error = paio_wait_any(&each, 1, NULL);
        if (error)
            return error;
        failed = failed || paio_status_error(atomic_load(paio_status(each))) != 0;
    }
    return failed ? -EIO : 0;
}

/* The group of a list that is to be notified of, with one to leave: the call itself. */
static struct paio_request *make_group(const struct sigevent *event)
{
    struct paio_request *group = paio_finish_carrier(event);

    if (group)
        atomic_store(&group->left, 1);
    return group;
}

static int list_io(struct listing *listing, struct aiocb *const list[], int count,
                   const struct sigevent *event)
{
    listing->group = NULL;
    listing->entered = listing->short_of_resources = false;
    paio_batch_init(&listing->batch);
    paio_process_start();
    /* Whatever this thread was expected to wait for, it does something else. */
    paio_habit_broken();
    if (event && event->sigev_notify != SIGEV_NONE) {
        enter(listing);
        listing->group = make_group(event);
        if (!listing->group) {
            leave(listing);
            return -EAGAIN;
        }
    }
    submit_list(listing, list, count);
    if (listing->group)
        paio_finish_for_group(listing->group);
    if (listing->awaited && listing->entered)
        paio_perform((const struct aiocb *const *) list, count);
    leave(listing);
    return listing->short_of_resources ? -EAGAIN : 0;
}

PAIO_EXPORT int lio_listio(int mode, struct aiocb *const list[], int count, struct sigevent *event)
{
    struct listing listing;
    int saved = errno, error;

    error = (mode != LIO_WAIT && mode != LIO_NOWAIT) || count < 0 ? -EINVAL : 0;
    /* A single entry is waited for as soon as it is submitted: here that is known, and no guess (habit.h). */
    listing.awaited = mode == LIO_WAIT && count == 1;
    if (!error)
        error = list_io(&listing, list, count, mode == LIO_NOWAIT ? event : NULL);
    if (listing.awaited && !error)
        /* With the request done there is no wait that would be the cancellation point. */
        pthread_testcancel();
    if (!error && mode == LIO_WAIT)
        error = wait_all(list, count);
    errno = error ? -error : saved;
    return error ? -1 : 0;
}

PAIO_ALIAS(lio_listio) int lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *event);
