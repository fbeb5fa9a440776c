/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool: threads that do what would block the caller. Work comes in classes, each with
 * threads of its own; within a class the files take turns (flow.h). Here is what is queued, and who begins
 * which; worker.c has the threads, guest.c those of the caller's that take a thread's place.
 *
 * A class starts with a few threads (see `paio_pool_classes`), with more where there is leisure to wake them, gets one
 * more whenever a tick passes in which work was queued and none begun, and loses those that were idle for
 * idle_seconds. A call that submits wakes, or starts, one thread of a class; what a list has for more of them, they
 * are woken for by each other, three by each, and started, one by each.
 */
#include "pool.h"

/*
 * One thread writes best to one file, whose inode lock a second would only wait for, and keeps
 * the order of submission, which some programs have grown to rely on.
 *
 * The reads of a file come when the device has begun with them. Where they follow each other fast, one thread
 * that waits for the oldest finds the next there, and to wake a second costs more than it gains. Where there
 * is leisure, and the device may do them in another order, as many as may work on the file are good for it.
 *
 * Syncs share a commit of the journal, as many as wait for it: the more of them have a thread, the fewer commits.
 * Where a commit is brief, threads that find the next sync queued are worth more than those that are woken for it.
 */
const struct paio_pool_class paio_pool_classes[PAIO_CLASSES] = {
    [PAIO_CLASS_READ] = { "posix-aio/read", 2, 8, 256, 8 },
    [PAIO_CLASS_WRITE] = { "posix-aio/write", 2, 2, 256, 1 },
    [PAIO_CLASS_SYNC] = { "posix-aio/sync", 16, 64, 256, 128 },
    [PAIO_CLASS_STREAM] = { "posix-aio/strm", 1, 1, 256, 1 },
};

/*
 * Small writes of a file follow each other so closely that to wake a waiter for each would cost
 * more than the write: one wakeup is for up to TOGETHER of them, if the next is no longer than
 * SHORT, and for half of those that are queued: the waiter is to have them back in time.
 */
enum { TOGETHER = 16, SHORT = 65536 };

/*
 * Nanoseconds from one read, or sync, to the next, on the average of some LATEST, in which there is time to wake a
 * thread for each; and the most that one counts for.
 */
enum { LEISURE = 40000, LONGEST = 1000000, LATEST = 16 };

/* Threads that a thread wakes before it serves, if there are so many without work; if there is none it may start one. */
enum { SPREAD = 3 };

struct paio_pool paio_pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

void paio_pool_reset(void (*attend)(bool leaving))
{
    pthread_mutex_init(&paio_pool.lock, NULL);
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        paio_line_init(&paio_pool.class[c].line, paio_pool_classes[c].share);
        paio_list_init(&paio_pool.class[c].idle);
        paio_pool.class[c].threads = paio_pool.class[c].guests = 0;
        atomic_store(&paio_pool.class[c].working, 0);
        atomic_store(&paio_pool.class[c].late, 0);
        /* At leisure, as far as anybody knows. */
        atomic_store(&paio_pool.class[c].interval, LONGEST / LATEST);
        atomic_store(&paio_pool.class[c].returning, 0);
    }
    paio_list_init(&paio_pool.workers);
    paio_list_init(&paio_pool.spare);
    atomic_store(&paio_pool.doorman, NULL);
    paio_pool.attend = attend;
    if (!paio_pool.idle_seconds)
        paio_pool.idle_seconds = 1;
}

void paio_pool_configure(unsigned threads, unsigned idle_seconds)
{
    pthread_mutex_lock(&paio_pool.lock);
    if (threads)
        paio_pool.most = threads;
    if (idle_seconds)
        paio_pool.idle_seconds = idle_seconds;
    pthread_mutex_unlock(&paio_pool.lock);
}

/* Will the worker go on with the flow at once? If not, it calls attend before it does anything. */
static bool is_followed(const struct paio_worker *worker, struct paio_flow *flow)
{
    return worker->class == PAIO_CLASS_WRITE && worker->followed < TOGETHER - 1 &&
           worker->followed < flow->length && paio_flow_first(flow)->length <= SHORT;
}

bool paio_pool_at_leisure(enum paio_class class)
{
    return atomic_load_explicit(&paio_pool.class[class].late, memory_order_relaxed) ||
           atomic_load_explicit(&paio_pool.class[class].interval, memory_order_relaxed) > LEISURE;
}

bool paio_pool_at_rest(enum paio_class class)
{
    return atomic_load_explicit(&paio_pool.class[class].working, memory_order_relaxed) <=
           atomic_load_explicit(&paio_pool.class[class].returning, memory_order_relaxed);
}

