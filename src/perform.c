/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a waiter carries out itself of what is left to it (habit.h), and when that goes to the pool after all.
 */
#include "perform.h"

#include "engine_pool.h"
#include "inbox.h"
#include "order.h"
#include "process.h"

/* What a list is, of which nothing is done. */
enum standing {
    LEFT,    /* to waiters, all of it */
    EXPOSED, /* of one file, and some of it not any more: the pool is at it, and has the oldest */
    OTHERS,  /* anything else */
};

/* *first is the first one, if there is any. If the answer is out of date nothing comes of it but lost time. */
static enum standing standing_of(const struct aiocb *const list[], int count, const struct aiocb **first)
{
    const struct paio_file *file = NULL, *each;
    bool exposed = false, of_one = true, reads = false, writes = false;

    *first = NULL;
    for (int i = 0; i < count; i++) {
        const struct paio_request *request = list[i] ? paio_request_find(list[i]) : NULL;

        if (!list[i])
            continue;
        if (!request)
            return OTHERS;
        each = atomic_load_explicit(&request->file, memory_order_relaxed);
        if (!*first) {
            *first = list[i];
            file = each;
        }
        of_one = of_one && each == file;
        if (atomic_load_explicit(&request->file_write, memory_order_relaxed))
            writes = true;
        else
            reads = true;
        if (atomic_load_explicit(&request->operation.awaited, memory_order_relaxed))
            continue;
        if (!atomic_load_explicit(&request->operation.exposed, memory_order_relaxed))
            return OTHERS;
        exposed = true;
    }
    /* A read may hold up others of its file, but no write, and none of another file, which may be on another device. */
    if (!*first || (reads && writes) || (!of_one && (exposed || reads)))
        return OTHERS;
    return exposed ? EXPOSED : LEFT;
}

/*
 * A waiter is at it for LONGEST nanoseconds, for signals wait meanwhile. To come back for the next one costs
 * more than a short write, and with none left the next calls may carry theirs out (habit.h): so it does more than it
 * waits for, up to LATE, if they are no longer than SHORT.
 */
enum { LONGEST = 1000000, LATE = 400000, SHORT = 65536 };

struct wait {
    const struct aiocb *const *list;
    int count;
    uint64_t begun;
    bool done;
};

static void look_for_done(struct wait *wait)
{
    for (int i = 0; i < wait->count && !wait->done; i++)
        wait->done = wait->list[i] && !paio_in_progress(wait->list[i]);
}

static bool goes_on(const struct paio_operation *next, void *argument)
{
    struct wait *wait = argument;
    uint64_t time = paio_now() - wait->begun;

    look_for_done(wait);
    if (wait->done)
        return next->class == PAIO_CLASS_WRITE && next->length <= SHORT && time < LATE;
    return time < LONGEST;
}

void paio_perform_expose(void)
{
    paio_inbox_empty();
    paio_pool_expose();
}

struct paio_performed paio_perform(const struct aiocb *const list[], int count)
{
    struct wait wait = { list, count, paio_now(), false };
    struct paio_performed performed = { 0 };
    struct paio_operation *operation = NULL;
    const struct aiocb *first;
    enum standing standing;

    if (!paio_process_started())
        return performed;
    paio_inbox_empty();
    standing = standing_of(list, count, &first);
    if (standing == EXPOSED) {
        performed.part = paio_pool_left_to(pthread_self());
        return performed;
    }
    if (standing == LEFT)
        operation = paio_order_claim(first);
    if (operation) {
        bool others = count > 1 || atomic_load(&paio_request_of(operation)->cb) != first;
        bool read = operation->class == PAIO_CLASS_READ;

        performed.writes = operation->class == PAIO_CLASS_WRITE;
        performed.part = atomic_load(&operation->engine)->perform(operation, goes_on, &wait);
        performed.held_up = read && others ? paio_now() - wait.begun : 0;
        look_for_done(&wait);
    }
    if (!wait.done) {
        paio_pool_expose();
        performed.part = false;
    }
    return performed;
}
