/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiters sleep in 32 buckets, futexes that are never freed; a thread uses the bucket that its
 * number gives it. To wait, a thread sets its bucket's bit in the status word of each control
 * block, which works only while that is in progress; whoever publishes a result gets the bits
 * by the same exchange, and wakes those buckets. Nothing on a stack is ever linked anywhere: a
 * handler that interrupts a wait and never returns leaves bits behind that cause a wakeup too
 * many, and no more.
 *
 * Bucket's futex word: a sequence number in steps of two; bit 0 says that somebody sleeps or is
 * about to. A waiter reads the word, sets its bits, looks whether anything is done, sets bit 0
 * and sleeps if the word is still the same. A waker adds two, clears bit 0, and calls the kernel
 * only if it was set. Spurious wakeups are expected: everybody looks again. A word that wraps around leaves out 0, and
 * begins shortly before, so that it does so in tests. A forked child finds the words wiped to 0 (process.h), and begins
 * with others when it starts the library: a wait that a handler of it comes back to ends (but a leader's read(2), where
 * SA_RESTART has the kernel begin it again).
 *
 * The leader. Of the threads that wait for the kernel engine one sleeps in paio_kernel_wait,
 * and reaps for all when it wakes; the others sleep on their futex. `leader` names it. It is a
 * role, not a lock: without a leader completions are late by a tick (completion.c), not lost.
 * - It is taken by compare-and-swap from 0, or from an earlier wait of the same thread, which a
 *   handler has interrupted.
 * - A completion that somebody else publishes, and that the leader waits for, kicks it. Both
 *   sides are sequentially consistent: the leader writes `leader` and then looks at its control
 *   blocks, the publisher exchanges the status word and then looks at `leader`.
 * - It is left when the wait ends, also by cancellation, and handed to one of `candidates`.
 * - A leader that sits in a handler, or has jumped out of one, is deposed by the tick. Should
 *   it ever come back to its sleep, nobody would kick it; so while more threads are in
 *   paio_kernel_wait (`asleep`) than there are leaders, the tick kicks every time.
 * - They sleep on one eventfd then, and what wakes one of them may have been meant for another: whoever
 *   wakes deposed kicks once more if anybody sleeps there. One that jumps from there does not: so the tick
 *   kicks a leader again that has been kicked and is still there.
 */
#include "waiter.h"

#include "engine_kernel.h"
#include "engine_stream.h"
#include "finish.h"
#include "process.h"
#include "request.h"

enum { BUCKETS = PAIO_BUCKETS, SLEEPERS = 1, STEP = 2, FIRST = 1 << 20, SOON = 32 * STEP };

/* What sleep_once says where there is nothing to sleep for. */
enum { NOBODYS = 1 };

/* Leader: thread number in the upper half, then a serial number, the bucket, KICKED. 0: none. */
enum { KICKED = 1, BUCKET_SHIFT = 1, BUCKET_MASK = 31, SERIAL_SHIFT = 8 };

static _Atomic uint64_t leader;
static _Atomic uint32_t held;       /* buckets to be woken with the next */
static _Atomic uint32_t candidates; /* buckets of followers that could lead */
static _Atomic uint32_t threads;    /* numbers given out */
static _Atomic uint32_t serial;
static _Atomic uint32_t asleep;     /* threads in paio_kernel_wait, or gone from there by a jump */

static __thread uint32_t own_number __attribute__((tls_model("initial-exec")));

static _Atomic uint32_t *word_of(unsigned bucket)
{
    return &atomic_load_explicit(&paio_alive, memory_order_acquire)->bucket[bucket].word;
}

void paio_waiter_reset(void)
{
    static uint32_t starts;

    for (unsigned b = 0; b < BUCKETS; b++)
        atomic_store(word_of(b), starts * FIRST - SOON);
    atomic_store(&leader, 0);
    atomic_store(&held, 0);
    atomic_store(&candidates, 0);
    atomic_store(&asleep, 0);
    starts++;
}

static uint32_t number(void)
{
    if (!own_number)
        own_number = atomic_fetch_add(&threads, 1) + 1;
    return own_number;
}

static unsigned bucket_of(uint64_t lead)
{
    return (unsigned) (lead >> BUCKET_SHIFT) & BUCKET_MASK;
}

static void kick_leader(uint64_t lead)
{
    if (lead && !(lead & KICKED) && atomic_compare_exchange_strong(&leader, &lead, lead | KICKED))
        paio_kernel_kick();
}

static void wake_bucket(unsigned b)
{
    _Atomic uint32_t *word = word_of(b);
    uint32_t old = atomic_load(word), next;

    do {
        next = (old + STEP) & ~(uint32_t) SLEEPERS;
        if (!next)
            next = STEP;
    } while (!atomic_compare_exchange_weak(word, &old, next));
    if (old & SLEEPERS)
        paio_futex_wake(word, INT32_MAX);
}

