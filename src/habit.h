/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Habit: does this thread wait as soon as it has submitted?
 *
 * For such a thread to have another one carry a request out means two wakeups and nothing done at the
 * same time. So once the habit is seen, its requests are submitted as `awaited` (engine.h), and it
 * carries them out itself in aio_suspend: any request, if it waits for each alone; however many it submits together,
 * buffered writes, of which only one of a file is done at a time anyway, and reads of one file that the device is at
 * work on, of which the oldest is most likely done first. Buffered writes it may also carry
 * out in the calls that submit them (inline.h): what holds it up there would hold up its wait as well. So may a
 * SIGEV_THREAD function that returns as soon as it has submitted.
 *
 * All of it is the calling thread's own; async-signal-safe. A handler that comes in between can make
 * the guess wrong, which costs time only: what is awaited in vain is taken by a thread of the pool at
 * the second tick.
 */
#ifndef PAIO_HABIT_H
#define PAIO_HABIT_H

#include "control.h"

struct paio_call;
struct paio_performed;

/* What is expected of a thread that submits: that it waits at once for this request alone; or for any of its own. */
enum { PAIO_WAITS_FOR_IT = 1, PAIO_WAITS_FOR_ANY = 2, PAIO_WAITS = PAIO_WAITS_FOR_IT | PAIO_WAITS_FOR_ANY };

/* A request is about to be submitted. What is expected of the thread, as it uses to do. */
unsigned paio_habit_expects(const struct paio_call *call);

/* It has been, awaited or not. It may be done, and the control block gone. */
void paio_habit_submitted(const struct paio_call *call);

/*
 * The thread waits for any of list, for as long as it takes. True: requests were submitted as awaited,
 * and are to be carried out now.
 */
bool paio_habit_waits(const struct aiocb *const list[], int count);

/* The function has returned that the thread has called for a request: what it has submitted may be done, and be gone. */
void paio_habit_returned(void);

/* Does the thread wait at once, for one request or for any of several? */
bool paio_habit_there(void);

/* May a buffered write be carried out in the call that submits it? now: by paio_now. */
bool paio_habit_grants(uint64_t now);

/* That is done. */
void paio_habit_performed(const struct paio_performed *performed);

/* The thread does something else: what is awaited is left to the pool. */
void paio_habit_broken(void);

#endif
