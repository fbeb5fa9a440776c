/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call on its way down, before it is a request.
 */
#ifndef PAIO_CALL_H
#define PAIO_CALL_H

#include "file.h"

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
    int objection;                /* what aio_error is to report without any I/O, -errno, or 0; -EAGAIN: memory is
                                     short, and the call is refused */
    unsigned expected;            /* how the caller is going to wait for it at once: see habit.h, lio.c */
    bool leavable;                /* a buffered write, or a read that the device is at, which may be left to a
                                     waiter among others */
    bool awaited;                 /* it is left to the caller's wait */
};

#endif