void paio_waiter_hold(uint32_t buckets)
{
    if (buckets)
        atomic_fetch_or(&held, buckets);
}

void paio_waiter_wake(uint32_t buckets)
{
    uint64_t lead;

    if (atomic_load(&held))
        buckets |= atomic_exchange(&held, 0);
    if (!buckets)
        return;
    lead = atomic_load(&leader);
    if (buckets >> bucket_of(lead) & 1)
        kick_leader(lead);
    for (; buckets; buckets &= buckets - 1)
        wake_bucket((unsigned) __builtin_ctz(buckets));
}

/* Is one done, or none to wait for? *done is the one, or NULL. */
static bool some_done(const struct aiocb *const list[], int count, const struct aiocb **done)
{
    bool any = false;

    *done = NULL;
    for (int i = 0; i < count; i++) {
        if (list[i] && !paio_in_progress(list[i])) {
            *done = list[i];
            return true;
        }
        any = any || list[i];
    }
    return !any;
}

/* What asking the control blocks tells. */
enum look { SOME_DONE, ALL_PENDING, PENDING_IN_KERNEL };

/* Asks, with mask, to hear of each control block that is in progress. */
static enum look ask(const struct aiocb *const list[], int count, uint32_t mask)
{
    enum look look = ALL_PENDING;

    for (int i = 0; i < count; i++) {
        const struct paio_request *request;
        uint64_t word;

        if (!list[i])
            continue;
        word = atomic_load_explicit(paio_status(list[i]), memory_order_acquire);
        do {
            if (paio_status_error(word) != EINPROGRESS)
                return SOME_DONE;
        } while (!(word >> 32 & mask) &&
                 !atomic_compare_exchange_weak(paio_status(list[i]), &word,
                                               word | (uint64_t) mask << 32));
        /* In progress by its word, but nobody's: a forked child's copy, or never submitted. */
        request = paio_request_find(list[i]);
        if (!request && (!paio_in_progress(list[i]) || !paio_request_find(list[i])))
            return SOME_DONE;
        if (request && atomic_load_explicit(&request->operation.engine, memory_order_relaxed) ==
                           &paio_engine_kernel)
            look = PENDING_IN_KERNEL;
    }
    return look;
}

/* Hands the lead to a follower, if there is work for a leader. */
static void hand_on(void)
{
    uint32_t waiting = atomic_load(&candidates);

    while (waiting && paio_kernel_busy()) {
        uint32_t one = waiting & -waiting;

        if (atomic_compare_exchange_weak(&candidates, &waiting, waiting & ~one)) {
            wake_bucket((unsigned) __builtin_ctz(one));
            return;
        }
    }
}

/* The lead of this thread, or 0 when somebody else has it. */
static uint64_t take_lead(void)
{
    uint64_t mine = (uint64_t) number() << 32 |
                    (atomic_fetch_add(&serial, 1) & 0xffffff) << SERIAL_SHIFT |
                    number() % BUCKETS << BUCKET_SHIFT;
    uint64_t now = 0;

    if (atomic_compare_exchange_strong(&leader, &now, mine))
        return mine;
    /* From this thread's own wait, which a handler has interrupted. */
    if ((uint32_t) (now >> 32) == own_number && atomic_compare_exchange_strong(&leader, &now, mine))
        return mine;
    return 0;
}

/* A thread in paio_kernel_wait: as whom it leads, and in which process it began to. */
struct sleeper {
    uint64_t mine;
    uint32_t process;
};

static void leave_lead(void *argument)
{
    const struct sleeper *sleeper = argument;
    uint64_t mine = sleeper->mine, kicked = mine | KICKED;

    /* A handler has forked, and this is the child, which has begun to count anew. */
    if (paio_process_started() != sleeper->process)
        return;
    atomic_fetch_sub(&asleep, 1);
    if (atomic_compare_exchange_strong(&leader, &mine, 0) ||
        atomic_compare_exchange_strong(&leader, &kicked, 0))
        hand_on();
    else if (atomic_load(&asleep))
        paio_kernel_kick();
}

/* Nobody kicks the leader for what was there before it was one. */
static int sleep_as_leader(const struct aiocb *const list[], int count, const struct timespec *deadline)
{
    const struct aiocb *done;

    return some_done(list, count, &done) || paio_kernel_ready() ? 0 : paio_kernel_wait(deadline);
}

static int lead(const struct aiocb *const list[], int count, uint64_t mine,
                const struct timespec *deadline)
{
    struct sleeper sleeper = { mine, paio_process_started() };
    int result;

    atomic_fetch_add(&asleep, 1);
    pthread_cleanup_push(leave_lead, &sleeper);
    result = sleep_as_leader(list, count, deadline);
    pthread_cleanup_pop(1);
    return result;
}

