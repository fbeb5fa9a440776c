/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Habit: does this thread wait for each request as soon as it has submitted it?
 *
 * For such a thread to have another one carry the request out means two wakeups and nothing done at the
 * same time. So once the habit is seen, its requests are submitted as `awaited` (engine.h), and it
 * carries them out itself in aio_suspend.
 *
 * All of it is the calling thread's own; async-signal-safe. A handler that comes in between can make
 * the guess wrong, which costs time only: what is awaited in vain is taken by a thread of the pool at
 * the next tick.
 */
#ifndef PAIO_HABIT_H
#define PAIO_HABIT_H

#include "control.h"

/* A request is about to be submitted. True: the thread will wait for it at once, as it uses to. */
bool paio_habit_expects_wait(void);

/* It has been: as cb, awaited or not. */
void paio_habit_submitted(const struct aiocb *cb, bool awaited);

/*
 * The thread waits for cb and nothing else, for as long as it takes. True: cb was submitted as awaited,
 * and is to be carried out now.
 */
bool paio_habit_waits(const struct aiocb *cb);

/* The thread does something else: what is awaited is left to the pool. */
void paio_habit_broken(void);

#endif
