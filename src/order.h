/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Order: which requests wait for which. Appends to one file, and each direction of a stream,
 * run one at a time in lanes; aio_fsync is a barrier behind what was in flight when it came.
 * Everything else runs at once.
 */
#ifndef PAIO_ORDER_H
#define PAIO_ORDER_H

#include "file.h"
#include "request.h"

/* Lane of a request, or none. */
enum paio_lane { PAIO_NO_LANE = -1, PAIO_LANE_READ, PAIO_LANE_WRITE };

/* What becomes of a request that is put in order. */
enum paio_turn {
    PAIO_TURN_NOW,   /* it may start */
    PAIO_TURN_LATER, /* paio_order_leave of another will hand it out */
    PAIO_TURN_BACK,  /* the kernel had it before, and has handed it back: the pool is to go on with it */
    PAIO_TURN_OVER,  /* its result came before its order: there is no more to do for it */
};

/*
 * Puts a fresh request on its file's lists, behind everything that came before. With its turn over it
 * is on none, the reference to the file is given up, and the request is to be dropped. Signals blocked,
 * no lock held.
 */
enum paio_turn paio_order_enter(struct paio_request *request, struct paio_file *file,
                                enum paio_lane lane);

/*
 * Takes a finished request off its file, gives up the reference to it, and appends to start those that
 * may start now because of it, linked by operation.link. One that has not been put in order yet is left
 * to paio_order_enter. Signals blocked.
 */
void paio_order_leave(struct paio_request *request, struct paio_link *start);

/*
 * Is a request that the kernel has handed back in order, so that whoever closes its descriptor finds it? If not,
 * it is left to paio_order_enter. Signals blocked.
 */
bool paio_order_there(struct paio_request *request);

/*
 * Takes back what can still be taken back: the request of cb, or with cb NULL all of file that
 * were submitted on fd. What was taken back is appended to canceled, linked by operation.link,
 * and is the caller's to complete. *left is how many go on. False: some were just on their way
 * between two threads; ask again in a moment. Signals blocked.
 */
bool paio_order_cancel(struct paio_file *file, const struct aiocb *cb, int fd,
                       struct paio_link *canceled, unsigned *left);

/*
 * Begins the request of cb, which its engine has left to its waiter, or the one that is to be done before it, on
 * behalf of the calling thread, which must then perform the operation. NULL: it is not to be had. Signals blocked.
 */
struct paio_operation *paio_order_claim(const struct aiocb *cb);

#endif
