/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guess is kept by accounts, so that it cannot lose more time than it has saved. A wait within SOON of
 * the submission earns SAVED, which is what it takes to wake a thread and be woken by it. A request that
 * was left to this thread in vain, or for longer, costs the time for which nobody was at work on it: a
 * tick at most. The thread has the habit while its credit is not below ENOUGH. A request that was not
 * left to it and not waited for at once ends the habit, and costs nothing.
 *
 * All times are in nanoseconds.
 */
#include "habit.h"

#include "engine_pool.h"
#include "process.h"

enum { SOON = 10000, SAVED = 10000, ENOUGH = 8 * SAVED, MOST = 1000000, TICK = 4000000 };

static __thread struct {
    const struct aiocb *submitted; /* and not waited for yet, or NULL */
    uint64_t when;                 /* it was; 0: it is not the thread's only one */
    int32_t credit;
    bool alone;                    /* nothing was left to be waited for before it */
    bool awaited;                  /* `submitted` is left to this thread */
} habit __attribute__((tls_model("initial-exec")));

static void lose(uint64_t time)
{
    habit.credit -= (int32_t) (time < TICK ? time : TICK);
    if (habit.credit < -TICK)
        habit.credit = -TICK;
}

static void end_habit(void)
{
    if (habit.credit > 0)
        habit.credit = 0;
}

static void expose(void)
{
    struct paio_signals saved;

    if (!paio_process_started())
        return;
    paio_signals_block(&saved);
    paio_pool_expose();
    paio_signals_restore(&saved);
}

void paio_habit_broken(void)
{
    bool awaited = habit.awaited;

    if (!habit.submitted)
        return;
    habit.submitted = NULL;
    habit.awaited = false;
    if (awaited) {
        lose(paio_now() - habit.when);
        expose();
    } else {
        end_habit();
    }
}

bool paio_habit_expects_wait(void)
{
    habit.alone = !habit.submitted;
    paio_habit_broken();
    return habit.credit >= ENOUGH;
}

void paio_habit_submitted(const struct aiocb *cb, bool awaited)
{
    habit.submitted = cb;
    habit.awaited = awaited;
    habit.when = habit.alone ? paio_now() : 0;
}

bool paio_habit_waits(const struct aiocb *cb)
{
    bool awaited = habit.awaited;
    uint64_t time;

    if (!cb || cb != habit.submitted) {
        paio_habit_broken();
        return false;
    }
    habit.submitted = NULL;
    habit.awaited = false;
    time = habit.when ? paio_now() - habit.when : UINT64_MAX;
    if (time <= SOON)
        habit.credit += habit.credit < MOST ? SAVED : 0;
    else if (awaited)
        lose(time);
    else
        end_habit();
    return awaited;
}
