/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests of the pool: a thread that waits for an operation carries it out itself. Between claim and perform
 * it is one of the pool's workers, for this one operation, so that order, cancel and close find it there.
 */
#include "pool.h"

#include "process.h"
#include "transfer.h"

/* The record of a thread that carries out what it has waited for, from claim to perform. */
static __thread struct paio_worker *guest __attribute__((tls_model("initial-exec")));

/*
 * The number of the calling thread; asked for once, and again in a forked child, whose only thread has
 * its parent's memory of it.
 */
static pid_t thread_number(void)
{
    static __thread pid_t number __attribute__((tls_model("initial-exec")));
    static __thread pid_t owner __attribute__((tls_model("initial-exec")));

    if (owner != paio_settings.owner) {
        number = (pid_t) syscall(SYS_gettid);
        owner = paio_settings.owner;
    }
    return number;
}

/* The calling thread comes among the workers for one operation. Under the lock. */
static void come_in(struct paio_worker *worker, struct paio_operation *operation)
{
    atomic_store_explicit(&worker->thread, thread_number(), memory_order_relaxed);
    atomic_store_explicit(&worker->fd, operation->fd, memory_order_relaxed);
    atomic_store(&operation->queued, NULL);
    operation->by_waiter = true;
    operation->followed = false;
    paio_list_append(&paio_pool.workers, &worker->all);
    paio_pool.class[worker->class].guests++;
    paio_worker_count_for(worker, operation->flow);
}

/* Under the lock. */
static void go_out(struct paio_worker *worker)
{
    paio_pool.class[worker->class].guests--;
    paio_list_remove(&worker->all);
    paio_worker_dismiss(worker);
    paio_worker_count_for(worker, NULL);
}

bool paio_guest_claim(struct paio_operation *operation)
{
    struct paio_line *line = &paio_pool.class[operation->class].line;
    struct paio_wakeups wakeups = { .count = 0 };

    pthread_mutex_lock(&paio_pool.lock);
    guest = NULL;
    if (atomic_load(&operation->queued) == &paio_engine_pool)
        guest = paio_worker_recruit(operation->class);
    if (guest && paio_line_claim(line, operation)) {
        come_in(guest, operation);
    } else {
        if (guest)
            paio_worker_dismiss(guest);
        guest = NULL;
        paio_line_expose(line);
        paio_pool_hand_over(operation->class, &wakeups);
    }
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
    return guest;
}

/* May the write have met RLIMIT_FSIZE? Without one no signal has been raised, and one that is pending stays. */
static bool met_limit(const struct paio_operation *operation, ssize_t result)
{
    return operation->code == PAIO_WRITE && result < (ssize_t) operation->length &&
           paio_transfer_limit() != RLIM_INFINITY;
}

/*
 * A write beyond RLIMIT_FSIZE has raised SIGXFSZ, which is none of the caller's: it is blocked, and
 * taken back.
 */
static void forget_signal(void)
{
    const struct timespec now = { 0, 0 };
    int saved = errno;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    sigtimedwait(&set, NULL, &now);
    errno = saved;
}

void paio_guest_perform(struct paio_operation *operation)
{
    enum paio_class class = operation->class;
    struct paio_flow *flow = operation->flow;
    struct paio_wakeups wakeups = { .count = 0 };
    ssize_t result = paio_transfer(operation);

    atomic_store_explicit(&guest->fd, -1, memory_order_release);
    if (met_limit(operation, result))
        forget_signal();
    operation->complete(operation, result);
    pthread_mutex_lock(&paio_pool.lock);
    paio_line_completed(&paio_pool.class[class].line, flow);
    go_out(guest);
    paio_pool_hand_over(class, &wakeups);
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
    /* It is at work on the flow no more: whoever counted on it has put before what is found now. */
    paio_pool.attend(true);
}
