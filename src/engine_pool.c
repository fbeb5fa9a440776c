/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool: threads that do what would block the caller. Work comes in classes, each with
 * threads of its own; within a class the files take turns (flow.h).
 *
 * A class starts with a few threads (see `classes`), gets one more whenever a tick passes in
 * which work was queued and none begun, and loses those that were idle for idle_seconds.
 *
 * Locks: pool.lock (p) guards everything. Only the lock of paio_permanent is taken under it.
 */
#include "engine_pool.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "file.h"
#include "process.h"
#include "transfer.h"

/*
 * One thread writes best to one file, whose inode lock a second would only wait for, and keeps
 * the order of submission, which some programs have grown to rely on; syncs batch in the journal (4: 15.9k,
 * 16: 30.1k).
 *
 * The reads of a file come when the device has begun with them. Where they follow each other fast, one thread
 * that waits for the oldest finds the next there, and to wake a second costs more than it gains. Where there
 * is LEISURE, and the device may do them in another order, as many as may work on the file are good for it.
 */
static const struct {
    const char *name;
    unsigned base;  /* threads started without waiting for a stall */
    unsigned most;  /* threads in all */
    unsigned share; /* threads at work on one file */
} classes[PAIO_CLASSES] = {
    [PAIO_CLASS_READ] = { "posix-aio/read", 2, 256, 8 },
    [PAIO_CLASS_WRITE] = { "posix-aio/write", 2, 256, 1 },
    [PAIO_CLASS_SYNC] = { "posix-aio/sync", 16, 256, 16 },
    [PAIO_CLASS_STREAM] = { "posix-aio/strm", 1, 256, 1 },
};

/*
 * Small writes of a file follow each other so closely that to wake a waiter for each would cost
 * more than the write: one wakeup is for up to TOGETHER of them, if the next is no longer than
 * SHORT, and for half of those that are queued: the waiter is to have them back in time.
 */
enum { STACK = 256 * 1024, TOGETHER = 16, SHORT = 65536, WAKEUPS = 16 };

/*
 * Nanoseconds from one read to the next, on the average of some LATEST, in which there is time to wake a
 * thread for each; and the most that a pause counts for.
 */
enum { LEISURE = 40000, PAUSE = 1000000, LATEST = 16 };

/*
 * Worker: the record of one thread. The memory is used again for other threads and never given
 * back, for whoever rings the doorman or wakes a sleeper does so without a lock, late perhaps.
 *
 * A worker without work sleeps on `awake`. Whoever has work for it takes it off `idle`, gives it
 * the operation, which is begun from then on, and wakes it; a thread that is only starting is
 * given work in the same way. Wakeups may come that bring nothing: everybody looks again.
 *
 * A worker that completes an operation is on its way back, and will look for the next: as many
 * operations as such workers are counted in `returning` are left to them. `way` says whether it is one
 * of those, and whether a tick has seen it so: at the next tick it is late, and not counted any more.
 */
enum way { NOT_COUNTED, RETURNING, SEEN_RETURNING };

struct worker {
    struct paio_link all;         /* p: workers */
    struct paio_link link;        /* p: idle, or spare; next == NULL: neither */
    struct paio_operation *given; /* p: begun on its behalf */
    struct paio_flow *flow;       /* p: the one it counts for in `running`, or NULL */
    unsigned followed;            /* p: operations followed by another, since one that was not */
    enum paio_class class;        /* constant while the thread lives */
    _Atomic pid_t thread;         /* its number once it runs, 0 before */
    _Atomic int fd;               /* of the operation begun and not yet performed, or -1 */
    _Atomic(enum way) way;        /* from NOT_COUNTED by the worker itself, else p */
    _Atomic uint32_t awake;
};

