/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flows taking turns: see flow.h. */
#include "flow.h"

void paio_line_init(struct paio_line *line, unsigned share)
{
    paio_list_init(&line->ready);
    paio_list_init(&line->aside);
    line->share = share;
    line->queued = line->begun = 0;
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

    operation->awaited = false;
    paio_list_append(&flow->queue, &operation->link);
    flow->length++;
    line->queued++;
    offer(line, flow);
}

/* Puts those that are set aside onto their flows: those of one flow, or with NULL all. */
static void expose(struct paio_line *line, const struct paio_flow *flow)
{
    struct paio_link *next;

    for (struct paio_link *l = line->aside.next; l != &line->aside; l = next) {
        next = l->next;
        if (flow && operation_of(l)->flow != flow)
            continue;
        paio_list_remove(l);
        append(line, operation_of(l));
    }
}

void paio_line_expose(struct paio_line *line)
{
    expose(line, NULL);
}

void paio_line_put(struct paio_line *line, struct paio_operation *operation)
{
    if (operation->awaited) {
        paio_list_append(&line->aside, &operation->link);
        return;
    }
    expose(line, operation->flow);
    append(line, operation);
}

/* Where one operation of a flow is begun at a time, they are begun in their order. */
static bool others_first(const struct paio_line *line, const struct paio_operation *operation)
{
    const struct paio_flow *flow = operation->flow;
    struct paio_link *l;

    if (line->share > 1)
        return false;
    for (l = line->aside.next; operation_of(l) != operation; l = l->next)
        if (operation_of(l)->flow == flow)
            return true;
    return flow->length;
}

bool paio_line_claim(struct paio_line *line, struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    if (!operation->awaited || flow->busy >= line->share || others_first(line, operation))
        return false;
    paio_list_remove(&operation->link);
    operation->awaited = false;
    flow->busy++;
    if (flow->busy == line->share && flow->ready.next)
        paio_list_remove(&flow->ready);
    return true;
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
        paio_list_remove(&operation->link);
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
