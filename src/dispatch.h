/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dispatch: the way down, from a call to a request, and to an engine.
 */
#ifndef PAIO_DISPATCH_H
#define PAIO_DISPATCH_H

#include "call.h"
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

#endif
