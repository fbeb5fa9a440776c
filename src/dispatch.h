/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dispatch: from an accepted call down to an engine (dispatch.c), and from an engine's result
 * up to the caller (finish.c); what waiters carry out themselves (perform.c).
 */
#ifndef PAIO_DISPATCH_H
#define PAIO_DISPATCH_H

#include "file.h"
#include "request.h"

/*
 * Operations that a call gives to an engine together. Few to the kernel: the device is at work on them
 * while the next are prepared. Those for the pool are kept until an entry is not the pool's: nobody is at work on
 * them, and aio_cancel and close wait for what is here.
 */
enum { PAIO_KERNEL_LOAD = 8, PAIO_POOL_LOAD = 64 };

struct paio_batch {
    struct {
        struct paio_operation *operations[PAIO_KERNEL_LOAD];
        unsigned count;
    } kernel;
    struct {
        struct paio_operation *operations[PAIO_POOL_LOAD];
        unsigned count;
    } pool;
};

/* Not by an initializer, which would clear all of it. */
static inline void paio_batch_init(struct paio_batch *batch)
{
    batch->kernel.count = batch->pool.count = 0;
}

/* How far a call has come before it is accepted. */
struct paio_progress {
    size_t done;     /* bytes transferred */
    bool under_way;  /* a read: the page cache was asked for all of it, did not have it, and the device has begun */
};

/*
 * What a call asks for, as aio_read, aio_write, aio_fsync and lio_listio have it, and, from
 * paio_choose_look on, what its descriptor is.
 */
struct paio_call {
    struct aiocb *cb;
    enum paio_code code;
    uint32_t process;             /* paio_process_started, as the call began */
    struct paio_progress progress;
    struct paio_request *group;   /* list I/O group that is to be told, or NULL */
    struct paio_descriptor *descriptor;
    struct paio_look look;
    const struct paio_engine *engine; /* it starts on, if there is no objection */
    int objection;                /* what aio_error is to report without any I/O, -errno, or 0 */
    unsigned expected;            /* how the caller is going to wait for it at once: see habit.h, lio.c */
    bool leavable;                /* a buffered write, or a read that the device is at, which may be left to a
                                     waiter among others */
    bool awaited;                 /* it is left to the caller's wait */
};

/*
 * Accepts the request: 0, and its result will be published, or -EAGAIN (no memory, no thread to
 * be had). Operations for the kernel and the pool are added to batch. Signals blocked.
 */
int paio_dispatch_accept(const struct paio_call *call, struct paio_batch *batch);

/*
 * Accepts a transfer of a file that has requests in flight, without a lock and with signals open: one that
 * the kernel engine has room for; or a buffered write, or a read that the device has begun with, if there is a
 * thread of the pool that will find it: one that is at work on the file just now, or for writes an idle one;
 * or either of them that is left to a waiter. False: nothing has happened.
 */
bool paio_dispatch_quick(const struct paio_call *call);

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
struct paio_performed paio_dispatch_perform(const struct aiocb *const list[], int count);

/* Leaves to the pool what was left to waiters. Signals blocked. Async-signal-safe. */
void paio_dispatch_expose(void);

/* Submits what is in batch. Signals blocked. */
void paio_dispatch_flush(struct paio_batch *batch);

/* The same for what is the pool's alone. */
void paio_dispatch_flush_pool(struct paio_batch *batch);

/* Starts requests that had to wait, linked by operation.link. Signals blocked. Async-signal-safe. */
void paio_dispatch_start(struct paio_link *requests);

/*
 * Puts a request from the inbox in order; one for the pool that may start is added to batch, the kernel
 * is given its own by the call that submits. Signals blocked. Async-signal-safe.
 */
void paio_dispatch_enter(struct paio_request *request, struct paio_batch *batch);

/* Lets the pool go on with a request that the kernel has handed back. Signals blocked. Async-signal-safe. */
void paio_dispatch_carry_on(struct paio_request *request);

/* Hands a request that another engine gave back to the pool. Signals blocked. Async-signal-safe. */
void paio_dispatch_to_pool(struct paio_request *request, enum paio_class class);

/* Callbacks of the engines: the kernel's takes no lock, the rest is for paio_dispatch_settle. */
void paio_finish_later(struct paio_operation *operation, ssize_t result);
void paio_finish_now(struct paio_operation *operation, ssize_t result);

/*
 * Publishes the result of a request that was never in flight, began at that time of the
 * statistics, and notifies. -EAGAIN if it cannot be notified; then it is not published.
 */
int paio_finish_in_caller(struct aiocb *cb, enum paio_code code, ssize_t result, uint64_t began);

/*
 * A request that carries nothing but a notification of event, or NULL if that cannot be: no memory, no thread to be had.
 * Signals blocked; not async-signal-safe.
 */
struct paio_request *paio_finish_carrier(const struct sigevent *event);

/* Forgets what is settled. For start-up and a forked child, while there is one thread. */
void paio_finish_reset(void);

/*
 * Puts in order what paio_dispatch_quick has accepted, does the rest for results that
 * paio_finish_later has published, and refills the kernel engine. Signals blocked. Async-signal-safe.
 */
void paio_dispatch_settle(void);

/* For the threads of the pool: see paio_pool_reset. */
void paio_dispatch_attend(bool leaving);

/* Is there anything to settle? Does somebody wait for it who will not hear of it otherwise? */
bool paio_dispatch_unsettled(void);
bool paio_dispatch_urgent(void);

/*
 * Reaps completions of the kernel engine and settles. Returns how many there were.
 * Async-signal-safe.
 */
unsigned paio_dispatch_reap(void);

/* A group has one request less to wait for: notifies when that was the last. Signals blocked. */
void paio_group_leave(struct paio_request *group);

/* As aio_cancel, for an open fd: AIO_CANCELED, AIO_NOTCANCELED, AIO_ALLDONE. */
int paio_dispatch_cancel(int fd, const struct aiocb *cb);

#endif