static struct {
    pthread_mutex_t lock;
    struct {
        struct paio_line line;        /* p: what is queued */
        struct paio_link idle;        /* p: workers that were given nothing, the latest first */
        unsigned threads;             /* p */
        unsigned working;             /* p: threads that are not idle */
        unsigned begun_before;        /* p: operations begun at the last tick */
        _Atomic unsigned returning;   /* workers by their `way`; p to count down */
    } class[PAIO_CLASSES];
    uint64_t read_begun;              /* p: time at which the latest read was begun */
    _Atomic uint32_t read_interval;   /* p to write: from one to the next, on the average */
    struct paio_link workers;         /* p: all of them */
    struct paio_link spare;           /* p: records without a thread */
    unsigned most;                    /* p: aio_init's limit, 0 for none */
    unsigned idle_seconds;            /* p */
    void (*attend)(bool leaving);     /* constant once started */
    _Atomic(struct worker *) doorman; /* an idle worker of the class of writes, to be rung */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread struct worker *self __attribute__((tls_model("initial-exec")));

/* The record of a thread that carries out what it has waited for, from claim to perform. */
static __thread struct worker *guest __attribute__((tls_model("initial-exec")));

void paio_pool_reset(void (*attend)(bool leaving))
{
    pthread_mutex_init(&pool.lock, NULL);
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        paio_line_init(&pool.class[c].line, classes[c].share);
        paio_list_init(&pool.class[c].idle);
        pool.class[c].threads = pool.class[c].working = 0;
        atomic_store(&pool.class[c].returning, 0);
    }
    paio_list_init(&pool.workers);
    paio_list_init(&pool.spare);
    atomic_store(&pool.doorman, NULL);
    pool.attend = attend;
    if (!pool.idle_seconds)
        pool.idle_seconds = 1;
}

void paio_pool_configure(unsigned threads, unsigned idle_seconds)
{
    pthread_mutex_lock(&pool.lock);
    if (threads)
        pool.most = threads;
    if (idle_seconds)
        pool.idle_seconds = idle_seconds;
    pthread_mutex_unlock(&pool.lock);
}

/* From now on the worker counts as running for flow, or for none. True: it did for another. */
static bool count_for(struct worker *worker, struct paio_flow *flow)
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

/* Will the worker go on with the flow at once? If not, it calls attend before it does anything. */
static bool is_followed(const struct worker *worker, struct paio_flow *flow)
{
    return worker->class == PAIO_CLASS_WRITE && worker->followed < TOGETHER - 1 &&
           worker->followed < flow->length && paio_flow_first(flow)->length <= SHORT;
}

/* Is there time to wake a thread for each operation? */
static bool at_leisure(enum paio_class class)
{
    return class == PAIO_CLASS_READ &&
           atomic_load_explicit(&pool.read_interval, memory_order_relaxed) > LEISURE;
}

/* Under the lock. */
static void note_read(void)
{
    uint32_t interval = atomic_load_explicit(&pool.read_interval, memory_order_relaxed);
    uint64_t now = paio_now(), since = now - pool.read_begun;

    interval += (since < PAUSE ? (uint32_t) since : PAUSE) / LATEST - interval / LATEST;
    atomic_store_explicit(&pool.read_interval, interval, memory_order_relaxed);
    pool.read_begun = now;
}

/*
 * Begins the next operation for the worker: it is in worker->given, NULL if there is none. True: the
 * worker has left a flow.
 */
static bool begin(struct worker *worker)
{
    struct paio_operation *operation = paio_line_begin(&pool.class[worker->class].line);

    worker->given = operation;
    if (!operation)
        return false;
    if (worker->class == PAIO_CLASS_READ)
        note_read();
    operation->followed = is_followed(worker, operation->flow);
    worker->followed = operation->followed ? worker->followed + 1 : 0;
    atomic_store(&operation->queued, NULL);
    atomic_store_explicit(&worker->fd, operation->fd, memory_order_relaxed);
    return count_for(worker, operation->flow);
}

/*
 * The doorman is rung for what the pool does not know yet: a submitter has put a write where
 * `attend` finds it, without a lock. Whoever takes the doorman's name away, and it may be the
 * doorman itself, is followed by its looking at what was put there before: so nothing is
 * overlooked.
 */
bool paio_pool_ring(void)
{
    struct worker *doorman = atomic_exchange(&pool.doorman, NULL);

    if (!doorman)
        return false;
    atomic_store(&doorman->awake, 1);
    paio_futex_wake(&doorman->awake, 1);
    return true;
}

/* Sleeps until awake or until then: false. */
static bool sleep_until(const struct timespec *then)
{
    bool of_writes = self->class == PAIO_CLASS_WRITE;
    struct worker *none = NULL, *me = self;
    int error = 0;

    if (of_writes)
        atomic_compare_exchange_strong(&pool.doorman, &none, me);
    pool.attend(true);
    while (!atomic_load(&self->awake) && error != -ETIMEDOUT)
        error = paio_futex_wait(&self->awake, 0, then);
    if (of_writes) {
        atomic_compare_exchange_strong(&pool.doorman, &me, NULL);
        pool.attend(false);
    }
    return error != -ETIMEDOUT;
}

