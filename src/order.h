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

/*
 * Puts a fresh request on its file's lists, behind everything that came before. True: it may
 * start now. False: paio_order_leave of another will hand it out. Signals blocked, no lock held.
 */
bool paio_order_enter(struct paio_request *request, struct paio_file *file, enum paio_lane lane);

/*
 * Takes a finished request off its file and appends to start those that may start now because
 * of it, linked by operation.link. Gives up the reference to the file. Signals blocked.
 */
void paio_order_leave(struct paio_request *request, struct paio_link *start);

/*
 * Takes back what can still be taken back: the request of cb, or with cb NULL all of file that
 * were submitted on fd. What was taken back is appended to canceled, linked by operation.link,
 * and is the caller's to complete. *left is how many go on. False: some were just on their way
 * between two threads; ask again in a moment. Signals blocked.
 */
bool paio_order_cancel(struct paio_file *file, const struct aiocb *cb, int fd,
                       struct paio_link *canceled, unsigned *left);

/*
 * Begins the request of cb, which its engine has left to its waiter, on behalf of the calling thread,
 * which must then perform the operation. NULL: it is not to be had. Signals blocked.
 */
struct paio_operation *paio_order_claim(const struct aiocb *cb);

#endif
