/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each file record has one list of what is in flight, in the order of submission, and two lanes.
 *
 *   in_flight: requests that move data, started or not, and barriers that wait. A barrier starts
 *              when it comes to the head: nothing older is left. It then moves to syncs, for what
 *              is behind it does not wait for it. Looking at the head only, when the head
 *              leaves, makes the cost of a request independent of how many are in flight.
 *   lane:      the request at the head of a lane has started, the rest wait.
 *
 * All of it under the file's lock (f). Under it the engine's cancel may take the engine's lock.
 */
#include "order.h"

static bool is_sync(const struct paio_request *request)
{
    return request->operation.code >= PAIO_FSYNC;
}

static bool waits(const struct paio_request *request)
{
    return atomic_load_explicit(&request->state, memory_order_relaxed) == PAIO_WAITING;
}

static bool is_new(const struct paio_request *request)
{
    return atomic_load_explicit(&request->state, memory_order_relaxed) == PAIO_NEW;
}

static struct paio_request *in_flight_of(struct paio_link *link)
{
    return paio_container(link, struct paio_request, in_file);
}

/* Under the lock. */
static void forget_file(struct paio_request *request)
{
    atomic_store_explicit(&request->file, NULL, memory_order_relaxed);
    paio_request_move(request, PAIO_LEFT);
}

/* As paio_order_enter, under the lock, for one whose result is to come. True: it may start. */
static bool line_up(struct paio_request *request, struct paio_file *file, enum paio_lane lane)
{
    bool start = true;

    if (is_sync(request) && lane == PAIO_NO_LANE) {
        start = paio_list_empty(&file->in_flight);
        paio_list_append(start ? &file->syncs : &file->in_flight, &request->in_file);
    } else {
        paio_list_append(&file->in_flight, &request->in_file);
    }
    if (lane != PAIO_NO_LANE) {
        request->lane = &file->lane[lane];
        start = paio_list_empty(request->lane);
        paio_list_append(request->lane, &request->in_lane);
    }
    paio_request_move(request, start ? PAIO_STARTED : PAIO_WAITING);
    return start;
}

enum paio_turn paio_order_enter(struct paio_request *request, struct paio_file *file,
                                enum paio_lane lane)
{
    enum paio_turn turn;

    pthread_mutex_lock(&file->lock);
    if (request->early && !request->carry_on) {
        turn = PAIO_TURN_OVER;
        forget_file(request);
    } else {
        turn = line_up(request, file, lane) ? PAIO_TURN_NOW : PAIO_TURN_LATER;
        if (request->early)
            turn = PAIO_TURN_BACK;
        request->early = false;
    }
    pthread_mutex_unlock(&file->lock);
    if (turn == PAIO_TURN_OVER)
        paio_file_put(file);
    return turn;
}

static void hand_out(struct paio_request *request, struct paio_link *start)
{
    paio_request_move(request, PAIO_STARTED);
    paio_list_append(start, &request->operation.link);
}

/* Starts the barriers that have come to the head. */
static void open_barriers(struct paio_file *file, struct paio_link *start)
{
    while (!paio_list_empty(&file->in_flight)) {
        struct paio_request *head = in_flight_of(file->in_flight.next);

        /* One that is not waiting has been canceled, and is about to leave by itself. */
        if (!is_sync(head) || head->lane || !waits(head))
            return;
        paio_list_remove(&head->in_file);
        paio_list_append(&file->syncs, &head->in_file);
        hand_out(head, start);
    }
}

static void leave_lane(struct paio_request *request, struct paio_link *start)
{
    bool was_head = request->lane->next == &request->in_lane;
    struct paio_request *next;

    paio_list_remove(&request->in_lane);
    if (!was_head || paio_list_empty(request->lane))
        return;
    next = paio_container(request->lane->next, struct paio_request, in_lane);
    if (waits(next))
        hand_out(next, start);
}

/* Not in order yet? Then who puts it there is told. Under the lock. */
static bool is_early(struct paio_request *request)
{
    request->early = is_new(request);
    return request->early;
}

bool paio_order_there(struct paio_request *request)
{
    struct paio_file *file = atomic_load_explicit(&request->file, memory_order_relaxed);
    bool there;

    pthread_mutex_lock(&file->lock);
    there = !is_early(request);
    pthread_mutex_unlock(&file->lock);
    return there;
}