/* Without work. False: neither was given any, nor rung, for idle_seconds. Under the lock. */
static bool rest(void)
{
    enum paio_class class = self->class;
    struct timespec then;
    bool in_time;

    clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_sec += pool.idle_seconds;
    count_for(self, NULL);
    atomic_store(&self->awake, 0);
    paio_list_push(&pool.class[class].idle, &self->link);
    pool.class[class].working--;
    pthread_mutex_unlock(&pool.lock);
    in_time = sleep_until(&then);
    pthread_mutex_lock(&pool.lock);
    if (self->link.next) {
        paio_list_remove(&self->link);
        pool.class[class].working++;
        begin(self);
    }
    return in_time || self->given;
}

/* The worker is back, or late. Under the lock. */
static void discount(struct worker *worker)
{
    if (atomic_exchange(&worker->way, NOT_COUNTED) != NOT_COUNTED)
        atomic_fetch_sub(&pool.class[worker->class].returning, 1);
}

/* Performs what was given, completes it, and begins the next if there is one. Under the lock. */
static void serve(void)
{
    struct paio_operation *operation = self->given;
    struct paio_flow *flow = operation->flow;
    ssize_t result;

    pthread_mutex_unlock(&pool.lock);
    result = paio_transfer(operation);
    atomic_store_explicit(&self->fd, -1, memory_order_release);
    /* Before anybody has the result, and submits again. */
    atomic_fetch_add(&pool.class[self->class].returning, 1);
    atomic_store(&self->way, RETURNING);
    operation->complete(operation, result);
    pool.attend(false);
    pthread_mutex_lock(&pool.lock);
    discount(self);
    /* Only now may another thread begin the next one, and complete it. */
    paio_line_completed(&pool.class[self->class].line, flow);
    if (begin(self)) {
        pthread_mutex_unlock(&pool.lock);
        pool.attend(true);
        pthread_mutex_lock(&pool.lock);
    }
}

/* Under the lock. */
static void end(void)
{
    pool.class[self->class].threads--;
    pool.class[self->class].working--;
    paio_list_remove(&self->all);
    paio_list_append(&pool.spare, &self->link);
}

static void *work(void *argument)
{
    self = argument;
    atomic_store_explicit(&self->thread, (pid_t) syscall(SYS_gettid), memory_order_relaxed);
    pthread_setname_np(pthread_self(), classes[self->class].name);
    pthread_mutex_lock(&pool.lock);
    if (self->link.next) {
        paio_list_remove(&self->link);
        pool.class[self->class].working++;
        begin(self);
    }
    do
        while (self->given)
            serve();
    while (rest());
    end();
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* A worker without a thread, or NULL. */
static struct worker *recruit(enum paio_class class)
{
    struct paio_link *link = paio_list_pop(&pool.spare);
    struct worker *worker = link ? paio_container(link, struct worker, link)
                                 : paio_permanent(sizeof *worker);

    if (!worker)
        return NULL;
    worker->class = class;
    worker->given = NULL;
    worker->flow = NULL;
    worker->followed = 0;
    atomic_store_explicit(&worker->thread, 0, memory_order_relaxed);
    atomic_store_explicit(&worker->fd, -1, memory_order_relaxed);
    atomic_store_explicit(&worker->way, NOT_COUNTED, memory_order_relaxed);
    return worker;
}

/* One thread more, idle until it is given work, if the limits allow it. Under the lock. */
static bool start_thread(enum paio_class class)
{
    unsigned most = pool.most ? pool.most : classes[class].most;
    struct worker *worker = NULL;
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    if (pool.class[class].threads < most)
        worker = recruit(class);
    if (!worker)
        return false;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK);
    error = pthread_create(&thread, &attributes, work, worker);
    pthread_attr_destroy(&attributes);
    if (error) {
        paio_list_append(&pool.spare, &worker->link);
        return false;
    }
    paio_list_append(&pool.workers, &worker->all);
    paio_list_append(&pool.class[class].idle, &worker->link);
    pool.class[class].threads++;
    return true;
}

bool paio_pool_at_work(const struct paio_flow *flow, enum paio_class class)
{
    return atomic_load(&flow->running) >= (at_leisure(class) ? classes[class].share : 1);
}

bool paio_pool_attended(void)
{
    return atomic_load_explicit(&pool.doorman, memory_order_relaxed);
}