/* Under the lock. */
static void note_interval(enum paio_class class, uint64_t latest)
{
    uint32_t interval = atomic_load_explicit(&paio_pool.class[class].interval, memory_order_relaxed);

    interval += (latest < LONGEST ? (uint32_t) latest : LONGEST) / LATEST - interval / LATEST;
    atomic_store_explicit(&paio_pool.class[class].interval, interval, memory_order_relaxed);
}

void paio_pool_note_read(void)
{
    uint64_t now = paio_now();

    note_interval(PAIO_CLASS_READ, now - paio_pool.read_begun);
    paio_pool.read_begun = now;
}

/* Not from one begin to the next: syncs come in bursts, and as many as have a thread are begun together. */
void paio_pool_note_sync(uint64_t took)
{
    note_interval(PAIO_CLASS_SYNC, took / paio_pool.class[PAIO_CLASS_SYNC].working);
}

bool paio_pool_begin(struct paio_worker *worker)
{
    struct paio_operation *operation = paio_line_begin(&paio_pool.class[worker->class].line);

    worker->given = operation;
    if (!operation)
        return false;
    worker->seen = false;
    if (worker->class == PAIO_CLASS_READ)
        paio_pool_note_read();
    operation->followed = is_followed(worker, operation->flow);
    worker->followed = operation->followed ? worker->followed + 1 : 0;
    atomic_store(&operation->queued, NULL);
    atomic_store_explicit(&worker->fd, operation->fd, memory_order_relaxed);
    return paio_worker_count_for(worker, operation->flow);
}

bool paio_pool_at_work(const struct paio_flow *flow, enum paio_class class)
{
    return atomic_load(&flow->running) >= (paio_pool_at_leisure(class) ? paio_pool_classes[class].share : 1);
}

/* No thread is without work, and there are less than the class starts without a tick. Under the lock. */
static bool is_short(enum paio_class class)
{
    const struct paio_pool_class *its = &paio_pool_classes[class];

    return paio_list_empty(&paio_pool.class[class].idle) &&
           paio_pool.class[class].threads < (paio_pool_at_leisure(class) ? its->leisurely : its->base);
}

bool paio_pool_able(enum paio_class class)
{
    bool able;

    pthread_mutex_lock(&paio_pool.lock);
    if (is_short(class))
        paio_worker_start(class);
    able = paio_pool.class[class].threads != 0;
    paio_pool.class[class].asked = true;
    pthread_mutex_unlock(&paio_pool.lock);
    return able;
}

/*
 * Is the next one left to threads that are at work, and will look for it? A sync, if there are enough of them: it joins
 * the next commit. And a read that the device has begun with, if there are enough on its file.
 * Not at leisure; so a tick that finds one of them late gives to others what was left to it.
 */
static bool is_in_hand(enum paio_class class)
{
    unsigned enough = paio_pool_classes[class].base;
    const struct paio_operation *next;

    if (paio_pool_at_leisure(class))
        return false;
    if (class == PAIO_CLASS_SYNC)
        return paio_pool.class[class].working >= enough;
    next = paio_line_alone(&paio_pool.class[class].line);
    return next && next->under_way &&
           atomic_load(&next->flow->running) >= enough;
}

/*
 * Will workers that return take all that is queued? Whoever waits for one request at a time submits the
 * next while the thread that woke it is still on its way, and to wake a second one would fetch the work
 * to another processor.
 */
static bool is_left(enum paio_class class)
{
    return paio_pool.class[class].line.queued <= atomic_load(&paio_pool.class[class].returning);
}

/* Begins an operation for a worker that has none. The one that is to be woken, or NULL. */
static struct paio_worker *hand_over(enum paio_class class)
{
    struct paio_worker *worker, *self = paio_worker_self();
    struct paio_link *link = paio_pool.class[class].idle.next;

    if (paio_line_empty(&paio_pool.class[class].line) || link == &paio_pool.class[class].idle)
        return NULL;
    if (self && self->link.next && self->class == class)
        link = &self->link; /* it is awake, and is looking for work */
    else if (is_left(class) || is_in_hand(class))
        return NULL;
    worker = paio_container(link, struct paio_worker, link);
    paio_list_remove(link);
    paio_pool.class[class].working++;
    paio_pool_begin(worker);
    atomic_store(&worker->awake, 1);
    return worker == self ? NULL : worker;
}

static void put(struct paio_operation *operation)
{
    atomic_store(&operation->queued, &paio_engine_pool);
    atomic_store(&operation->arrived, true);
    paio_line_put(&paio_pool.class[operation->class].line, operation);
}

/* Up to as many that are to be woken. */
static void hand_over_some(enum paio_class class, struct paio_wakeups *wakeups, unsigned most)
{
    struct paio_worker *worker;

    while (wakeups->count < most && (worker = hand_over(class)))
        wakeups->woken[wakeups->count++] = worker;
}

