/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cancellation: a request that nobody has begun with is taken back, under its file's lock (order.c), and completed like
 * any other.
 */
#include "cancel.h"

#include "engine_kernel.h"
#include "finish.h"
#include "order.h"

/* Completes what was taken back. True: there was something. */
static bool complete_canceled(struct paio_link *canceled)
{
    bool any = !paio_list_empty(canceled);
    struct paio_link *link;

    while ((link = paio_list_pop(canceled)))
        paio_finish_now(paio_container(link, struct paio_operation, link), -ECANCELED);
    return any;
}

int paio_cancel(int fd, const struct aiocb *cb)
{
    const struct timespec pause = { .tv_nsec = 20000 };
    struct paio_descriptor *descriptor = paio_descriptor_find(fd);
    struct paio_request *request = cb ? paio_request_find(cb) : NULL;
    bool any = false, complete;
    struct paio_file *file = NULL;
    struct paio_link canceled;
    struct paio_look look;
    unsigned left = 0;
    struct paio_signals saved;

    paio_signals_block(&saved);
    paio_kernel_reap();
    paio_finish_settle();
    paio_list_init(&canceled);
    if (request)
        file = atomic_load_explicit(&request->file, memory_order_relaxed);
    else if (!cb && descriptor && paio_descriptor_look(fd, &look) == 0)
        file = paio_file_busy(descriptor, &look);
    while (file) {
        complete = paio_order_cancel(file, cb, fd, &canceled, &left);
        any = complete_canceled(&canceled) || any;
        if (complete)
            break;
        nanosleep(&pause, NULL);
        paio_finish_settle();
    }
    if (file && !cb)
        paio_file_put(file);
    paio_signals_restore(&saved);
    return left ? AIO_NOTCANCELED : any ? AIO_CANCELED : AIO_ALLDONE;
}