/* seen: what the bucket's word was before the control blocks were asked. */
static int follow(uint32_t seen, const struct timespec *deadline)
{
    _Atomic uint32_t *word = word_of(number() % BUCKETS);
    int result, type;

    if (!(seen & SLEEPERS) && !atomic_compare_exchange_strong(word, &seen, seen | SLEEPERS))
        return 0;
    /* Nothing is held here, so that a canceled thread may end at once. */
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    result = paio_futex_wait(word, seen | SLEEPERS, deadline);
    pthread_setcanceltype(type, NULL);
    return result == -EAGAIN ? 0 : result;
}

/* Registers with the control blocks, and sleeps as leader or follower. Wakes for no reason too. */
static int sleep_once(const struct aiocb *const list[], int count, const struct timespec *deadline)
{
    uint32_t mask = (uint32_t) 1 << number() % BUCKETS;
    uint32_t seen = atomic_load(word_of(number() % BUCKETS));
    enum look look;
    uint64_t mine;
    int result;

    /* A handler has forked, and this is the child: it is no wait of its own. */
    if (!seen)
        return NOBODYS;
    look = ask(list, count, mask);
    if (look == SOME_DONE)
        return NOBODYS;
    if (look == PENDING_IN_KERNEL) {
        mine = take_lead();
        if (mine) {
            result = lead(list, count, mine, deadline);
            if (!result || result == -EINTR || result == -ETIMEDOUT)
                return result;
            /* It cannot sleep there, and is no candidate: two such would hand the lead back and forth. */
            return follow(seen, deadline);
        }
        atomic_fetch_or(&candidates, mask);
        /* Sequentially consistent with leave_lead, which empties leader, then looks here. */
        if (!atomic_load(&leader))
            return 0;
    }
    return follow(seen, deadline);
}

/* What aio_error has reaped and left to others may be what this thread waits for. */
static bool settled_now(void)
{
    struct paio_signals saved;

    if (!paio_finish_unsettled())
        return false;
    paio_signals_block(&saved);
    paio_finish_settle();
    paio_signals_restore(&saved);
    return true;
}

/* Whoever waits for one read of a stream may find its data there. For several each would have to be asked. */
static bool served_now(const struct aiocb *const list[], int count)
{
    return count == 1 && list[0] && paio_stream_serve(list[0]->aio_fildes);
}

/* Is the result there, and its signal not sent yet? */
static bool lacks_signal(const struct aiocb *cb)
{
    const struct paio_request *request;

    if (cb->aio_sigevent.sigev_notify == SIGEV_NONE)
        return false;
    request = paio_request_find(cb);
    return request && atomic_load(&request->publication) == PAIO_PUBLISHING;
}

/*
 * Whoever finds a result before it sleeps would be ahead of the signal. Another thread is about to send it, waits
 * for nothing meanwhile, and wakes afterwards whoever is held: so neither a deadline nor a handler
 * ends this.
 */
static void await_signal(const struct aiocb *cb)
{
    uint32_t seen;

    /* A child that a handler has forked comes back here too, and nobody sends it anything. */
    while (paio_process_started() && lacks_signal(cb)) {
        seen = atomic_load(word_of(number() % BUCKETS));
        if (!seen)
            return;
        paio_waiter_hold((uint32_t) 1 << number() % BUCKETS);
        if (lacks_signal(cb))
            follow(seen, NULL);
    }
}

int paio_wait_any(const struct aiocb *const list[], int count, const struct timespec *deadline)
{
    const struct aiocb *done;
    bool tidied = false;
    int result = 0;

    /* In a forked child that has not started the library nothing is in flight. */
    while (paio_process_started()) {
        if (some_done(list, count, &done)) {
            if (done)
                await_signal(done);
            return 0;
        }
        /* Once before each sleep: others may bring more for ever, and a deadline passes. */
        if (!tidied) {
            tidied = true;
            if ((paio_kernel_ready() && paio_finish_reap()) || settled_now() || served_now(list, count))
                continue;
        }
        if (result)
            return result == NOBODYS ? 0 : result;
        result = sleep_once(list, count, deadline);
        tidied = false;
    }
    return 0;
}

void paio_waiter_tick(bool stalled)
{
    uint64_t now;

    paio_waiter_wake(0);
    now = atomic_load(&leader);
    if (stalled && now && atomic_compare_exchange_strong(&leader, &now, 0))
        now = 0;
    if (!now)
        hand_on();
    if (atomic_load(&asleep) > (now != 0) || now & KICKED)
        paio_kernel_kick();
}
