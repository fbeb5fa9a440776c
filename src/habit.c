/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guess is kept by accounts, so that it cannot lose more time than it has saved. A wait within SOON of
 * the submission earns SAVED, which is what it takes to wake a thread and be woken by it. A request that
 * was left to this thread in vain, or for longer, costs the time for which nobody was at work on it: two
 * ticks at most. The thread has the habit while its credit is not below ENOUGH. A request that was not
 * left to it and not waited for at once ends the habit, and costs nothing.
 *
 * There is an account for waits for a single request, and one for waits for any of some that are leavable (call.h):
 * of those each write may take EACH until the wait, about what it saves that no other processor has to fetch it, and
 * each read BEGUN, for the device is at work on it meanwhile. A read that holds up the others for longer than PATIENCE,
 * after which the pool would not wait for it either, costs what is beyond.
 *
 * With that second account at ENOUGH, a wait for buffered writes and nothing else, all of them left to the thread, grants
 * those of the next GRANT to the calls that submit them. They tell nothing of how the thread waits: what is left then tells
 * anew whether it still does. Any other wait ends the grant.
 *
 * A third account is for functions that a thread of the library calls for a request. One that returns as soon as it has
 * submitted has nothing else to do, and whatever holds up its writes holds up nobody else. Nothing is left to it,
 * but with the account at ENOUGH its return grants as a wait does.
 *
 * All times are in nanoseconds.
 */
#include "habit.h"

#include "call.h"
#include "completion.h"
#include "perform.h"
#include "process.h"

enum { SOON = 10000, EACH = 2000, BEGUN = 40000, SAVED = 10000, ENOUGH = 8 * SAVED, MOST = 1000000,
       PATIENCE = PAIO_TICK * 1000000, LOST = 2 * PATIENCE };

/* Not in step with the tick, which may expose what is left. */
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
    uint64_t allowed;           /* allowance of those that are leavable */
    uint64_t since;             /* the first of them, or the wait that has left some */
    bool reads;                 /* the latest of them is a read */
    struct account alone, among, returning;
    uint64_t granted_until; /* buffered writes to the calls that submit them; or 0 */
} habit __attribute__((tls_model("initial-exec")));

/* What a leavable request may take until the wait. */
static uint64_t allowance(const struct paio_call *call)
{
    return call->code == PAIO_READ ? BEGUN : EACH;
}

static void lose(struct account *account, uint64_t time)
{
    account->credit -= (int32_t) (time < LOST ? time : LOST);
    if (account->credit < -LOST)
        account->credit = -LOST;
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
    habit.submitted = 0;
    habit.allowed = 0;
}

/* Is something left for longer than it may be until the wait, with that much more? */
static bool is_late(uint64_t more)
{
    return paio_now() - habit.since > SOON + habit.allowed + more;
}

static void expose(void)
{
    struct paio_signals saved;

    if (!paio_process_started())
        return;
    paio_signals_block(&saved);
    paio_perform_expose();
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

unsigned paio_habit_expects(const struct paio_call *call)
{
    unsigned expected = 0;

    /* What is left alone is not to wait while there is more to do, nor the others for long, nor writes behind reads. */
    if (habit.alone.left ||
        (habit.among.left && (habit.reads != (call->code == PAIO_READ) || is_late(allowance(call)))))
        paio_habit_broken();
    if (!habit.submitted && !any_left() && habit.alone.credit >= ENOUGH)
        expected |= PAIO_WAITS_FOR_IT;
    if (habit.among.credit >= ENOUGH)
        expected |= PAIO_WAITS_FOR_ANY;
    return expected;
}

void paio_habit_submitted(const struct paio_call *call)
{
    bool first = !habit.submitted && !any_left();
    bool among = call->leavable && call->expected & PAIO_WAITS_FOR_ANY;

    habit.single = first ? call->cb : NULL;
    habit.reads = call->code == PAIO_READ;
    habit.submitted++;
    if (call->leavable)
        habit.allowed += allowance(call);
    if (first)
        habit.since = paio_now();
    if (call->awaited)
        (among ? &habit.among : &habit.alone)->left = true;
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
    bool among = habit.allowed || habit.among.left;
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
    /* There is no wait, and what is left goes on being left for a while. */
    if (!single && any_done(list, count)) {
        if (left && is_late(0))
            paio_habit_broken();
        return false;
    }
    /* Without the time, where it makes no difference. */
    time = single || among || left ? paio_now() - habit.since : 0;
    judge(&habit.alone, single, time, SOON);
    if (single || among)
        judge(&habit.among, true, time, SOON + habit.allowed);
    begin_anew();
    return left;
}

void paio_habit_returned(void)
{
    uint64_t now;

    if (any_left())
        paio_habit_broken();
    if (!habit.submitted)
        return;
    now = paio_now();
    judge(&habit.returning, true, now - habit.since, SOON + habit.allowed);
    if (habit.returning.credit >= ENOUGH)
        habit.granted_until = now + GRANT;
    begin_anew();
}

bool paio_habit_there(void)
{
    return habit.alone.credit >= ENOUGH || habit.among.credit >= ENOUGH;
}

bool paio_habit_grants(uint64_t now)
{
    return now < habit.granted_until;
}

void paio_habit_performed(const struct paio_performed *performed)
{
    uint64_t now;

    if (performed->held_up > PATIENCE)
        lose(&habit.among, performed->held_up - PATIENCE);
    if (!performed->writes && !performed->part)
        return;
    now = paio_now();
    if (performed->writes && habit.among.credit >= ENOUGH)
        habit.granted_until = now + GRANT;
    if (performed->part) {
        habit.among.left = true;
        habit.since = now;
    }
}
