/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool: threads that do what would block the caller. Work comes in classes, each with
 * threads of its own; within a class each file has a flow, a queue from which only so many
 * threads work at a time, and the flows take turns, so that a file that hangs stops nobody else.
 *
 * A class starts with a few threads (see `classes`), gets one more whenever a tick passes in
 * which work was queued and none begun, and loses those that were idle for idle_seconds.
 *
 * Locks: pool.lock (p) guards everything. It is a leaf.
 */
#include "engine_pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "file.h"

/*
 * One thread writes best to one file, whose inode lock a second would only wait for, and keeps
 * the order of submission, which some programs have grown to rely on; two go on best behind
 * RWF_NOWAIT reads that missed; syncs batch in the journal (4: 15.9k, 16: 30.1k).
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

enum { STACK = 256 * 1024 };

/*
 * Sleeper: a thread without work, on its own stack. Whoever has work for it takes it off `idle`,
 * gives it the operation, which is begun from then on, and wakes it. The wakeup may come when
 * the sleeper has seen the word change and gone: it then wakes nobody, or somebody who will look
 * again, as all users of futexes do.
 */
struct sleeper {
    struct paio_link link;         /* p: idle; next == NULL when it was taken off */
    struct paio_operation *given;  /* p */
    _Atomic uint32_t awake;
};

static struct {
    pthread_mutex_t lock;
    struct {
        struct paio_link ready;    /* p: flows with work and a share left */
        struct paio_link idle;     /* p: sleepers that were given nothing yet */
        struct paio_link handed;   /* p: operations begun on behalf of threads that start */
        unsigned threads;          /* p */
        unsigned starting;         /* p: threads that were made and do not run yet */
        unsigned handed_count;     /* p: length of handed */
        unsigned begun, begun_before; /* p: operations begun; at the last tick */
    } class[PAIO_CLASSES];
    struct paio_link begun;        /* p: operations from when they are begun until performed */
    unsigned most;                 /* p: aio_init's limit, 0 for none */
    unsigned idle_seconds;         /* p */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread pid_t own_thread __attribute__((tls_model("initial-exec")));

void paio_pool_reset(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        paio_list_init(&pool.class[c].ready);
        paio_list_init(&pool.class[c].idle);
        paio_list_init(&pool.class[c].handed);
        pool.class[c].threads = pool.class[c].starting = pool.class[c].handed_count = 0;
    }
    paio_list_init(&pool.begun);
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

static ssize_t call(struct paio_operation *o)
{
    char *buffer = (char *) o->buffer + o->done;
    size_t length = o->length - o->done;
    off_t offset = o->offset + (off_t) o->done;
    ssize_t n;

    switch (o->code) {
    case PAIO_FSYNC:
        return fsync(o->fd);
    case PAIO_FDATASYNC:
        return fdatasync(o->fd);
    case PAIO_READ:
        n = o->stream ? -1 : pread(o->fd, buffer, length, offset);
        return o->stream || (n < 0 && errno == ESPIPE) ? read(o->fd, buffer, length) : n;
    default:
        n = o->stream ? -1 : pwrite(o->fd, buffer, length, offset);
        return o->stream || (n < 0 && errno == ESPIPE) ? write(o->fd, buffer, length) : n;
    }
}

/* What became of a descriptor that is not the file any more: it was closed unseen. */
static int changed(int fd)
{
    struct paio_descriptor *descriptor = paio_descriptor_find(fd);

    if (descriptor)
        paio_descriptor_forget(descriptor);
    return fcntl(fd, F_GETFD) < 0 ? EBADF : ECANCELED;
}

/* Bytes in all, or -errno. What has moved already is not lost by an error that follows. */
static ssize_t perform(struct paio_operation *o)
{
    ssize_t n;

    if (paio_identity_holds(o->fd, &o->identity))
        n = call(o);
    else
        n = -1, errno = changed(o->fd);
    if (n < 0)
        return o->done ? (ssize_t) o->done : -errno;
    return (ssize_t) o->done + n;
}

static void offer(struct paio_flow *flow, enum paio_class class)
{
    if (!flow->ready.next && !paio_list_empty(&flow->queue) &&
        flow->busy < classes[class].share)
        paio_list_append(&pool.class[class].ready, &flow->ready);
}

/* The next operation of the flow whose turn it is, or NULL; the flow goes to the end of the line. */
static struct paio_operation *begin_ready(enum paio_class class)
{
    struct paio_link *link = paio_list_pop(&pool.class[class].ready);
    struct paio_operation *operation;
    struct paio_flow *flow;

