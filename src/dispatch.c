/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way down. A call first tries to be served in the caller (inline.c), without a lock; what that
 * cannot do is looked at (choose.c) and becomes a request: given its engine, put in order, and started
 * unless something older must be done before.
 */
#include "dispatch.h"

#include <fcntl.h>

#include "backlog.h"
#include "choose.h"
#include "completion.h"
#include "engine_kernel.h"
#include "engine_pool.h"
#include "engine_stream.h"
#include "finish.h"
#include "inbox.h"
#include "order.h"
#include "process.h"
#include "stats.h"

static void fill(struct paio_request *request, const struct paio_call *call)
{
    struct paio_operation *operation = &request->operation;
    const struct paio_look *look = &call->look;
    const struct aiocb *cb = call->cb;

    operation->fd = cb->aio_fildes;
    operation->code = (uint8_t) call->code;
    operation->class = (uint8_t) paio_choose_class(call->code, look->flags);
    operation->identity = look->identity;
    operation->buffer = (void *) cb->aio_buf;
    operation->length = cb->aio_nbytes < PAIO_TRANSFER_MAX ? cb->aio_nbytes : PAIO_TRANSFER_MAX;
    operation->offset = cb->aio_offset;
    operation->done = call->progress.done;
    operation->under_way = call->engine == &paio_engine_pool && call->progress.under_way;
    operation->stream = look->kind == PAIO_KIND_SOCKET || look->kind == PAIO_KIND_STREAM;
    operation->may_block = !(look->flags & O_DIRECT);
    atomic_store_explicit(&operation->awaited, call->awaited, memory_order_relaxed);
    atomic_store_explicit(&operation->exposed, false, memory_order_relaxed);
    operation->waiter = pthread_self();
    operation->by_waiter = false;
    operation->told = call->group || call->cb->aio_sigevent.sigev_notify != SIGEV_NONE;
    operation->prompt = operation->told;
    request->group = call->group;
    request->notice.event = cb->aio_sigevent;
    request->accepted = paio_stats_accepted();
    request->appends = call->code == PAIO_WRITE && look->flags & O_APPEND;
    atomic_store_explicit(&request->file_write,
                          call->code == PAIO_WRITE && look->kind == PAIO_KIND_REGULAR,
                          memory_order_relaxed);
}

/* Are the threads and tables there that the request will need? */
static bool able(const struct paio_request *request)
{
    const struct paio_operation *operation = &request->operation;

    if (!paio_completion_start() || !paio_notify_able(&request->notice.event))
        return false;
    if (request->chosen == &paio_engine_stream)
        return paio_stream_able(operation->fd);
    if (request->chosen == &paio_engine_pool)
        return paio_pool_able(operation->class);
    return true;
}

/* The engine has not taken it. */
static void refused(struct paio_request *request)
{
    if (request->operation.error == -EOPNOTSUPP)
        paio_descriptor_learn(request->descriptor, PAIO_NO_NOWAIT);
    paio_dispatch_to_pool(request, request->operation.class);
}

/* Gives operations to an engine, and to the pool those that it refuses. */
static void give(const struct paio_engine *engine, struct paio_operation **operations,
                 unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        atomic_store(&operations[i]->engine, engine);
    count = engine->submit(operations, count);
    for (unsigned i = 0; i < count; i++)
        refused(paio_request_of(operations[i]));
}

static void prepare_for_pool(struct paio_request *request, enum paio_class class)
{
    struct paio_operation *operation = &request->operation;
    struct paio_file *file = atomic_load_explicit(&request->file, memory_order_relaxed);

    operation->class = (uint8_t) class;
    operation->flow = &file->flow[class];
    operation->complete = paio_finish_now;
    atomic_store(&operation->engine, &paio_engine_pool);
}

void paio_dispatch_to_pool(struct paio_request *request, enum paio_class class)
{
    struct paio_operation *operation = &request->operation;

    prepare_for_pool(request, class);
    paio_engine_pool.submit(&operation, 1);
    paio_completion_wake();
}

void paio_dispatch_carry_on(struct paio_request *request)
{
    enum paio_class class = request->operation.class;

    request->carry_on = false;
    paio_stats_count(PAIO_STAT_CARRIED_ON);
    paio_dispatch_to_pool(request, class);
}

/* The completion thread is woken when the engine has them: what it does not see it does not mind. */
void paio_dispatch_flush_pool(struct paio_batch *batch)
{
    if (!batch->pool.count)
        return;
    paio_engine_pool.submit(batch->pool.operations, batch->pool.count);
    batch->pool.count = 0;
    paio_completion_wake();
}

/* Those for the pool first, which would wait for the kernel. */
void paio_dispatch_flush(struct paio_batch *batch)
{
    paio_dispatch_flush_pool(batch);
    if (!batch->kernel.count)
        return;
    give(&paio_engine_kernel, batch->kernel.operations, batch->kernel.count);
    batch->kernel.count = 0;
    paio_completion_wake();
}

