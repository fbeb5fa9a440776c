/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Submission: what aio_read, aio_write, aio_fsync and each entry of lio_listio have in common.
 */
#ifndef PAIO_SUBMIT_H
#define PAIO_SUBMIT_H

#include "choose.h"
#include "dispatch.h"
#include "finish.h"
#include "inline.h"
#include "probes.h"
#include "process.h"
#include "stats.h"

/* Does it stand for a request that is not done? */
static inline bool paio_in_flight(const struct aiocb *cb)
{
    return paio_in_progress(cb) && paio_request_find(cb);
}

/*
 * Objections that the call itself reports: -EINVAL for a priority out of range, or for a control
 * block that is in flight.
 */
static inline int paio_submit_check(const struct aiocb *cb, enum paio_code code)
{
    enum { PRIORITY_MAX = 20 }; /* AIO_PRIO_DELTA_MAX of glibc */

    if (code <= PAIO_WRITE && (cb->aio_reqprio < 0 || cb->aio_reqprio > PRIORITY_MAX))
        return -EINVAL;
    return paio_in_flight(cb) ? -EINVAL : 0;
}

/* As paio_submit_inline, for a write that is told of by a call. began: of the statistics. */
bool paio_submit_told_write(struct aiocb *cb, bool single, struct paio_progress *progress, uint64_t began, int *error);

/*
 * Serves the call in the caller: true, and *error is 0 or -EAGAIN (it cannot be notified).
 * False: it has to be accepted, and *progress, which was nothing, says how far it has come.
 * single: it is not one of a list.
 */
static inline bool paio_submit_inline(struct aiocb *cb, enum paio_code code, bool single,
                                      struct paio_progress *progress, int *error)
{
    uint64_t began = paio_stats_accepted();
    ssize_t n;

    PAIO_PROBE_SUBMIT(cb, code);
    if (code == PAIO_WRITE && cb->aio_sigevent.sigev_notify == SIGEV_THREAD)
        return paio_submit_told_write(cb, single, progress, began, error);
    n = paio_inline(cb, code, single, progress);
    if (n < 0)
        return false;
    *error = paio_finish_in_caller(cb, code, n, began, NULL);
    return true;
}

#endif