    if (!link)
        return NULL;
    flow = paio_container(link, struct paio_flow, ready);
    operation = paio_container(paio_list_pop(&flow->queue), struct paio_operation, link);
    atomic_store(&operation->queued, NULL);
    atomic_store_explicit(&operation->thread, 0, memory_order_relaxed);
    paio_list_append(&pool.begun, &operation->begun);
    flow->busy++;
    atomic_fetch_add(&flow->running, 1);
    pool.class[class].begun++;
    offer(flow, class);
    return operation;
}

/* What a thread is to do next, or NULL. */
static struct paio_operation *begin(enum paio_class class)
{
    struct paio_link *link = paio_list_pop(&pool.class[class].handed);

    if (!link)
        return begin_ready(class);
    pool.class[class].handed_count--;
    return paio_container(link, struct paio_operation, link);
}

/* Waits for an operation to be given; NULL when none came for idle_seconds. */
static struct paio_operation *rest(enum paio_class class)
{
    struct sleeper self = { .given = NULL };
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += pool.idle_seconds;
    paio_list_append(&pool.class[class].idle, &self.link);
    pthread_mutex_unlock(&pool.lock);
    while (!atomic_load(&self.awake) && error != -ETIMEDOUT)
        error = paio_futex_wait(&self.awake, 0, &until);
    pthread_mutex_lock(&pool.lock);
    if (!self.given)
        paio_list_remove(&self.link);
    return self.given;
}

/* Performs an operation, completes it, and returns the next one if there is one. */
static struct paio_operation *serve(struct paio_operation *operation)
{
    enum paio_class class = operation->class;
    struct paio_flow *flow = operation->flow;
    struct paio_operation *next;
    ssize_t result;

    atomic_store_explicit(&operation->thread, own_thread, memory_order_relaxed);
    result = perform(operation);
    pthread_mutex_lock(&pool.lock);
    paio_list_remove(&operation->begun);
    pthread_mutex_unlock(&pool.lock);
    atomic_fetch_sub(&flow->running, 1);
    operation->complete(operation, result);
    /* Only now may another thread begin the next one, and complete it. */
    pthread_mutex_lock(&pool.lock);
    flow->busy--;
    offer(flow, class);
    next = begin(class);
    pthread_mutex_unlock(&pool.lock);
    return next;
}

static void *work(void *argument)
{
    enum paio_class class = (enum paio_class) (uintptr_t) argument;
    struct paio_operation *operation;

    own_thread = (pid_t) syscall(SYS_gettid);
    pthread_setname_np(pthread_self(), classes[class].name);
    pthread_mutex_lock(&pool.lock);
    pool.class[class].starting--;
    while ((operation = begin(class)) || (operation = rest(class))) {
        pthread_mutex_unlock(&pool.lock);
        while (operation)
            operation = serve(operation);
        pthread_mutex_lock(&pool.lock);
    }
    pool.class[class].threads--;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* One thread more, if the limits allow it. Under the pool's lock. */
static bool start_thread(enum paio_class class)
{
    unsigned most = pool.most ? pool.most : classes[class].most;
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    if (pool.class[class].threads >= most)
        return false;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK);
    error = pthread_create(&thread, &attributes, work, (void *) (uintptr_t) class);
    pthread_attr_destroy(&attributes);
    if (error)
        return false;
    pool.class[class].threads++;
    pool.class[class].starting++;
    return true;
}

bool paio_pool_saturated(const struct paio_flow *flow, enum paio_class class)
{
    return atomic_load(&flow->running) >= classes[class].share;
}

bool paio_pool_able(enum paio_class class)
{
    bool able;

    pthread_mutex_lock(&pool.lock);
    if (paio_list_empty(&pool.class[class].idle) &&
        pool.class[class].starting <= pool.class[class].handed_count &&
        pool.class[class].threads < classes[class].base)
        start_thread(class);
    able = pool.class[class].threads != 0;
    pthread_mutex_unlock(&pool.lock);
    return able;
}

/* Begins an operation for a thread that has none. The sleeper that is to be woken, or NULL. */
static struct sleeper *hand_over(enum paio_class class)
{
    struct paio_link *link = pool.class[class].idle.next;
    struct sleeper *sleeper;