static void start(struct paio_request *request, struct paio_batch *batch)
{
    struct paio_operation *operation = &request->operation;

    if (request->chosen == &paio_engine_pool) {
        prepare_for_pool(request, operation->class);
        batch->pool.operations[batch->pool.count++] = operation;
        if (batch->pool.count == PAIO_POOL_LOAD)
            paio_dispatch_flush_pool(batch);
    } else if (request->chosen == &paio_engine_stream) {
        operation->complete = paio_finish_now;
        give(&paio_engine_stream, &operation, 1);
    } else {
        operation->complete = paio_finish_later;
        batch->kernel.operations[batch->kernel.count++] = operation;
        if (batch->kernel.count == PAIO_KERNEL_LOAD)
            paio_dispatch_flush(batch);
    }
}

/*
 * They have waited: their descriptors may have come to mean other files. So the kernel engine has
 * them by way of its backlog, where that is seen.
 */
static void start_waited(struct paio_operation *operation)
{
    operation->complete = paio_finish_later;
    atomic_store(&operation->engine, &paio_engine_kernel);
    paio_backlog_put(&operation, 1);
    paio_backlog_refill();
    paio_completion_wake();
    /* What the refill gave back is on the settled stack, and those behind it in its lane wait. */
    if (paio_finish_urgent())
        paio_completion_prompt();
}

void paio_dispatch_start(struct paio_link *requests)
{
    struct paio_batch batch;
    struct paio_link *link;

    if (paio_list_empty(requests))
        return;
    paio_batch_init(&batch);
    while ((link = paio_list_pop(requests))) {
        struct paio_operation *operation = paio_container(link, struct paio_operation, link);
        struct paio_request *request = paio_request_of(operation);

        /* Whoever waits for it took it for another engine's: the completion thread reaps it. */
        operation->prompt = true;
        atomic_store_explicit(&operation->awaited, false, memory_order_relaxed);
        if (request->chosen == &paio_engine_kernel)
            start_waited(operation);
        else
            start(request, &batch);
    }
    paio_dispatch_flush(&batch);
}

/* Makes a request of the call, with everything but its file. */
static void compose(struct paio_request *request, const struct paio_call *call)
{
    fill(request, call);
    request->descriptor = call->descriptor;
    request->chosen = call->engine;
}

/*
 * From here on the request is in flight. Whoever sees that, and cancels it, must find its file: not
 * on its lists yet, the request is then waited for.
 */
static void commit(const struct paio_call *call, struct paio_request *request,
                   struct paio_file *file)
{
    atomic_store_explicit(&request->file, file, memory_order_relaxed);
    paio_stats_outstanding(1);
    atomic_fetch_add(&call->descriptor->requests, 1);
    if (request->appends)
        atomic_fetch_add(&paio_appends, 1);
    if (call->group)
        atomic_fetch_add(&call->group->left, 1);
    call->cb->__return_value = 0;
    atomic_store(paio_status(call->cb), EINPROGRESS);
}

/* Starts a fresh request whose turn it is. A stream may be ready already. */
static void start_fresh(struct paio_request *request, struct paio_batch *batch)
{
    ssize_t result;

    if (request->chosen == &paio_engine_stream) {
        paio_dispatch_flush_pool(batch);
        if (paio_stream_try(&request->operation, &result)) {
            atomic_store(&request->operation.engine, &paio_engine_stream);
            paio_finish_now(&request->operation, result);
            return;
        }
    }
    start(request, batch);
}

int paio_dispatch_accept(const struct paio_call *call, struct paio_batch *batch)
{
    struct paio_request *request;
    struct paio_file *file;

    if (call->objection == -EAGAIN)
        return -EAGAIN;
    if (call->objection)
        return paio_finish_in_caller(call->cb, call->code, call->objection, paio_stats_accepted(), NULL);
    request = paio_request_allocate(call->cb);
    if (!request)
        return -EAGAIN;
    compose(request, call);
    file = able(request) ? paio_file_get(call->descriptor, &call->look) : NULL;
    if (!file) {
        paio_request_free(request);
        return -EAGAIN;
    }
    commit(call, request, file);
    if (request->operation.stream)
        paio_stream_check(request->operation.fd);
    if (paio_order_enter(request, file, paio_choose_lane(call->code, &call->look)) == PAIO_TURN_NOW)
        start_fresh(request, batch);
    else if (call->code >= PAIO_FSYNC)
        /* Nobody may be at work on what it waits for. */
        paio_pool_expose();
    return 0;
}

/* Is it a transfer of a file that the kernel, or threads that are there, can be given without more ado? */
static bool is_plain(const struct paio_call *call)
{
    return !call->objection && call->code <= PAIO_WRITE && (!call->awaited || call->leavable) &&
           call->look.kind == PAIO_KIND_REGULAR && paio_notify_there(&call->cb->aio_sigevent) &&
           !paio_settings.descriptor_order &&
           (call->engine == &paio_engine_kernel || call->progress.under_way ||
            (call->code == PAIO_WRITE &&
             paio_choose_class(call->code, call->look.flags) == PAIO_CLASS_WRITE));
}