void paio_pool_hand_over(enum paio_class class, struct paio_wakeups *wakeups)
{
    hand_over_some(class, wakeups, PAIO_WAKEUPS);
}

/* One thread more for what is queued and left to nobody. False: none was started. */
static bool reinforce(enum paio_class class, struct paio_wakeups *wakeups)
{
    if (paio_line_empty(&paio_pool.class[class].line) || !is_short(class) || is_left(class) || is_in_hand(class) ||
        wakeups->count == PAIO_WAKEUPS || !paio_worker_start(class))
        return false;
    paio_pool_hand_over(class, wakeups);
    return true;
}

void paio_pool_spread(enum paio_class class, struct paio_wakeups *wakeups)
{
    hand_over_some(class, wakeups, SPREAD);
    reinforce(class, wakeups);
}

void paio_pool_wake(struct paio_wakeups *wakeups)
{
    while (wakeups->count)
        paio_futex_wake(&wakeups->woken[--wakeups->count]->awake, 1);
}

/* The caller wakes one thread of a class, which wakes the others: it is not held up by so many that run in its place. */
static unsigned submit(struct paio_operation **operations, unsigned count)
{
    struct paio_wakeups wakeups = { .count = 0 };
    bool awake[PAIO_CLASSES] = { false };

    pthread_mutex_lock(&paio_pool.lock);
    for (unsigned i = 0; i < count; i++) {
        enum paio_class class = operations[i]->class;
        struct paio_worker *worker;

        put(operations[i]);
        worker = awake[class] ? NULL : hand_over(class);
        if (worker) {
            awake[class] = true;
            wakeups.woken[wakeups.count++] = worker;
        }
    }
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
    return 0;
}

static bool cancel(struct paio_operation *operation)
{
    bool canceled;

    pthread_mutex_lock(&paio_pool.lock);
    canceled = atomic_load(&operation->queued) == &paio_engine_pool &&
               (operation->code != PAIO_WRITE || !operation->done);
    if (canceled) {
        atomic_store(&operation->queued, NULL);
        paio_line_remove(&paio_pool.class[operation->class].line, operation);
    }
    pthread_mutex_unlock(&paio_pool.lock);
    return canceled;
}

void paio_pool_tick(void)
{
    struct paio_wakeups wakeups = { .count = 0 };

    pthread_mutex_lock(&paio_pool.lock);
    paio_worker_look_for_late();
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        paio_line_tick(&paio_pool.class[c].line);
        if (!paio_line_empty(&paio_pool.class[c].line) && paio_list_empty(&paio_pool.class[c].idle) &&
            (paio_pool.class[c].line.begun == paio_pool.class[c].begun_before || !paio_pool.class[c].threads))
            paio_worker_start(c);
        paio_pool_hand_over(c, &wakeups);
        while (reinforce(c, &wakeups))
            ;
        paio_pool.class[c].begun_before = paio_pool.class[c].line.begun;
    }
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
}

void paio_pool_expose_class(enum paio_class class, struct paio_wakeups *wakeups)
{
    paio_line_expose(&paio_pool.class[class].line);
    /* If the last thread has ended, for waiters have done all of it, the tick starts one: here may be a signal handler. */
    paio_pool_hand_over(class, wakeups);
}

void paio_pool_expose(void)
{
    struct paio_wakeups wakeups = { .count = 0 };

    pthread_mutex_lock(&paio_pool.lock);
    for (unsigned c = 0; c < PAIO_CLASSES; c++)
        paio_pool_expose_class(c, &wakeups);
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
}

bool paio_pool_has_left(pthread_t thread)
{
    return paio_line_left_to(&paio_pool.class[PAIO_CLASS_WRITE].line, thread) ||
           paio_line_left_to(&paio_pool.class[PAIO_CLASS_READ].line, thread);
}

bool paio_pool_left_to(pthread_t thread)
{
    bool left;

    pthread_mutex_lock(&paio_pool.lock);
    left = paio_pool_has_left(thread);
    pthread_mutex_unlock(&paio_pool.lock);
    return left;
}

bool paio_pool_busy(void)
{
    bool busy = false;

    pthread_mutex_lock(&paio_pool.lock);
    for (unsigned c = 0; c < PAIO_CLASSES && !busy; c++)
        busy = paio_pool.class[c].working || paio_pool.class[c].guests ||
               !paio_line_empty(&paio_pool.class[c].line) ||
               paio_line_left(&paio_pool.class[c].line);
    pthread_mutex_unlock(&paio_pool.lock);
    return busy;
}

const struct paio_engine paio_engine_pool = {
    .name = "pool",
    .submit = submit,
    .cancel = cancel,
    .claim = paio_guest_claim,
    .perform = paio_guest_perform,
};