bool paio_pool_able(enum paio_class class)
{
    unsigned base = at_leisure(class) ? classes[class].share : classes[class].base;
    bool able;

    pthread_mutex_lock(&pool.lock);
    if (paio_list_empty(&pool.class[class].idle) && pool.class[class].threads < base)
        start_thread(class);
    able = pool.class[class].threads != 0;
    pthread_mutex_unlock(&pool.lock);
    return able;
}

/*
 * Will workers that return take all that is queued? Whoever waits for one request at a time submits the
 * next while the thread that woke it is still on its way, and to wake a second one would fetch the work
 * to another processor.
 */
static bool is_left(enum paio_class class)
{
    return pool.class[class].line.queued <= atomic_load(&pool.class[class].returning);
}

/* Begins an operation for a worker that has none. The one that is to be woken, or NULL. */
static struct worker *hand_over(enum paio_class class)
{
    struct paio_link *link = pool.class[class].idle.next;
    struct worker *worker;

    if (paio_line_empty(&pool.class[class].line) || link == &pool.class[class].idle)
        return NULL;
    if (self && self->link.next && self->class == class)
        link = &self->link; /* it is awake, and is looking for work */
    else if (is_left(class))
        return NULL;
    worker = paio_container(link, struct worker, link);
    paio_list_remove(link);
    pool.class[class].working++;
    begin(worker);
    atomic_store(&worker->awake, 1);
    return worker == self ? NULL : worker;
}

static void put(struct paio_operation *operation)
{
    atomic_store(&operation->queued, &paio_engine_pool);
    atomic_store(&operation->arrived, true);
    paio_line_put(&pool.class[operation->class].line, operation);
}

/* Workers that are to be woken when the lock has been released. */
struct wakeups {
    struct worker *woken[WAKEUPS];
    unsigned count;
};

/* Hands over what is queued to those that have nothing to do. */
static void hand_over_all(enum paio_class class, struct wakeups *wakeups)
{
    struct worker *worker;

    while (wakeups->count < WAKEUPS && (worker = hand_over(class)))
        wakeups->woken[wakeups->count++] = worker;
}

static void wake(struct wakeups *wakeups)
{
    while (wakeups->count)
        paio_futex_wake(&wakeups->woken[--wakeups->count]->awake, 1);
}

static unsigned submit(struct paio_operation **operations, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        struct wakeups wakeups = { .count = 0 };

        pthread_mutex_lock(&pool.lock);
        for (; i < count && wakeups.count < WAKEUPS; i++) {
            put(operations[i]);
            hand_over_all(operations[i]->class, &wakeups);
        }
        pthread_mutex_unlock(&pool.lock);
        wake(&wakeups);
    }
    return 0;
}

static bool cancel(struct paio_operation *operation)
{
    bool canceled;

    pthread_mutex_lock(&pool.lock);
    canceled = atomic_load(&operation->queued) == &paio_engine_pool &&
               (operation->code != PAIO_WRITE || !operation->done);
    if (canceled) {
        atomic_store(&operation->queued, NULL);
        paio_line_remove(&pool.class[operation->class].line, operation);
    }
    pthread_mutex_unlock(&pool.lock);
    return canceled;
}

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
static void come_in(struct worker *worker, struct paio_operation *operation)
{
    atomic_store_explicit(&worker->thread, thread_number(), memory_order_relaxed);
    atomic_store_explicit(&worker->fd, operation->fd, memory_order_relaxed);
    atomic_store(&operation->queued, NULL);
    operation->by_waiter = true;
    operation->followed = false;
    paio_list_append(&pool.workers, &worker->all);
    pool.class[worker->class].working++;
    count_for(worker, operation->flow);
}

/* Under the lock. */
static void go_out(struct worker *worker)
{
    pool.class[worker->class].working--;
    paio_list_remove(&worker->all);
    paio_list_append(&pool.spare, &worker->link);
    count_for(worker, NULL);
}

static bool claim(struct paio_operation *operation)
{
    struct paio_line *line = &pool.class[operation->class].line;
    struct wakeups wakeups = { .count = 0 };

    pthread_mutex_lock(&pool.lock);
    guest = atomic_load(&operation->queued) == &paio_engine_pool ? recruit(operation->class) : NULL;
    if (guest && paio_line_claim(line, operation)) {
        come_in(guest, operation);
    } else {
        if (guest)
            paio_list_append(&pool.spare, &guest->link);
        guest = NULL;
        paio_line_expose(line);
        hand_over_all(operation->class, &wakeups);
    }
    pthread_mutex_unlock(&pool.lock);
    wake(&wakeups);
    return guest;
}

