/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Choosing: what a call's descriptor is, what can be objected to the call, and which way it goes that
 * could not be served in the caller. Nothing is waited for here, and nothing changed but what is remembered of the descriptor.
 */
#include "choose.h"

#include <fcntl.h>
#include <limits.h>

#include "engine_pool.h"
#include "habit.h"
#include "inline.h"
#include "limit.h"
#include "process.h"

static bool synchronous(int flags)
{
    return (flags & (O_SYNC | O_DSYNC)) != 0;
}

enum paio_class paio_choose_class(enum paio_code code, int flags)
{
    if (code == PAIO_READ)
        return PAIO_CLASS_READ;
    if (code >= PAIO_FSYNC || flags & O_DIRECT || synchronous(flags))
        return PAIO_CLASS_SYNC;
    return PAIO_CLASS_WRITE;
}

/*
 * Does io_submit take that operation on a buffered file without waiting? On a kernel with
 * fs.aio-buffered; a synchronous write may still wait there for what precedes its sync, and goes to
 * the pool, which is as soon, unless forced.
 */
static bool without_waiting(enum paio_code code, int flags)
{
    return paio_settings.buffered &&
           (code == PAIO_READ || (synchronous(flags) && paio_settings.kernel_forced));
}

/*
 * The way that a request goes which could not be served in the caller: this is the table of
 * doc/design.md. Here and nowhere else an engine is chosen.
 */
const struct paio_engine *paio_choose_engine(const struct paio_call *call)
{
    const struct paio_engine *kernel = &paio_engine_kernel, *pool = &paio_engine_pool;
    uint32_t memory = atomic_load_explicit(&call->descriptor->memory, memory_order_relaxed);
    const struct paio_look *look = &call->look;
    const struct aiocb *cb = call->cb;

    if (call->code >= PAIO_FSYNC)
        return pool;
    if (look->kind == PAIO_KIND_SOCKET || look->kind == PAIO_KIND_STREAM)
        /* Opened O_NONBLOCK it answers at once, if need be with EAGAIN; so do no bytes. */
        return look->flags & O_NONBLOCK || !cb->aio_nbytes ? pool : &paio_engine_stream;
    if (look->kind != PAIO_KIND_REGULAR || !paio_settings.kernel || call->awaited ||
        memory & (PAIO_NO_NOWAIT | PAIO_MEMORY))
        return pool;
    if (!(look->flags & O_DIRECT) && !without_waiting(call->code, look->flags))
        return pool;
    /* A long read whose beginning is cached: see read_beginning. */
    if (!(look->flags & O_DIRECT) && call->progress.done >= PAIO_INLINE_MAX)
        return pool;
    if (call->code == PAIO_WRITE && (look->flags & O_APPEND || !paio_within_limit(cb, paio_limit_lately(paio_now()))))
        return pool;
    return kernel;
}

enum paio_lane paio_choose_lane(enum paio_code code, const struct paio_look *look)
{
    if (paio_settings.descriptor_order)
        return PAIO_LANE_READ;
    if (code >= PAIO_FSYNC)
        return PAIO_NO_LANE;
    if (look->kind == PAIO_KIND_SOCKET || look->kind == PAIO_KIND_STREAM)
        return code == PAIO_READ ? PAIO_LANE_READ : PAIO_LANE_WRITE;
    /* Other appends are in the pool's class of writes, where one thread does a file's in turn. */
    if (code == PAIO_WRITE && look->flags & O_APPEND &&
        paio_choose_class(code, look->flags) == PAIO_CLASS_SYNC)
        return PAIO_LANE_WRITE;
    return PAIO_NO_LANE;
}

static int objection_to(const struct aiocb *cb, enum paio_code code, const struct paio_look *look)
{
    int mode = look->flags & O_ACCMODE;

    if (code >= PAIO_FSYNC)
        return 0;
    if (look->flags & O_PATH || mode == (code == PAIO_READ ? O_WRONLY : O_RDONLY))
        return -EBADF;
    if (cb->aio_nbytes > SSIZE_MAX)
        return -EFAULT;
    if (cb->aio_offset < 0 &&
        (look->kind == PAIO_KIND_REGULAR || look->kind == PAIO_KIND_SOCKET))
        return -EINVAL;
    return 0;
}

/* Bytes that a device of this machine transfers before anybody notices that a signal has to wait. */
enum { BY_CALLER_MAX = 256 * 1024 };

/*
 * May the caller carry it out itself? That ends soon where the device is in this machine; where it is
 * beyond a network, or a program's, nothing is to keep a wait from returning for a signal.
 */
static bool by_caller(const struct paio_call *call)
{
    return !call->objection && call->code <= PAIO_WRITE && !paio_settings.descriptor_order &&
           call->look.kind == PAIO_KIND_REGULAR && call->cb->aio_nbytes <= BY_CALLER_MAX &&
           atomic_load_explicit(&call->descriptor->memory, memory_order_relaxed) & PAIO_LOCAL;
}

/*
 * May it be left to a waiter among others? A buffered write. And a read that the device has begun with, if they
 * follow each other so fast that it has soon done what is waited for; on a kernel that reads by itself none is left.
 */
static bool leavable(const struct paio_call *call)
{
    enum paio_class class = paio_choose_class(call->code, call->look.flags);

    if (call->objection || class > PAIO_CLASS_WRITE)
        return false;
    if (class == PAIO_CLASS_READ &&
        (paio_settings.buffered || !call->progress.under_way || paio_pool_at_leisure(class)))
        return false;
    return by_caller(call);
}

void paio_choose_look(struct paio_call *call)
{
    int fd = call->cb->aio_fildes;

    call->descriptor = paio_descriptor_get(fd);
    if (call->descriptor) {
        call->objection = paio_descriptor_look_again(call->descriptor, fd, call->code == PAIO_WRITE, &call->look);
    } else {
        call->objection = paio_descriptor_look(fd, &call->look);
        /* It is open, but there is no memory to know it by. */
        if (!call->objection)
            call->objection = -EAGAIN;
    }
    if (!call->objection)
        call->objection = objection_to(call->cb, call->code, &call->look);
    call->leavable = leavable(call);
    call->awaited = (call->leavable && call->expected & PAIO_WAITS_FOR_ANY) ||
                    (call->expected & PAIO_WAITS_FOR_IT && by_caller(call));
    if (!call->objection)
        call->engine = paio_choose_engine(call);
}
