/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads of the pool: how they start, sleep, serve and end, and what is told of them from outside.
 */
#include "pool.h"

#include "file.h"
#include "memory.h"
#include "thread.h"
#include "transfer.h"

static __thread struct paio_worker *self __attribute__((tls_model("initial-exec")));

struct paio_worker *paio_worker_self(void)
{
    return self;
}

bool paio_worker_count_for(struct paio_worker *worker, struct paio_flow *flow)
{
    struct paio_flow *before = worker->flow;

    if (before == flow)
        return false;
    if (flow)
        atomic_fetch_add(&flow->running, 1);
    worker->flow = flow;
    if (before)
        atomic_fetch_sub(&before->running, 1);
    return before != NULL;
}

/*
 * The doorman is rung for what the pool does not know yet: a submitter has put a write where
 * `attend` finds it, without a lock. Whoever takes the doorman's name away, and it may be the
 * doorman itself, is followed by its looking at what was put there before: so nothing is
 * overlooked.
 */
bool paio_pool_ring(void)
{
    struct paio_worker *doorman = atomic_exchange(&paio_pool.doorman, NULL);

    if (!doorman)
        return false;
    atomic_store(&doorman->awake, 1);
    paio_futex_wake(&doorman->awake, 1);
    return true;
}

bool paio_pool_attended(void)
{
    return atomic_load_explicit(&paio_pool.doorman, memory_order_relaxed);
}

/* Sleeps until awake or until then: false. */
static bool sleep_until(const struct timespec *then)
{
    bool of_writes = self->class == PAIO_CLASS_WRITE;
    struct paio_worker *none = NULL, *me = self;
    int error = 0;

    if (of_writes)
        atomic_compare_exchange_strong(&paio_pool.doorman, &none, me);
    paio_pool.attend(true);
    while (!atomic_load(&self->awake) && error != -ETIMEDOUT)
        error = paio_futex_wait(&self->awake, 0, then);
    if (of_writes) {
        atomic_compare_exchange_strong(&paio_pool.doorman, &me, NULL);
        paio_pool.attend(false);
    }
    return error != -ETIMEDOUT;
}

/* Without work. False: neither was given any, nor rung, nor asked for, for idle_seconds. Under the lock. */
static bool rest(void)
{
    enum paio_class class = self->class;
    struct timespec then;
    bool in_time;

    clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_sec += paio_pool.idle_seconds;
    paio_worker_count_for(self, NULL);
    atomic_store(&self->awake, 0);
    paio_list_push(&paio_pool.class[class].idle, &self->link);
    paio_pool.class[class].working--;
    pthread_mutex_unlock(&paio_pool.lock);
    in_time = sleep_until(&then);
    pthread_mutex_lock(&paio_pool.lock);
    if (self->link.next) {
        paio_list_remove(&self->link);
        paio_pool.class[class].working++;
        paio_pool_begin(self);
    }
    if (in_time || self->given)
        return true;
    /* Somebody has been told that there is a thread, and may not have submitted yet. */
    in_time = paio_pool.class[class].asked;
    paio_pool.class[class].asked = false;
    return in_time;
}

/* The worker is back, or late. Under the lock. */
static void discount(struct paio_worker *worker)
{
    if (atomic_exchange(&worker->way, PAIO_NOT_COUNTED) != PAIO_NOT_COUNTED)
        atomic_fetch_sub(&paio_pool.class[worker->class].returning, 1);
}

/* Performs what was given, completes it, and begins the next if there is one. Under the lock. */
static void serve(void)
{
    struct paio_operation *operation = self->given;
    struct paio_flow *flow = operation->flow;
    bool sync = self->class == PAIO_CLASS_SYNC;
    struct paio_wakeups wakeups = { .count = 0 };
    uint64_t began, took;
    ssize_t result;

    paio_pool_spread(self->class, &wakeups);
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
    began = sync ? paio_now() : 0;
    result = paio_transfer(operation);
    took = sync ? paio_now() - began : 0;
    atomic_store_explicit(&self->fd, -1, memory_order_release);
    /* Before anybody has the result, and submits again. */
    atomic_fetch_add(&paio_pool.class[self->class].returning, 1);
    atomic_store(&self->way, PAIO_RETURNING);
    operation->complete(operation, result);
    paio_pool.attend(false);
    pthread_mutex_lock(&paio_pool.lock);
    discount(self);
    if (sync)
        paio_pool_note_sync(took);
    /* Only now may another thread begin the next one, and complete it. */
    paio_line_completed(&paio_pool.class[self->class].line, flow);
    if (paio_pool_begin(self)) {
        pthread_mutex_unlock(&paio_pool.lock);
        paio_pool.attend(true);
        pthread_mutex_lock(&paio_pool.lock);
    }
}

