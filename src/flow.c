/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flows taking turns: see flow.h. */
#include "flow.h"

void paio_line_init(struct paio_line *line, unsigned share)
{
    paio_list_init(&line->ready);
    line->share = share;
    line->queued = line->begun = 0;
}

static void offer(struct paio_line *line, struct paio_flow *flow)
{
    if (!flow->ready.next && flow->length && flow->busy < line->share)
        paio_list_append(&line->ready, &flow->ready);
}

struct paio_operation *paio_flow_first(const struct paio_flow *flow)
{
    return paio_container(flow->queue.next, struct paio_operation, link);
}

void paio_line_put(struct paio_line *line, struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;

    paio_list_append(&flow->queue, &operation->link);
    flow->length++;
    line->queued++;
    offer(line, flow);
}

static void take_off(struct paio_line *line, struct paio_operation *operation)
{
    paio_list_remove(&operation->link);
    operation->flow->length--;
    line->queued--;
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

    take_off(line, operation);
    if (!flow->length && flow->ready.next)
        paio_list_remove(&flow->ready);
}

void paio_line_completed(struct paio_line *line, struct paio_flow *flow)
{
    flow->busy--;
    offer(line, flow);
}