void paio_order_leave(struct paio_request *request, struct paio_link *start)
{
    struct paio_file *file = atomic_load_explicit(&request->file, memory_order_relaxed);

    pthread_mutex_lock(&file->lock);
    if (is_early(request)) {
        pthread_mutex_unlock(&file->lock);
        return;
    }
    paio_list_remove(&request->in_file);
    if (request->lane)
        leave_lane(request, start);
    open_barriers(file, start);
    forget_file(request);
    pthread_mutex_unlock(&file->lock);
    paio_file_put(file);
}

/* What became of an attempt to take a request back. */
enum taking { TAKEN, GOES_ON, TOO_EARLY };

/*
 * Takes one request back under the file's lock, if nothing of it was carried out. A request that
 * waits becomes STARTED, its result to be ECANCELED: it stays on the lists until it leaves, which
 * keeps its place (a barrier behind it opens when it has gone). One that was not in the inbox when that was
 * emptied belongs to a call that has not returned, and that a handler may keep: it goes on. TOO_EARLY: another
 * thread is about to give it to its engine, or to publish that it was canceled.
 */
static enum taking take_back(struct paio_request *request)
{
    struct paio_operation *operation = &request->operation;
    const struct paio_engine *engine = atomic_load(&operation->engine);

    if (waits(request)) {
        paio_request_move(request, PAIO_STARTED);
        return TAKEN;
    }
    if (is_new(request) && request->open)
        return GOES_ON;
    if (!engine || !atomic_load(&operation->arrived))
        return TOO_EARLY;
    if (!engine->cancel(operation))
        return GOES_ON;
    atomic_store(&operation->engine, NULL);
    return TAKEN;
}

/* What came of it for all requests looked at. */
struct tally {
    unsigned left;
    bool too_early;
};

static void cancel_one(struct paio_request *request, struct paio_link *canceled,
                       struct tally *tally)
{
    switch (atomic_load(&request->publication)) {
    case PAIO_PUBLISHED:
        return;
    case PAIO_PUBLISHING:
        tally->too_early = true;
        return;
    case PAIO_UNPUBLISHED:
        break;
    }
    switch (take_back(request)) {
    case TAKEN:
        paio_list_append(canceled, &request->operation.link);
        break;
    case GOES_ON:
        tally->left++;
        break;
    case TOO_EARLY:
        tally->too_early = true;
    }
}

static void cancel_list(struct paio_link *list, int fd, struct paio_link *canceled,
                        struct tally *tally)
{
    for (struct paio_link *l = list->next; l != list; l = l->next)
        if (in_flight_of(l)->operation.fd == fd)
            cancel_one(in_flight_of(l), canceled, tally);
}

bool paio_order_cancel(struct paio_file *file, const struct aiocb *cb, int fd,
                       struct paio_link *canceled, unsigned *left)
{
    struct tally tally = { 0, false };
    struct paio_request *request;

    pthread_mutex_lock(&file->lock);
    if (!cb) {
        cancel_list(&file->in_flight, fd, canceled, &tally);
        cancel_list(&file->syncs, fd, canceled, &tally);
    } else if ((request = paio_request_find(cb)) &&
               atomic_load_explicit(&request->file, memory_order_relaxed) == file) {
        cancel_one(request, canceled, &tally);
    }
    pthread_mutex_unlock(&file->lock);
    *left = tally.left;
    return !tally.too_early;
}

struct paio_operation *paio_order_claim(const struct aiocb *cb)
{
    struct paio_request *request = paio_request_find(cb);
    struct paio_operation *operation = NULL;
    struct paio_file *file = request ? atomic_load_explicit(&request->file, memory_order_relaxed)
                                     : NULL;

    if (!file)
        return NULL;
    pthread_mutex_lock(&file->lock);
    /* What is on the lists of a file stays what it is while the file is locked. */
    if (paio_request_find(cb) == request &&
        atomic_load_explicit(&request->file, memory_order_relaxed) == file) {
        const struct paio_engine *engine = atomic_load(&request->operation.engine);

        if (engine && engine->claim && atomic_load(&request->operation.arrived))
            operation = engine->claim(&request->operation);
    }
    pthread_mutex_unlock(&file->lock);
    return operation;
}
