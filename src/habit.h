/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Habit: does this thread wait as soon as it has submitted?
 *
 * For such a thread to have another one carry a request out means two wakeups and nothing done at the
 * same time. So once the habit is seen, its requests are submitted as `awaited` (engine.h), and it
 * carries them out itself in aio_suspend: any request, if it waits for each alone; buffered writes, of which
 * only one of a file is done at a time anyway, however many it submits together. Buffered writes it may also carry
 * out in the calls that submit them (inline.h): what holds it up there would hold up its wait as well.
 *
 * All of it is the calling thread's own; async-signal-safe. A handler that comes in between can make
 * the guess wrong, which costs time only: what is awaited in vain is taken by a thread of the pool at
 * the next tick.
 */
#ifndef PAIO_HABIT_H
#define PAIO_HABIT_H

#include "control.h"

/* What is expected of a thread that submits: that it waits at once for this request alone; or for any of its own. */
enum { PAIO_WAITS_FOR_IT = 1, PAIO_WAITS_FOR_ANY = 2, PAIO_WAITS = PAIO_WAITS_FOR_IT | PAIO_WAITS_FOR_ANY };

/* A request is about to be submitted. What is expected of the thread, as it uses to do. */
unsigned paio_habit_expects(void);

/* It has been: as cb, awaited or not. leavable: a buffered write that can be awaited among others. */
void paio_habit_submitted(const struct aiocb *cb, bool awaited, bool leavable);

/*
 * The thread waits for any of list, for as long as it takes. True: requests were submitted as awaited,
 * and are to be carried out now.
 */
bool paio_habit_waits(const struct aiocb *const list[], int count);

/* May a buffered write be carried out in the call that submits it? now: by paio_now. */
bool paio_habit_grants(uint64_t now);

/*
 * That is done. writes: they were buffered writes, all that the thread has waited for, which lets the next ones be
 * granted. part: some are left to the next wait.
 */
void paio_habit_performed(bool writes, bool part);

/* The thread does something else: what is awaited is left to the pool. */
void paio_habit_broken(void);

#endif
