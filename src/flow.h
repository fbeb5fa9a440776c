/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flows and lines: the queues of the pool. A flow is the queue of one file in one class of work; a
 * line has the flows of a class that have work for a thread, and lets them take turns, so that a file
 * that hangs, or has a thousand requests, stops nobody else.
 *
 * Nothing here takes a lock, wakes or waits: all of it is the pool's, under the pool's lock (p).
 */
#ifndef PAIO_FLOW_H
#define PAIO_FLOW_H

#include "engine.h"

/*
 * Flow. The memory belongs to the file's record, which may come to be another file's while a thread is
 * still busy with it, but never anything else.
 */
struct paio_flow {
    struct paio_link ready;   /* p: in the line; next == NULL: no thread may serve it now */
    struct paio_link queue;   /* p: operations, first come first served */
    struct paio_link aside;   /* p: operations that are awaited; where one is begun at a time, all later than queue's */
    struct paio_link left;    /* p: in the line; next == NULL: nothing is aside */
    unsigned length;          /* p: of queue */
    unsigned busy;            /* p: operations of it that are begun and not completed */
    _Atomic uint32_t running; /* threads that have one, or had it last and will attend again */
};

/*
 * Line: the flows of one class. An operation whose waiter is expected to carry it out itself is not on
 * its flow's queue, where a thread would find it, but set aside; it goes to the queue when the waiter is not
 * expected any more, or, where one of a flow is begun at a time, before another is put there, so that the order is kept.
 */
struct paio_line {
    struct paio_link ready; /* p: flows with work and a share left, in turn */
    struct paio_link left;  /* p: flows with operations that are awaited */
    unsigned share;         /* constant: operations of one flow that may be begun at a time */
    uint8_t tick;           /* p: changes with each tick */
    unsigned queued;        /* p: operations on the queues of its flows */
    unsigned begun;         /* p: operations begun by threads, ever; not those that were claimed */
};

void paio_line_init(struct paio_line *line, unsigned share);

/* Is there nothing that a thread could begin? */
static inline bool paio_line_empty(const struct paio_line *line)
{
    return paio_list_empty(&line->ready);
}

/* Is anything set aside? */
static inline bool paio_line_left(const struct paio_line *line)
{
    return !paio_list_empty(&line->left);
}

/* Is anything set aside that is left to that thread? Yes too, where there is so much that it takes long to find out. */
bool paio_line_left_to(const struct paio_line *line, pthread_t thread);

/* For a flow's memory, when it is made. */
void paio_flow_init(struct paio_flow *flow);

/* Puts an operation at the end of its flow, or sets it aside if it is awaited. */
void paio_line_put(struct paio_line *line, struct paio_operation *operation);

/* Puts all that are set aside onto the queues of their flows. */
void paio_line_expose(struct paio_line *line);

/* A tick: the same for those that were there at the last one. */
void paio_line_tick(struct paio_line *line);

/*
 * Begins an operation that is set aside; where one of a flow is begun at a time, in their order, the first of its
 * flow that is, else the first that is left to the same thread, if it is soon found. NULL: it is not set aside, or a
 * thread has, or will have, others of the flow; then paio_line_expose is due.
 */
struct paio_operation *paio_line_claim(struct paio_line *line, struct paio_operation *operation);

/*
 * The operation of the flow that is set aside and that the thread is to begin next: the first where one is begun at a time,
 * else the first that is left to it. NULL: there is none, or it is not soon found.
 */
struct paio_operation *paio_flow_left_to(const struct paio_line *line, const struct paio_flow *flow, pthread_t thread);

/* The next operation, if one flow alone has any that a thread could begin, or NULL. */
struct paio_operation *paio_line_alone(const struct paio_line *line);

/* Begins the next operation of the flow whose turn it is, or NULL. The flow goes to the end. */
struct paio_operation *paio_line_begin(struct paio_line *line);

/* Takes an operation that is not begun off the line. */
void paio_line_remove(struct paio_line *line, struct paio_operation *operation);

/* An operation of the flow that was begun is completed. */
void paio_line_completed(struct paio_line *line, struct paio_flow *flow);

/* The operation at the head of the flow, which has one. */
struct paio_operation *paio_flow_first(const struct paio_flow *flow);

#endif