/* May the write have met RLIMIT_FSIZE? Without one no signal has been raised, and one that is pending stays. */
static bool met_limit(const struct paio_operation *operation, ssize_t result)
{
    struct rlimit limit;

    return operation->code == PAIO_WRITE && result < (ssize_t) operation->length &&
           getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
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

static void perform(struct paio_operation *operation)
{
    enum paio_class class = operation->class;
    struct paio_flow *flow = operation->flow;
    struct wakeups wakeups = { .count = 0 };
    ssize_t result = paio_transfer(operation);

    atomic_store_explicit(&guest->fd, -1, memory_order_release);
    if (met_limit(operation, result))
        forget_signal();
    operation->complete(operation, result);
    pthread_mutex_lock(&pool.lock);
    paio_line_completed(&pool.class[class].line, flow);
    go_out(guest);
    hand_over_all(class, &wakeups);
    pthread_mutex_unlock(&pool.lock);
    wake(&wakeups);
    /* It is at work on the flow no more: whoever counted on it has put before what is found now. */
    pool.attend(true);
}

/* Workers that a tick has seen on their way back before are late. */
static void look_for_late(void)
{
    for (struct paio_link *l = pool.workers.next; l != &pool.workers; l = l->next) {
        struct worker *each = paio_container(l, struct worker, all);
        enum way way = RETURNING;

        if (!atomic_compare_exchange_strong(&each->way, &way, SEEN_RETURNING) &&
            way == SEEN_RETURNING)
            discount(each);
    }
}

void paio_pool_tick(void)
{
    struct wakeups wakeups = { .count = 0 };

    pthread_mutex_lock(&pool.lock);
    look_for_late();
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        paio_line_expose(&pool.class[c].line);
        if (!paio_line_empty(&pool.class[c].line) && paio_list_empty(&pool.class[c].idle) &&
            pool.class[c].line.begun == pool.class[c].begun_before)
            start_thread(c);
        hand_over_all(c, &wakeups);
        pool.class[c].begun_before = pool.class[c].line.begun;
    }
    pthread_mutex_unlock(&pool.lock);
    wake(&wakeups);
}

void paio_pool_expose(void)
{
    struct wakeups wakeups = { .count = 0 };

    pthread_mutex_lock(&pool.lock);
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        paio_line_expose(&pool.class[c].line);
        hand_over_all(c, &wakeups);
    }
    pthread_mutex_unlock(&pool.lock);
    wake(&wakeups);
}

bool paio_pool_busy(void)
{
    bool busy = false;

    pthread_mutex_lock(&pool.lock);
    for (unsigned c = 0; c < PAIO_CLASSES && !busy; c++)
        busy = pool.class[c].working || !paio_line_empty(&pool.class[c].line) ||
               !paio_list_empty(&pool.class[c].line.aside);
    pthread_mutex_unlock(&pool.lock);
    return busy;
}

/* Has every operation begun on fd entered the system call that uses it? */
static enum paio_entry transfers_entered(int fd)
{
    enum paio_entry entry = PAIO_INSIDE;

    pthread_mutex_lock(&pool.lock);
    for (struct paio_link *l = pool.workers.next; l != &pool.workers && entry == PAIO_INSIDE;
         l = l->next) {
        const struct worker *each = paio_container(l, struct worker, all);
        pid_t thread = atomic_load_explicit(&each->thread, memory_order_relaxed);

        if (atomic_load_explicit(&each->fd, memory_order_acquire) == fd)
            entry = thread ? paio_transfer_entered(thread, fd) : PAIO_OUTSIDE;
    }
    pthread_mutex_unlock(&pool.lock);
    return entry;
}

void paio_pool_wait_transfers(int fd)
{
    const struct timespec pause = { .tv_nsec = 50000 };
    enum paio_entry entry;

    /* Without /proc, or a descriptor to read it by, a thread is given 10 ms to enter. */
    for (unsigned i = 0; (entry = transfers_entered(fd)) != PAIO_INSIDE; i++) {
        if (entry == PAIO_UNKNOWN && i >= 200)
            return;
        nanosleep(&pause, NULL);
    }
}

const struct paio_engine paio_engine_pool = {
    .name = "pool",
    .submit = submit,
    .cancel = cancel,
    .claim = claim,
    .perform = perform,
};
