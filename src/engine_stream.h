/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stream engine: what it offers beside the contract of engine.h.
 */
#ifndef PAIO_ENGINE_STREAM_H
#define PAIO_ENGINE_STREAM_H

#include "engine.h"

/*
 * Prepares the engine for requests on fd, before one is accepted: false when there is no memory
 * or no epoll set. Signals blocked.
 */
bool paio_stream_able(int fd);

/*
 * Tries to carry operation out at once, before it is submitted: true, with its result. It must
 * be the only one in its direction. Signals blocked.
 */
bool paio_stream_try(struct paio_operation *operation, ssize_t *result);

/*
 * The caller is about to sleep until a request on fd is done. If there is something to be read, carries out the read whose
 * turn it is, unless somebody is to be told of that, and saves two wakeups: true. False: nothing has happened.
 * Async-signal-safe.
 */
bool paio_stream_serve(int fd);

/* epoll has reported events on fd: transfers what can be. The completion thread's. */
void paio_stream_ready(int fd, uint32_t events);

/*
 * Ends what is active on fd if fd stands for another file by now, or for none: it was closed
 * where close.c cannot see it, and will not report readiness any more. Signals blocked.
 */
void paio_stream_check(int fd);

/* The same for all descriptors. */
void paio_stream_check_all(void);

/*
 * fd is about to be closed: a write that has moved some of its bytes ends here, with their
 * number. Signals blocked.
 */
void paio_stream_close(int fd);

#endif
