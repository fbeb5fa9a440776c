/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The backlog: operations that wait for room in the kernel. They know their descriptor by its number only, so
 * what has become of that is looked at again on the way in; and whoever closes it waits for those that are between
 * this look and the kernel.
 *
 * Locks: backlog.lock (k) guards it. It is a leaf; not held across io_submit.
 */
#include "backlog.h"

#include "engine_kernel.h"
#include "file.h"
#include "limit.h"

static struct {
    pthread_mutex_t lock;
    struct paio_link queue;    /* k: operations that wait for room */
    struct paio_link entering; /* k: loads on their way from there into the kernel */
    _Atomic uint32_t length;   /* k to write: of queue */
} backlog = { .lock = PTHREAD_MUTEX_INITIALIZER };

void paio_backlog_reset(void)
{
    pthread_mutex_init(&backlog.lock, NULL);
    paio_list_init(&backlog.queue);
    paio_list_init(&backlog.entering);
    atomic_store(&backlog.length, 0);
}

bool paio_backlog_empty(void)
{
    return !atomic_load(&backlog.length);
}

void paio_backlog_put(struct paio_operation **operations, unsigned count)
{
    pthread_mutex_lock(&backlog.lock);
    for (unsigned i = 0; i < count; i++) {
        atomic_store(&operations[i]->queued, &paio_engine_kernel);
        atomic_store(&operations[i]->arrived, true);
        paio_list_append(&backlog.queue, &operations[i]->link);
    }
    atomic_fetch_add(&backlog.length, count);
    pthread_mutex_unlock(&backlog.lock);
}

/*
 * Completes those whose descriptor has come to mean another file, and returns how many are left.
 * One look is for all that follow each other and say the same: they go to the kernel together.
 */
static unsigned drop_changed(struct paio_operation **operations, unsigned count)
{
    const struct paio_operation *last = NULL;
    unsigned kept = 0;

    for (unsigned i = 0; i < count; i++) {
        bool again = last && last->fd == operations[i]->fd &&
                     paio_identity_equal(&last->identity, &operations[i]->identity);

        if (again || paio_identity_holds(operations[i]->fd, &operations[i]->identity)) {
            last = operations[i];
            operations[kept++] = operations[i];
        } else {
            paio_kernel_give_back_room(1);
            operations[i]->complete(operations[i], paio_descriptor_lost(operations[i]->fd));
        }
    }
    return kept;
}

/*
 * Leaves to the pool, whose threads block SIGXFSZ, the writes that lie beyond a limit set since they were
 * submitted, and returns how many other operations there are.
 */
static unsigned leave_beyond_limit(struct paio_operation **operations, unsigned count)
{
    rlim_t limit = paio_limit();
    unsigned kept = 0;

    if (limit == RLIM_INFINITY)
        return count;
    for (unsigned i = 0; i < count; i++) {
        struct paio_operation *o = operations[i];

        if (o->code == PAIO_WRITE && (rlim_t) o->offset + o->length > limit) {
            paio_kernel_give_back_room(1);
            o->complete(o, -EAGAIN);
        } else {
            operations[kept++] = o;
        }
    }
    return kept;
}

/* A load on its way into the kernel, on its thread's stack: the descriptors it will name. */
struct load {
    struct paio_link link; /* k: entering */
    unsigned count;
    int fds[PAIO_KERNEL_BATCH];
};

void paio_backlog_wait_entering(int fd)
{
    const struct timespec pause = { .tv_nsec = 20000 };
    bool entering;

    do {
        entering = false;
        pthread_mutex_lock(&backlog.lock);
        for (struct paio_link *l = backlog.entering.next; l != &backlog.entering; l = l->next) {
            const struct load *load = paio_container(l, struct load, link);

            for (unsigned i = 0; i < load->count; i++)
                entering = entering || load->fds[i] == fd;
        }
        pthread_mutex_unlock(&backlog.lock);
        if (entering)
            nanosleep(&pause, NULL);
    } while (entering);
}

void paio_backlog_refill(void)
{
    struct paio_operation *these[PAIO_KERNEL_BATCH];
    struct load load;

    while (!paio_backlog_empty()) {
        unsigned room = paio_kernel_take_room(PAIO_KERNEL_BATCH), count = 0, refused;
        struct paio_link *link;

        if (!room)
            return;
        pthread_mutex_lock(&backlog.lock);
        while (count < room && (link = paio_list_pop(&backlog.queue))) {
            these[count] = paio_container(link, struct paio_operation, link);
            atomic_store(&these[count]->queued, NULL);
            load.fds[count] = these[count]->fd;
            count++;
            atomic_fetch_sub(&backlog.length, 1);
        }
        load.count = count;
        paio_list_append(&backlog.entering, &load.link);
        pthread_mutex_unlock(&backlog.lock);
        paio_kernel_give_back_room(room - count);
        count = leave_beyond_limit(these, drop_changed(these, count));
        refused = paio_kernel_push(these, count);
        pthread_mutex_lock(&backlog.lock);
        paio_list_remove(&load.link);
        pthread_mutex_unlock(&backlog.lock);
        for (unsigned i = 0; i < refused; i++)
            these[i]->complete(these[i], -EAGAIN);
    }
}

bool paio_backlog_cancel(struct paio_operation *operation)
{
    bool canceled;

    pthread_mutex_lock(&backlog.lock);
    /* It may be on the pool's queue by now, with the pool's lock held or not. */
    canceled = atomic_load(&operation->queued) == &paio_engine_kernel;
    if (canceled) {
        atomic_store(&operation->queued, NULL);
        paio_list_remove(&operation->link);
        atomic_fetch_sub(&backlog.length, 1);
    }
    pthread_mutex_unlock(&backlog.lock);
    return canceled;
}