/* Under the lock. */
static void end(void)
{
    paio_pool.class[self->class].threads--;
    paio_pool.class[self->class].working--;
    paio_list_remove(&self->all);
    paio_worker_dismiss(self);
}

static void *work(void *argument)
{
    self = argument;
    atomic_store_explicit(&self->thread, (pid_t) syscall(SYS_gettid), memory_order_relaxed);
    pthread_setname_np(pthread_self(), paio_pool_classes[self->class].name);
    pthread_mutex_lock(&paio_pool.lock);
    if (self->link.next) {
        paio_list_remove(&self->link);
        paio_pool.class[self->class].working++;
        paio_pool_begin(self);
    }
    do
        while (self->given)
            serve();
    while (rest());
    end();
    pthread_mutex_unlock(&paio_pool.lock);
    return NULL;
}

struct paio_worker *paio_worker_recruit(enum paio_class class)
{
    struct paio_link *link = paio_list_pop(&paio_pool.spare);
    struct paio_worker *worker = link ? paio_container(link, struct paio_worker, link)
                                      : paio_memory_permanent(sizeof *worker);

    if (!worker)
        return NULL;
    worker->class = class;
    worker->given = NULL;
    worker->flow = NULL;
    worker->followed = 0;
    atomic_store_explicit(&worker->thread, 0, memory_order_relaxed);
    atomic_store_explicit(&worker->fd, -1, memory_order_relaxed);
    atomic_store_explicit(&worker->way, PAIO_NOT_COUNTED, memory_order_relaxed);
    return worker;
}

void paio_worker_dismiss(struct paio_worker *worker)
{
    paio_list_append(&paio_pool.spare, &worker->link);
}

bool paio_worker_start(enum paio_class class)
{
    unsigned most = paio_pool.most ? paio_pool.most : paio_pool_classes[class].most;
    struct paio_worker *worker = NULL;

    if (paio_pool.class[class].threads < most)
        worker = paio_worker_recruit(class);
    if (!worker)
        return false;
    if (paio_thread_start(work, worker, true) < 0) {
        paio_worker_dismiss(worker);
        return false;
    }
    paio_list_append(&paio_pool.workers, &worker->all);
    paio_list_append(&paio_pool.class[class].idle, &worker->link);
    paio_pool.class[class].threads++;
    return true;
}

void paio_worker_look_for_late(void)
{
    for (unsigned c = 0; c < PAIO_CLASSES; c++)
        atomic_store_explicit(&paio_pool.class[c].late, 0, memory_order_relaxed);
    for (struct paio_link *l = paio_pool.workers.next; l != &paio_pool.workers; l = l->next) {
        struct paio_worker *each = paio_container(l, struct paio_worker, all);
        enum paio_returning way = PAIO_RETURNING;

        if (!atomic_compare_exchange_strong(&each->way, &way, PAIO_SEEN_RETURNING) &&
            way == PAIO_SEEN_RETURNING)
            discount(each);
        if (each->given && each->seen)
            atomic_fetch_add_explicit(&paio_pool.class[each->class].late, 1, memory_order_relaxed);
        each->seen = true;
    }
}

/* Has every operation begun on fd entered the system call that uses it? */
static enum paio_entry transfers_entered(int fd)
{
    enum paio_entry entry = PAIO_INSIDE;

    pthread_mutex_lock(&paio_pool.lock);
    for (struct paio_link *l = paio_pool.workers.next;
         l != &paio_pool.workers && entry == PAIO_INSIDE; l = l->next) {
        const struct paio_worker *each = paio_container(l, struct paio_worker, all);
        pid_t thread = atomic_load_explicit(&each->thread, memory_order_relaxed);

        if (atomic_load_explicit(&each->fd, memory_order_acquire) == fd)
            entry = thread ? paio_transfer_entered(thread, fd) : PAIO_OUTSIDE;
    }
    pthread_mutex_unlock(&paio_pool.lock);
    return entry;
}

void paio_pool_wait_transfers(int fd)
{
    const struct timespec pause = { .tv_nsec = 50000 };
    enum paio_entry entry;

    /* Without /proc, or a descriptor to read it by, a thread is given 10 ms, or more, to enter. */
    for (unsigned i = 0; (entry = transfers_entered(fd)) != PAIO_INSIDE; i++) {
        if (entry == PAIO_UNKNOWN && i >= 200)
            return;
        nanosleep(&pause, NULL);
    }
}
