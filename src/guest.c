/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests of the pool: a thread that waits for an operation carries it out itself. From claim to the end of perform
 * it is one of the pool's workers, so that order, cancel and close find it there.
 */
#include "pool.h"

#include "limit.h"
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

/* The guest begins an operation. Under the lock. */
static void take_up(struct paio_operation *operation)
{
    atomic_store_explicit(&guest->fd, operation->fd, memory_order_relaxed);
    atomic_store(&operation->queued, NULL);
    if (guest->class == PAIO_CLASS_READ)
        paio_pool_note_read();
    operation->by_waiter = true;
    operation->followed = false;
}

/*
 * The guest comes among the workers. It is at work on a flow of writes, where it is the only one, and will attend; but others'
 * reads are not to wait for that. Under the lock.
 */
static void come_in(struct paio_flow *flow)
{
    atomic_store_explicit(&guest->thread, thread_number(), memory_order_relaxed);
    paio_list_append(&paio_pool.workers, &guest->all);
    paio_pool.class[guest->class].guests++;
    paio_worker_count_for(guest, guest->class == PAIO_CLASS_WRITE ? flow : NULL);
}

/* Under the lock. */
static void go_out(void)
{
    paio_pool.class[guest->class].guests--;
    paio_list_remove(&guest->all);
    paio_worker_dismiss(guest);
    paio_worker_count_for(guest, NULL);
}

struct paio_operation *paio_guest_claim(struct paio_operation *operation)
{
    enum paio_class class = operation->class;
    struct paio_line *line = &paio_pool.class[class].line;
    struct paio_wakeups wakeups = { .count = 0 };
    struct paio_operation *claimed = NULL;

    pthread_mutex_lock(&paio_pool.lock);
    guest = NULL;
    if (atomic_load(&operation->queued) == &paio_engine_pool)
        guest = paio_worker_recruit(class);
    if (guest)
        claimed = paio_line_claim(line, operation);
    if (claimed) {
        come_in(claimed->flow);
        take_up(claimed);
    } else {
        if (guest)
            paio_worker_dismiss(guest);
        paio_pool_expose_class(class, &wakeups);
    }
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
    return claimed;
}

/* May the write have met RLIMIT_FSIZE? Without one no signal has been raised, and one that is pending stays. */
static bool met_limit(const struct paio_operation *operation, ssize_t result)
{
    return operation->code == PAIO_WRITE && result < (ssize_t) operation->length &&
           paio_limit() != RLIM_INFINITY;
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

static void carry_out(struct paio_operation *operation)
{
    ssize_t result = paio_transfer(operation);

    atomic_store_explicit(&guest->fd, -1, memory_order_release);
    if (met_limit(operation, result))
        forget_signal();
    operation->complete(operation, result);
}

bool paio_guest_perform(struct paio_operation *operation,
                        bool (*go_on)(const struct paio_operation *next, void *wait), void *wait)
{
    enum paio_class class = operation->class;
    struct paio_line *line = &paio_pool.class[class].line;
    struct paio_flow *flow = operation->flow;
    struct paio_wakeups wakeups = { .count = 0 };
    bool more;

    for (;;) {
        carry_out(operation);
        pthread_mutex_lock(&paio_pool.lock);
        paio_line_completed(line, flow);
        operation = paio_flow_left_to(line, flow, pthread_self());
        if (operation)
            operation = go_on(operation, wait) ? paio_line_claim(line, operation) : NULL;
        if (!operation)
            break;
        take_up(operation);
        pthread_mutex_unlock(&paio_pool.lock);
    }
    go_out();
    paio_pool_hand_over(class, &wakeups);
    more = paio_pool_has_left(pthread_self());
    pthread_mutex_unlock(&paio_pool.lock);
    paio_pool_wake(&wakeups);
    /* It is at work on the flow no more: whoever counted on it has put before what is found now. */
    paio_pool.attend(true);
    return more;
}