    if (paio_list_empty(&pool.class[class].ready))
        return NULL;
    if (link == &pool.class[class].idle) {
        if (pool.class[class].starting > pool.class[class].handed_count) {
            pool.class[class].handed_count++;
            paio_list_append(&pool.class[class].handed, &begin_ready(class)->link);
        }
        return NULL;
    }
    sleeper = paio_container(link, struct sleeper, link);
    paio_list_remove(link);
    sleeper->given = begin_ready(class);
    atomic_store(&sleeper->awake, 1);
    return sleeper;
}

static void take_in(struct paio_operation *operation)
{
    struct sleeper *sleeper;

    pthread_mutex_lock(&pool.lock);
    atomic_store(&operation->queued, &paio_engine_pool);
    atomic_store(&operation->arrived, true);
    paio_list_append(&operation->flow->queue, &operation->link);
    offer(operation->flow, operation->class);
    sleeper = hand_over(operation->class);
    pthread_mutex_unlock(&pool.lock);
    if (sleeper)
        paio_futex_wake(&sleeper->awake, 1);
}

static unsigned submit(struct paio_operation **operations, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        take_in(operations[i]);
    return 0;
}

static bool cancel(struct paio_operation *operation)
{
    struct paio_flow *flow = operation->flow;
    bool canceled;

    pthread_mutex_lock(&pool.lock);
    canceled = atomic_load(&operation->queued) == &paio_engine_pool &&
               (operation->code != PAIO_WRITE || !operation->done);
    if (canceled) {
        atomic_store(&operation->queued, NULL);
        paio_list_remove(&operation->link);
        if (paio_list_empty(&flow->queue) && flow->ready.next)
            paio_list_remove(&flow->ready);
    }
    pthread_mutex_unlock(&pool.lock);
    return canceled;
}

void paio_pool_tick(void)
{
    pthread_mutex_lock(&pool.lock);
    for (unsigned c = 0; c < PAIO_CLASSES; c++) {
        if (!paio_list_empty(&pool.class[c].ready) && !pool.class[c].starting &&
            pool.class[c].begun == pool.class[c].begun_before)
            start_thread(c);
        pool.class[c].begun_before = pool.class[c].begun;
    }
    pthread_mutex_unlock(&pool.lock);
}

bool paio_pool_busy(void)
{
    bool busy;

    pthread_mutex_lock(&pool.lock);
    busy = !paio_list_empty(&pool.begun);
    for (unsigned c = 0; c < PAIO_CLASSES && !busy; c++)
        busy = !paio_list_empty(&pool.class[c].ready);
    pthread_mutex_unlock(&pool.lock);
    return busy;
}

enum entry { INSIDE, OUTSIDE, UNKNOWN };

/* Is the thread asleep in a system call on fd? /proc/PID/task/TID/syscall: "17 0x5 …". */
static enum entry in_system_call(pid_t thread, int fd)
{
    char path[64], text[64];
    unsigned long argument;
    long number;
    ssize_t n;
    int proc;

    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int) thread);
    proc = open(path, O_RDONLY | O_CLOEXEC);
    if (proc < 0)
        return UNKNOWN;
    n = read(proc, text, sizeof text - 1);
    syscall(SYS_close, proc);
    if (n <= 0)
        return UNKNOWN;
    text[n] = '\0';
    if (sscanf(text, "%ld %lx", &number, &argument) != 2 || (int) argument != fd)
        return OUTSIDE;
    return number == SYS_pread64 || number == SYS_pwrite64 || number == SYS_read ||
           number == SYS_write || number == SYS_fsync || number == SYS_fdatasync
               ? INSIDE
               : OUTSIDE;
}

/* Has every operation begun on fd entered the system call that uses it? */
static enum entry transfers_entered(int fd)
{
    enum entry entry = INSIDE;

    pthread_mutex_lock(&pool.lock);
    for (struct paio_link *l = pool.begun.next; l != &pool.begun && entry == INSIDE; l = l->next) {
        struct paio_operation *each = paio_container(l, struct paio_operation, begun);
        pid_t thread = atomic_load_explicit(&each->thread, memory_order_relaxed);

        if (each->fd == fd)
            entry = thread ? in_system_call(thread, fd) : OUTSIDE;
    }
    pthread_mutex_unlock(&pool.lock);
    return entry;
}

void paio_pool_wait_transfers(int fd)
{
    const struct timespec pause = { .tv_nsec = 50000 };
    enum entry entry;

    /* Without /proc, or a descriptor to read it by, a thread is given 10 ms to enter. */
    for (unsigned i = 0; (entry = transfers_entered(fd)) != INSIDE; i++) {
        if (entry == UNKNOWN && i >= 200)
            return;
        nanosleep(&pause, NULL);
    }
}

const struct paio_engine paio_engine_pool = {
    .name = "pool",
    .submit = submit,
    .cancel = cancel,
};
