/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Choosing the way of a call that could not be served in the caller.
 */
#ifndef PAIO_CHOOSE_H
#define PAIO_CHOOSE_H

#include "call.h"
#include "order.h"

/*
 * Looks at the descriptor of the call, which has gone past paio_inline, and
 * for objections to it; if there are none it chooses the engine, and whether the call is left to the caller's wait.
 */
void paio_choose_look(struct paio_call *call);

/* The engine that a call with a descriptor and a look at it, and without objections, starts on. */
const struct paio_engine *paio_choose_engine(const struct paio_call *call);

/* Class of the pool that does the operation if the pool does it. flags: as F_GETFL. */
enum paio_class paio_choose_class(enum paio_code code, int flags);

/* The lane of its file in which the operation waits for others. */
enum paio_lane paio_choose_lane(enum paio_code code, const struct paio_look *look);

#endif
