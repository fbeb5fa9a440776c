/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guess is kept by accounts, so that it cannot lose more time than it has saved. A wait within SOON of
 * the submission earns SAVED, which is what it takes to wake a thread and be woken by it. A request that
 * was left to this thread in vain, or for longer, costs the time for which nobody was at work on it: a
 * tick at most. The thread has the habit while its credit is not below ENOUGH. A request that was not
 * left to it and not waited for at once ends the habit, and costs nothing.
 *
 * There is an account for waits for a single request, and one for waits for any of some buffered writes: of
 * those each may take EACH until the wait, about what it saves that no other processor has to fetch it.
 *
 * With that second account at ENOUGH, a wait for buffered writes and nothing else, all of them left to the thread, grants
 * those of the next GRANT to the calls that submit them. They tell nothing of how the thread waits: what is left then tells
 * anew whether it still does. Any other wait ends the grant.
 *
 * All times are in nanoseconds.
 */
#include "habit.h"

#include "dispatch.h"
#include "process.h"

enum { SOON = 10000, EACH = 2000, SAVED = 10000, ENOUGH = 8 * SAVED, MOST = 1000000, TICK = 4000000 };

/* Not in step with the tick, which exposes what it finds left. */
enum { GRANT = 3000000 };

/* Entries of a list that is too long to be looked through after each write. */
enum { LONG = 64 };

struct account {
    int32_t credit;
    bool left; /* something is left to this thread on this account */
};

static __thread struct {
    const struct aiocb *single; /* the thread's only request, not waited for yet, or NULL */
    unsigned submitted;         /* requests since the last wait */
    unsigned writes;            /* of these buffered writes */
    uint64_t since;             /* the first of them, or the wait that has left some */
    struct account alone, among;
    uint64_t granted_until; /* buffered writes to the calls that submit them; or 0 */
} habit __attribute__((tls_model("initial-exec")));

/* What a wait may take to come after so many writes. */
static uint64_t soon(unsigned writes)
{
    return SOON + (uint64_t) writes * EACH;
}

static void lose(struct account *account, uint64_t time)
{
    account->credit -= (int32_t) (time < TICK ? time : TICK);
    if (account->credit < -TICK)
        account->credit = -TICK;
}

static void end_habit(struct account *account)
{
    if (account->credit > 0)
        account->credit = 0;
}

/* The thread has waited for what the account is about, or not, after that time. */
static void judge(struct account *account, bool waited, uint64_t time, uint64_t limit)
{
    if (waited && time <= limit)
        account->credit += account->credit < MOST ? SAVED : 0;
    else if (account->left)
        lose(account, time);
    else
        end_habit(account);
    account->left = false;
}

static bool any_left(void)
{
    return habit.alone.left || habit.among.left;
}

static void begin_anew(void)
{
    habit.single = NULL;
    habit.submitted = habit.writes = 0;
}

static void expose(void)
{
    struct paio_signals saved;

    if (!paio_process_started())
        return;
    paio_signals_block(&saved);
    paio_dispatch_expose();
    paio_signals_restore(&saved);
}

void paio_habit_broken(void)
{
    bool left = any_left();
    uint64_t time;

    habit.granted_until = 0;
    if (!habit.submitted && !left)
        return;
    time = left ? paio_now() - habit.since : 0;
    judge(&habit.alone, false, time, 0);
    judge(&habit.among, false, time, 0);
    begin_anew();
    if (left)
        expose();
}

unsigned paio_habit_expects(void)
{
    unsigned expected = 0;

    /* What is left alone is not to wait while there is more to do, nor the others for long. */
    if (habit.alone.left || (habit.among.left && paio_now() - habit.since > soon(habit.writes + 1)))
        paio_habit_broken();
    if (!habit.submitted && !any_left() && habit.alone.credit >= ENOUGH)
        expected |= PAIO_WAITS_FOR_IT;
    if (habit.among.credit >= ENOUGH)
        expected |= PAIO_WAITS_FOR_ANY;
    return expected;
}

void paio_habit_submitted(const struct aiocb *cb, bool awaited, bool leavable)
{
    bool first = !habit.submitted && !any_left();

    habit.single = first ? cb : NULL;
    habit.submitted++;
    habit.writes += leavable;
    if (first)
        habit.since = paio_now();
    if (awaited)
        (leavable ? &habit.among : &habit.alone)->left = true;
    else if (any_left())
        paio_habit_broken(); /* with a thread at work for this one there is no wakeup to be saved */
}

static bool any_done(const struct aiocb *const list[], int count)
{
    for (int i = 0; i < count; i++)
        if (list[i] && !paio_in_progress(list[i]))
            return true;
    return false;
}

bool paio_habit_waits(const struct aiocb *const list[], int count)
{
    bool single = count == 1 && list[0] && list[0] == habit.single, left = any_left();
    bool writes = habit.writes || habit.among.left;
    uint64_t time;

    /* It waits; whether for what it writes alone is seen when that is done. */
    if (habit.granted_until && !any_done(list, count))
        habit.granted_until = 0;
    if (!habit.submitted && !left)
        return false;
    if (count > LONG) {
        paio_habit_broken();
        return false;
    }
    /* There is no wait, and what is left goes on being left. */
    if (!single && any_done(list, count))
        return false;
    /* Without the time, where it makes no difference. */
    time = single || writes || left ? paio_now() - habit.since : 0;
    judge(&habit.alone, single, time, soon(0));
    if (single || writes)
        judge(&habit.among, true, time, soon(habit.writes));
    begin_anew();
    return left;
}

bool paio_habit_grants(uint64_t now)
{
    return now < habit.granted_until;
}

void paio_habit_performed(bool writes, bool part)
{
    uint64_t now;

    if (!writes && !part)
        return;
    now = paio_now();
    if (writes && habit.among.credit >= ENOUGH)
        habit.granted_until = now + GRANT;
    if (part) {
        habit.among.left = true;
        habit.since = now;
    }
}