/* Not if a handler has forked since the call began, and this is the child: then all of it was the parent's. */
static bool is_same_process(const struct paio_call *call)
{
    return paio_process_started() == call->process;
}

/* A handler may come in here: whom it calls finds the request in the inbox, or no trace of it yet. */
static void pass_to_pool(const struct paio_call *call, struct paio_request *request,
                         const struct paio_flow *flow, enum paio_class class)
{
    struct paio_signals saved;

    paio_inbox_put(request);
    /* See inbox.c: if nobody is at work any more, nobody may come to look. */
    if (paio_pool_at_work(flow, class) || (class == PAIO_CLASS_WRITE && paio_pool_ring())) {
        paio_completion_wake();
        return;
    }
    paio_signals_block(&saved);
    if (is_same_process(call))
        paio_inbox_empty();
    paio_signals_restore(&saved);
}

/* The kernel would not have it, and the pool is to. */
static void refused_in_call(const struct paio_call *call, struct paio_request *request)
{
    struct paio_signals saved;

    paio_signals_block(&saved);
    if (is_same_process(call)) {
        atomic_store(&request->operation.arrived, false);
        paio_inbox_put(request);
        paio_inbox_empty();
        refused(request);
    }
    paio_signals_restore(&saved);
}

/*
 * Others wait for what is in order, and a handler may come in that waits for them, or that jumps: so the request is
 * put in order when the kernel has it, and its result may come first (paio_order_leave). By then the completion
 * thread is awake, to reap it if nobody else does; it is woken once more for one that lies in the inbox with its
 * result published. The request is in flight from its commitment on: before, all is written that others may
 * look at.
 */
static bool try_kernel(const struct paio_call *call, struct paio_request *request,
                       struct paio_file *file)
{
    struct paio_operation *operation = &request->operation;

    if (!paio_kernel_begin())
        return false;
    paio_completion_wake();
    compose(request, call);
    operation->complete = paio_finish_later;
    atomic_store(&operation->engine, &paio_engine_kernel);
    atomic_store(&operation->arrived, true);
    commit(call, request, file);
    if (!paio_kernel_push_one(operation)) {
        refused_in_call(call, request);
    } else if (is_same_process(call)) {
        paio_inbox_put(request);
        paio_completion_wake();
    }
    return true;
}

/*
 * Nobody is told: the caller empties the inbox when it waits. If it does not the completion thread does, which
 * exposes what has been left for a tick.
 */
static void leave(const struct paio_call *call, struct paio_request *request, struct paio_file *file)
{
    compose(request, call);
    commit(call, request, file);
    paio_inbox_put(request);
    paio_completion_wake();
}

/* Will a thread of the pool look into the inbox? */
static bool try_pool(const struct paio_call *call, struct paio_request *request,
                     struct paio_file *file)
{
    enum paio_class class = paio_choose_class(call->code, call->look.flags);
    struct paio_flow *flow = &file->flow[class];

    if (call->awaited) {
        leave(call, request, file);
        return true;
    }
    /* For writes also one that has nothing else to do. */
    if (!paio_pool_at_work(flow, class) && !(class == PAIO_CLASS_WRITE && paio_pool_attended()))
        return false;
    compose(request, call);
    commit(call, request, file);
    pass_to_pool(call, request, flow, class);
    return true;
}

bool paio_dispatch_quick(const struct paio_call *call)
{
    struct paio_file *file = is_plain(call) ? paio_file_try(call->descriptor, &call->look) : NULL;
    struct paio_request *request;
    struct paio_signals saved;
    bool accepted;

    if (!file)
        return false;
    request = paio_request_try(call->cb);
    /* Not before: the thread does not end while there is a request. */
    accepted = request && paio_completion_there() &&
               (call->engine == &paio_engine_kernel ? try_kernel(call, request, file)
                                                    : try_pool(call, request, file));
    if (!is_same_process(call))
        return false;
    if (accepted)
        return true;
    if (request)
        paio_request_free(request);
    paio_signals_block(&saved);
    paio_file_put(file);
    paio_signals_restore(&saved);
    return false;
}

void paio_dispatch_enter(struct paio_request *request, struct paio_batch *batch)
{
    struct paio_file *file = atomic_load_explicit(&request->file, memory_order_relaxed);
    /* In order, it may be finished and gone by the time that this is known, if the kernel has it. */
    bool for_pool = request->chosen == &paio_engine_pool;

    switch (paio_order_enter(request, file, PAIO_NO_LANE)) {
    case PAIO_TURN_NOW:
        if (for_pool)
            start(request, batch);
        break;
    case PAIO_TURN_LATER:
        break;
    case PAIO_TURN_BACK:
        paio_dispatch_carry_on(request);
        break;
    case PAIO_TURN_OVER:
        paio_request_drop(request);
    }
}
