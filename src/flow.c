/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flows taking turns: see flow.h. */
#include "flow.h"

enum { LOOKS = 16 };

void paio_line_init(struct paio_line *line, unsigned share)
{
    paio_list_init(&line->ready);
    paio_list_init(&line->left);
    line->share = share;
    line->queued = line->begun = 0;
    line->tick = 0;
}

void paio_flow_init(struct paio_flow *flow)
{
    paio_list_init(&flow->queue);
    paio_list_init(&flow->aside);
}

static void offer(struct paio_line *line, struct paio_flow *flow)
{
    if (!flow->ready.next && flow->length && flow->busy < line->share)
        paio_list_append(&line->ready, &flow->ready);
}

static struct paio_operation *operation_of(struct paio_link *link)
{
    return paio_container(link, struct paio_operation, link);
}

struct paio_operation *paio_flow_first(const struct paio_flow *flow)
{
    return operation_of(flow->queue.next);
}

static void append(struct paio_line *line, struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    atomic_store_explicit(&operation->awaited, false, memory_order_relaxed);
    paio_list_append(&flow->queue, &operation->link);
    flow->length++;
    line->queued++;
    offer(line, flow);
}

static void set_aside(struct paio_line *line, struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    operation->left_at = line->tick;
    paio_list_append(&flow->aside, &operation->link);
    if (!flow->left.next)
        paio_list_append(&line->left, &flow->left);
}

static void take_from_aside(struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    atomic_store_explicit(&operation->awaited, false, memory_order_relaxed);
    paio_list_remove(&operation->link);
    if (paio_list_empty(&flow->aside))
        paio_list_remove(&flow->left);
}

static struct paio_operation *first_aside(const struct paio_flow *flow)
{
    return paio_list_empty(&flow->aside) ? NULL : operation_of(flow->aside.next);
}

/* The first that is left to the thread, or NULL, also if that takes long to find. */
static struct paio_operation *first_left_to(const struct paio_flow *flow, pthread_t thread)
{
    unsigned looks = 0;

    for (struct paio_link *l = flow->aside.next; l != &flow->aside && looks < LOOKS; l = l->next, looks++)
        if (pthread_equal(operation_of(l)->waiter, thread))
            return operation_of(l);
    return NULL;
}

struct paio_operation *paio_flow_left_to(const struct paio_line *line, const struct paio_flow *flow, pthread_t thread)
{
    return line->share == 1 ? first_aside(flow) : first_left_to(flow, thread);
}

bool paio_line_left_to(const struct paio_line *line, pthread_t thread)
{
    unsigned looks = 0;

    for (const struct paio_link *l = line->left.next; l != &line->left; l = l->next) {
        const struct paio_flow *flow = paio_container(l, struct paio_flow, left);

        for (struct paio_link *o = flow->aside.next; o != &flow->aside; o = o->next)
            if (pthread_equal(operation_of(o)->waiter, thread) || ++looks == LOOKS)
                return true;
    }
    return false;
}

static void expose_one(struct paio_line *line, struct paio_operation *operation)
{
    take_from_aside(operation);
    atomic_store_explicit(&operation->exposed, true, memory_order_relaxed);
    append(line, operation);
}

static void expose(struct paio_line *line, struct paio_flow *flow)
{
    struct paio_operation *each;

    while ((each = first_aside(flow)))
        expose_one(line, each);
}

void paio_line_expose(struct paio_line *line)
{
    while (paio_line_left(line))
        expose(line, paio_container(line->left.next, struct paio_flow, left));
}

void paio_line_tick(struct paio_line *line)
{
    struct paio_link *l, *next;
    struct paio_operation *each;

    for (l = line->left.next; l != &line->left; l = next) {
        const struct paio_flow *flow = paio_container(l, struct paio_flow, left);

        next = l->next;
        while ((each = first_aside(flow)) && each->left_at != line->tick)
            expose_one(line, each);
    }
    line->tick++;
}

void paio_line_put(struct paio_line *line, struct paio_operation *operation)
{
    if (operation->awaited) {
        set_aside(line, operation);
    } else {
        if (line->share == 1)
            expose(line, operation->flow);
        append(line, operation);
    }
}

struct paio_operation *paio_line_claim(struct paio_line *line, struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    struct paio_operation *first;

    if (!operation->awaited || flow->busy >= line->share || (line->share == 1 && flow->length))
        return NULL;
    first = paio_flow_left_to(line, flow, operation->waiter);
    if (first)
        operation = first;
    take_from_aside(operation);
    flow->busy++;
    if (flow->busy == line->share && flow->ready.next)
        paio_list_remove(&flow->ready);
    return operation;
}

static void take_off(struct paio_line *line, struct paio_operation *operation)
{
    paio_list_remove(&operation->link);
    operation->flow->length--;
    line->queued--;
}

struct paio_operation *paio_line_alone(const struct paio_line *line)
{
    if (paio_line_empty(line) || line->ready.next != line->ready.prev)
        return NULL;
    return paio_flow_first(paio_container(line->ready.next, struct paio_flow, ready));
}

struct paio_operation *paio_line_begin(struct paio_line *line)
{
    struct paio_link *link = paio_list_pop(&line->ready);
    struct paio_operation *operation;
    struct paio_flow *flow;

    if (!link)
        return NULL;
    flow = paio_container(link, struct paio_flow, ready);
    operation = paio_flow_first(flow);
    take_off(line, operation);
    flow->busy++;
    line->begun++;
    offer(line, flow);
    return operation;
}

void paio_line_remove(struct paio_line *line, struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    if (operation->awaited) {
        take_from_aside(operation);
        return;
    }
    take_off(line, operation);
    if (!flow->length && flow->ready.next)
        paio_list_remove(&flow->ready);
}

void paio_line_completed(struct paio_line *line, struct paio_flow *flow)
{
    flow->busy--;
    offer(line, flow);
}
